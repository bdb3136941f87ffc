// SPDX-License-Identifier: Apache-2.0

// Cancelling `wait` leaves the tasks running that it waits for; cancelling `gather` cancels them.
//
//     gyre-example-gather-versus-wait [LENGTH]    how long its seconds are, instead of 1

import Gyre

enum Second {
    static let length = CommandLine.arguments.dropFirst().first.flatMap { Double($0) } ?? 1
}

func task(_ argument: String) async throws -> String {
    try await sleep(.seconds(5 * Second.length))
    return argument
}

func cancelWaitingTask<Value>(
    _ workTask: LoopTask<String>, _ waitingTask: LoopFuture<Value>
) async throws {
    try await sleep(.seconds(2 * Second.length))
    waitingTask.cancel()
    do {
        _ = try await waitingTask.value
        print("Waiting done")
    } catch is CancellationError {
        print("Waiting task cancelled")
    }

    do {
        print("Work result: \(try await workTask.value)")
    } catch is CancellationError {
        print("Work task cancelled")
    }
}

func main() async throws {
    let loop = Loop.running

    let first = loop.createTask { try await task("done") }
    let waiting = loop.createTask { try await wait([first]) }
    try await cancelWaitingTask(first, waiting)

    print("-------------------")

    let second = loop.createTask { try await task("done") }
    let gathering = gather(second)
    try await cancelWaitingTask(second, gathering)
}

try Gyre.run { try await main() }
