// SPDX-License-Identifier: Apache-2.0

// An async function makes tasks, schedules callbacks and submits work by the thread-safe calls.
//
// A guide to asyncio warns that this hangs. Here all of it runs.

import Gyre

func inner(_ name: String) async throws {
    print("\(name) begins")
    try await sleep(.zero)
    print("\(name) ends")
}

func main() async throws {
    let loop = Loop.running
    print("main begins")

    loop.callSoon { print("callback") }
    try loop.handle.callSoonThreadSafe { _ in print("thread-safe callback") }
    loop.callLater(.milliseconds(10)) { print("timer") }

    let task = loop.createTask { try await inner("task") }
    let eager = loop.createTask(eager: true) { try await inner("eager task") }
    let submitted = try loop.handle.createTaskThreadSafe { try await inner("submitted task") }
    let nested = loop.createTask {
        try await Loop.running.createTask { try await inner("task of a task") }.value
    }

    print("main waits")
    for task in [task, eager, submitted, nested] { try await task.value }
    try await sleep(.milliseconds(20))
    print("main ends")
}

try Gyre.run { try await main() }
