// SPDX-License-Identifier: Apache-2.0

// Waits until any of several tasks is done and cancels the others, also when the waiting itself is
// cancelled: work that ends early when the connection is lost.
//
//     gyre-example-wait-any [LENGTH]    how long its seconds are, instead of 1

import Gyre

enum Second {
    static let length = CommandLine.arguments.dropFirst().first.flatMap { Double($0) } ?? 1
}

/// Returns when any of `tasks` is done, and cancels the others.
func waitAny(
    _ tasks: [any AnyLoopFuture], timeout: Duration? = nil
) async throws -> (done: [any AnyLoopFuture], pending: [any AnyLoopFuture]) {
    var tasksToCancel = tasks
    defer { for task in tasksToCancel { task.cancel() } }
    let (done, pending) = try await wait(tasks, timeout: timeout, returnWhen: .firstCompleted)
    tasksToCancel = pending
    return (done, pending)
}

func task() async throws {
    try await sleep(.seconds(5 * Second.length))
}

func checkTasks<Waited>(
    _ waitingTask: LoopTask<Waited>, _ workingTask: LoopTask<Void>,
    _ waitingConnectionLostTask: LoopTask<Void>
) async throws {
    do {
        _ = try await waitingTask.value
        print("waiting is done")
    } catch is CancellationError {
        print("waiting is cancelled")
    }

    do {
        try await waitingConnectionLostTask.value
        print("connection is lost")
    } catch is CancellationError {
        print("waiting connection lost is cancelled")
    }

    do {
        try await workingTask.value
        print("work is done")
    } catch is CancellationError {
        print("work is cancelled")
    }
}

/// The work is done, and no connection is lost.
func workDoneCase() async throws {
    let loop = Loop.running
    let working = loop.createTask { try await task() }
    let connectionLost = LoopEvent()
    let waitingConnectionLost = loop.createTask { try await connectionLost.wait() }
    let waiting = loop.createTask { try await waitAny([working, waitingConnectionLost]) }
    try await checkTasks(waiting, working, waitingConnectionLost)
}

/// The connection is lost during the work.
func connectionLostCase() async throws {
    let loop = Loop.running
    let working = loop.createTask { try await task() }
    let connectionLost = LoopEvent()
    let waitingConnectionLost = loop.createTask { try await connectionLost.wait() }
    let waiting = loop.createTask { try await waitAny([working, waitingConnectionLost]) }
    try await sleep(.seconds(2 * Second.length))
    connectionLost.set()
    try await checkTasks(waiting, working, waitingConnectionLost)
}

/// The waiting itself is cancelled.
func cancelWaitingCase() async throws {
    let loop = Loop.running
    let working = loop.createTask { try await task() }
    let connectionLost = LoopEvent()
    let waitingConnectionLost = loop.createTask { try await connectionLost.wait() }
    let waiting = loop.createTask { try await waitAny([working, waitingConnectionLost]) }
    try await sleep(.seconds(2 * Second.length))
    waiting.cancel()
    try await checkTasks(waiting, working, waitingConnectionLost)
}

func main() async throws {
    print("Case1: Work done")
    print("-------------------")
    try await workDoneCase()
    print("\nCase2: Connection lost")
    print("-------------------")
    try await connectionLostCase()
    print("\nCase3: Cancel waiting")
    print("-------------------")
    try await cancelWaitingCase()
}

try Gyre.run { try await main() }
