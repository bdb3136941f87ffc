// SPDX-License-Identifier: Apache-2.0

// Prints `run` for ever, until it is interrupted (Ctrl-C).
//
//     gyre-example-stop-on-interrupt [SECONDS]    how long from one to the next, instead of 1

import Glibc
import Gyre

func server(every seconds: Double) async throws {
    while true {
        print("run")
        try await sleep(.seconds(seconds))
    }
}

let seconds = CommandLine.arguments.dropFirst().first.flatMap { Double($0) } ?? 1
let loop = try makeLoop()
let task = loop.createTask { try await server(every: seconds) }

// A handler is an ordinary callback on the loop's thread: it may touch whatever it likes.
try loop.addSignalHandler(SIGINT) {
    print("interrupted, the loop stops")
    loop.stop()
}
try loop.runForever()

// The task is still in its sleep: its cancellation ends that, and the loop has nothing left.
task.cancel()
try? loop.runUntilComplete(task)
try loop.close()
print("stopped")
