// SPDX-License-Identifier: Apache-2.0

// What becomes of an error of a task: who asks for it gets it, and one that nobody asked for is
// reported. `isDone` tells nothing of all this.
//
//     gyre-example-future-errors [SECONDS]    how long the tasks sleep, instead of 1

import Gyre

struct TypeError: Error, CustomStringConvertible {
    let description: String
}

func example(_ seconds: Double) async throws -> String {
    try await sleep(.seconds(seconds))
    throw TypeError(description: "something went wrong")
}

func main(_ seconds: Double) async throws {
    let loop = Loop.running
    loop.exceptionHandler = { _, context in
        print("reported:", context.message)
        if let error = context.error { print("  error:", error) }
        if let site = context.site { print("  from:", site) }
    }

    print("1. The callback asks for the error")
    let first = loop.createTask { try await example(seconds) }
    first.addDoneCallback { task in
        print("callback")
        print(task.isDone)
        print(try task.error() ?? "no error")
    }
    try await first.waitUntilDone()
    try await sleep(.zero)

    print("2. The callback asks for the result, too")
    let second = loop.createTask { try await example(seconds) }
    second.addDoneCallback { task in
        print("callback")
        print(task.isDone)
        print(try task.error() ?? "no error")
        print("result:", try task.result())
    }
    try await second.waitUntilDone()
    try await sleep(.zero)

    print("3. Nobody asks")
    loop.createTask { try await example(seconds) }
    try await sleep(.seconds(seconds * 1.5))
}

let seconds = CommandLine.arguments.dropFirst().first.flatMap { Double($0) } ?? 1
try Gyre.run { try await main(seconds) }
