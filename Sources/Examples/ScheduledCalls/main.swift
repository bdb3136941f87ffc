// SPDX-License-Identifier: Apache-2.0

// Schedules a call for later, which submits a task by the thread-safe call.
//
//     gyre-example-scheduled-calls [SECONDS]    how much later, instead of 5

import Gyre

func task() async throws {
    print(3, Loop.running.time)
    try await sleep(.zero)
    print("task")
    print(4, Loop.running.time)
    Loop.running.stop()
}

func main(_ seconds: Double) async {
    let loop = Loop.running
    print(1, loop.time)
    // From inside a task, as from anywhere else.
    loop.callLater(.seconds(seconds)) { try loop.handle.createTaskThreadSafe { try await task() } }
    print(2, loop.time)
}

let seconds = CommandLine.arguments.dropFirst().first.flatMap { Double($0) } ?? 5
let loop = try makeLoop()
loop.createTask { await main(seconds) }
try loop.runForever()
try loop.close()
