// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// A future of the first of `futures` that is done: of its value, its error, or its cancellation.
///
/// The others are then cancelled, and it ends when they ended: nothing of the race is left behind.
/// Cancelling it cancels all of them. Futures of several loops are
/// ``LoopError/Code/loopMismatch``, and no futures at all ``LoopError/Code/invalidArgument``.
///
/// An error that another than the first ends with is reported like any error that nobody looked at.
///
/// - Important: On the loop's thread only.
public func race<Value: Sendable>(
    _ futures: [LoopFuture<Value>], file: StaticString = #fileID, line: UInt = #line
) -> LoopFuture<Value> {
    let handle = futures.first?.handle ?? Loop.running.handle
    let outer = DelegatingFuture<Value>(
        "race", on: handle, site: CallSite(file: file, line: line))
    do throws(LoopError) {
        guard !futures.isEmpty else {
            throw LoopError(.invalidArgument, operation: "race", detail: "no futures")
        }
        _ = try observable(futures, of: handle, "race")
        Racing(outer, futures).start()
    } catch {
        outer.end(.failure(error))
    }
    return outer
}

/// A future of the first of `futures` that is done, see `race(_:)`.
///
/// - Important: On the loop's thread only.
public func race<Value: Sendable>(
    _ futures: LoopFuture<Value>..., file: StaticString = #fileID, line: UInt = #line
) -> LoopFuture<Value> {
    race(futures, file: file, line: line)
}

/// Runs `bodies` as tasks of the loop that runs, and gives what the first of them to end returns or
/// throws.
///
/// The others are then cancelled, and the future ends when they ended. Cancelling it cancels all.
///
/// - Important: On the loop's thread only.
public func race<Value: Sendable>(
    _ bodies: @Sendable () async throws -> Value..., file: StaticString = #fileID,
    line: UInt = #line
) -> LoopFuture<Value> {
    let loop = Loop.running
    return race(
        bodies.map { loop.createTask(file: file, line: line, $0) }, file: file, line: line)
}

/// Waits for the first future, and then for the others.
private final class Racing<Value: Sendable>: FutureObserver {
    private let outer: DelegatingFuture<Value>
    private var runners: [LoopFuture<Value>] = []
    private var unfinished = 0
    private var winner: LoopFuture<Value>?
    private var isCancelled = false

    init(_ outer: DelegatingFuture<Value>, _ futures: [LoopFuture<Value>]) {
        self.outer = outer
        var known: Set<ObjectIdentifier> = []
        runners = futures.filter { known.insert(ObjectIdentifier($0)).inserted }
        unfinished = runners.count
    }

    func start() {
        outer.canceller = { [self] _ in cancel() }
        for (index, runner) in runners.enumerated() { runner.addObserver(self, index: index) }
    }

    private func cancel() -> Bool {
        var isTaken = false
        for runner in runners where runner.cancel() { isTaken = true }
        if isTaken { isCancelled = true }
        return isTaken
    }

    func futureIsDone(_ index: Int) {
        unfinished -= 1
        if winner == nil, !isCancelled {
            winner = runners[index]
            for runner in runners { runner.cancel() }
        }
        if unfinished == 0 { end() }
    }

    private func end() {
        runners = []
        guard !isCancelled, !outer.isDone, let winner else {
            outer.end(.cancelled)
            return
        }
        outer.end(winner.outcome)
        winner.markErrorAsSeen()
    }
}
