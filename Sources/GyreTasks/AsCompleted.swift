// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// The futures, as they are done: a sequence that gives the first that is done first.
///
/// What it gives is done, with a value or not: ``LoopFuture/result()`` tells. Leaving it early, and
/// cancelling the task that iterates, leaves the futures alone.
///
/// With a `timeout`, which counts from the beginning of the iteration, it throws
/// ``LoopError/Code/timedOut`` for those that are missing, after it gave all that are done.
///
///     for try await download in asCompleted(downloads, timeout: .seconds(10)) {
///         print(try download.result())
///     }
public func asCompleted<Future: AnyLoopFuture>(
    _ futures: [Future], timeout: Duration? = nil,
    file: StaticString = #fileID, line: UInt = #line
) -> LoopCompletions<Future> {
    LoopCompletions(
        futures: futures, observed: futures, timeout: timeout,
        site: CallSite(file: file, line: line))
}

/// Futures of several types, as they are done, see `asCompleted(_:timeout:)`.
@_disfavoredOverload
public func asCompleted(
    _ futures: [any AnyLoopFuture], timeout: Duration? = nil,
    file: StaticString = #fileID, line: UInt = #line
) -> LoopCompletions<any AnyLoopFuture> {
    LoopCompletions(
        futures: futures, observed: futures, timeout: timeout,
        site: CallSite(file: file, line: line))
}

/// Futures in the order in which they are done: what `asCompleted(_:timeout:)` returns.
public struct LoopCompletions<Future>: AsyncSequence {
    /// The futures.
    public typealias Element = Future

    fileprivate let futures: [Future]
    fileprivate let observed: [any AnyLoopFuture]
    fileprivate let timeout: Duration?
    fileprivate let site: CallSite

    /// Begins to wait for the futures.
    public func makeAsyncIterator() -> Iterator {
        var known: Set<ObjectIdentifier> = []
        let unique = observed.indices.filter {
            known.insert(ObjectIdentifier(observed[$0])).inserted
        }
        return Iterator(
            futures: unique.map { futures[$0] },
            lease: Lease(unique.map { observed[$0] }, timeout, site))
    }

    /// Gives the futures.
    public struct Iterator: AsyncIteratorProtocol {
        fileprivate let futures: [Future]
        fileprivate let lease: Lease

        /// The next future that is done; nil when there was none left.
        ///
        /// - Throws: `CancellationError` when the task is cancelled, and the iteration may go on;
        ///   ``LoopError/Code/timedOut`` when the time is up;
        ///   ``LoopError/Code/loopMismatch`` when a future is of another loop than the task.
        public mutating func next() async throws -> Future? {
            try await lease.next().map { futures[$0] }
        }

        /// The next future that is done, see ``next()``.
        public mutating func next(
            isolation: isolated (any Actor)?
        ) async throws -> Future? {
            try await lease.next().map { futures[$0] }
        }
    }
}

/// Lets the futures go when nobody iterates any more.
private final class Lease {
    private let completions: Result<Completions, LoopError>

    init(_ futures: [any AnyLoopFuture], _ timeout: Duration?, _ site: CallSite) {
        completions = Result { () throws(LoopError) in
            let loop = try currentLoop("asCompleted")
            let children = try observable(futures, of: loop.handle, "asCompleted")
            return Completions(children, on: loop, timeout, site)
        }
    }

    deinit {
        if case .success(let completions) = completions { completions.stop() }
    }

    func next() async throws -> Int? { try await completions.get().next() }
}

/// Notes which futures are done.
private final class Completions: FutureObserver {
    private let children: [any ObservableFuture]
    private let handle: LoopHandle
    private let site: CallSite
    /// Which are done, in that order, and how many of them were given away.
    private var done: [Int] = []
    private var given = 0
    private var isKnown: [Bool]
    private var isTimeUp = false
    private var isOver = false
    private var timer: LoopTimer?
    private var waiter: DelegatingFuture<Void>?

    init(
        _ children: [any ObservableFuture], on loop: Loop, _ timeout: Duration?, _ site: CallSite
    ) {
        self.children = children
        self.site = site
        handle = loop.handle
        isKnown = Array(repeating: false, count: children.count)
        noteAllDone()
        for (index, child) in children.enumerated() where !isKnown[index] {
            child.addObserver(self, index: index)
        }
        timer = timeout.map { timeout in
            loop.callLaterPlainly(timeout) { [self] in
                // Also those that are done and were not announced yet.
                noteAllDone()
                isTimeUp = true
                waiter?.end(.value(()))
            }
        }
    }

    func stop() {
        // Of an iterator that was carried off to another thread they let go when they are done.
        guard handle.isOwnedByThisThread else { return }
        isOver = true
        timer?.cancel()
        timer = nil
        for child in children { child.removeObserver(self) }
    }

    func futureIsDone(_ index: Int) {
        note(index)
        waiter?.end(.value(()))
    }

    private func noteAllDone() {
        for (index, child) in children.enumerated() where child.isDone { note(index) }
    }

    private func note(_ index: Int) {
        guard !isKnown[index] else { return }
        isKnown[index] = true
        done.append(index)
        if done.count == children.count {
            timer?.cancel()
            timer = nil
        }
    }

    func next() async throws -> Int? {
        while given == done.count {
            guard !isOver, given < children.count else { return nil }
            guard !isTimeUp else {
                stop()
                throw LoopError(
                    .timedOut, operation: "asCompleted",
                    detail: "\(children.count - given) of \(children.count) are not done")
            }
            let waiter = DelegatingFuture<Void>("asCompleted", on: handle, site: site)
            self.waiter = waiter
            defer { self.waiter = nil }
            try await waiter.suspend()
            try waiter.result()
        }
        given += 1
        return done[given - 1]
    }
}
