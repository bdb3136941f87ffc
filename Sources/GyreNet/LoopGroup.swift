// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore
import GyreTasks
import Synchronization

/// A few loops, each on a thread of its own, that share the connections of servers.
///
/// A server for the group is made on the loop of the caller, with
/// ``Loop/createServer(host:port:options:group:makeProtocol:)``. That loop accepts, and
/// hands each connection over to the loop of the group that has the fewest. So the spread is even
/// also among few connections that live long, an address in use is an error, and a descriptor
/// shortage is handled in one place; a connection pays for it with one call between threads. Where
/// that call matters more, give each loop a server of its own with
/// ``LoopServerOptions/reusePort``.
///
/// - Important: Usable from any thread. When the group is released its loops are stopped.
public final class LoopGroup: Sendable {
    /// What one loop of a group has to do.
    public struct Load: Sendable, Hashable {
        /// How many connections it was handed that did not end yet.
        public internal(set) var openCount = 0
        /// How many connections it was handed in all.
        public internal(set) var acceptedCount = 0
    }

    private struct State {
        var loads: [Load]
        /// Loops that take no more connections.
        var isClosed: [Bool]
        /// How many loops run, or are about to.
        var runningCount: Int
        var error: (any Error)?
        var whenStopped: [@Sendable () -> Void] = []
    }

    /// The handles of the loops, to make tasks on them.
    public let handles: [LoopHandle]
    /// Ends the loop of the same place.
    private let ends: [LoopFuture<Void>]
    private let state: Mutex<State>

    /// Makes `count` loops by `makeLoop`, one for each processor unless set, and runs each on a
    /// thread of its own.
    ///
    /// - Throws: What `makeLoop` throws; ``LoopError`` when no thread can be started. No loop is
    ///   left then.
    public init(count: Int? = nil, makeLoop: @Sendable () throws -> sending Loop) throws {
        let count = max(1, count ?? sysconf(CInt(_SC_NPROCESSORS_ONLN)))
        var passages: [LoopPassage] = []
        var handles: [LoopHandle] = []
        do {
            for _ in 0..<count {
                let loop = try makeLoop()
                handles.append(loop.handle)
                passages.append(LoopPassage(loop))
            }
        } catch {
            for passage in passages { try passage.take()?.close() }
            throw error
        }
        self.handles = handles
        ends = handles.map { LoopFuture(on: $0) }
        state = Mutex(
            State(
                loads: Array(repeating: Load(), count: count),
                isClosed: Array(repeating: false, count: count), runningCount: count))
        try start(passages)
    }

    deinit { stop() }

    private func start(_ passages: [LoopPassage]) throws(LoopError) {
        let threads = BlockingPool(threadsMax: passages.count)
        for (index, passage) in passages.enumerated() {
            let end = ends[index]
            do throws(LoopError) {
                try threads.run { [weak self] in
                    let result = Result { try Self.run(passage, until: end) }
                    self?.loopEnded(index, result)
                }
            } catch {
                stop()
                for passage in passages[index...] { try passage.take()?.close() }
                throw error
            }
        }
    }

    /// The life of a loop, on its thread.
    private static func run(_ passage: LoopPassage, until end: LoopFuture<Void>) throws {
        guard let loop = passage.take() else { return }
        // It belongs to this thread from here on.
        try loop.run(.noWait)
        let runner = LoopRunner(makeLoop: { loop })
        // Signals are for the loop of the program's main function.
        runner.handlesSignals = false
        let outcome = Result {
            try runner.run(name: "group") {
                try await end.value
                await Loop.running.abortTransports()
            }
        }
        try runner.close()
        try outcome.get()
    }

    private func loopEnded(_ index: Int, _ result: Result<Void, any Error>) {
        let callbacks = state.withCheckedLock { state in
            state.isClosed[index] = true
            state.runningCount -= 1
            if case .failure(let error) = result, state.error == nil { state.error = error }
            guard state.runningCount == 0 else { return [@Sendable () -> Void]() }
            defer { state.whenStopped = [] }
            return state.whenStopped
        }
        for callback in callbacks { callback() }
    }

    // MARK: Load

    /// What each loop has to do, in the order of ``handles``.
    public var loads: [Load] { state.withCheckedLock { $0.loads } }

    /// Counts a connection for the loop that has the fewest; nil when no loop is left.
    func assign() -> Int? {
        state.withCheckedLock { state in
            var best: Int?
            for index in state.loads.indices where !state.isClosed[index] {
                guard let least = best.map({ state.loads[$0] }) else {
                    best = index
                    continue
                }
                let load = state.loads[index]
                if (load.openCount, load.acceptedCount) < (least.openCount, least.acceptedCount) {
                    best = index
                }
            }
            if let best {
                state.loads[best].openCount += 1
                state.loads[best].acceptedCount += 1
            }
            return best
        }
    }

    func connectionEnded(_ index: Int) {
        state.withCheckedLock { $0.loads[index].openCount -= 1 }
    }

    /// A loop turned out to be closed, and did not get the connection that was assigned.
    func refuse(_ index: Int) {
        state.withCheckedLock { state in
            state.isClosed[index] = true
            state.loads[index].openCount -= 1
            state.loads[index].acceptedCount -= 1
        }
    }

    // MARK: Stopping

    /// Stops the loops: connections that are left are aborted, and told so, tasks are cancelled and
    /// awaited, then the loops close and their threads end.
    ///
    /// Shut the servers down before, see ``LoopServer/shutDown(within:)``. Does nothing the second
    /// time.
    public func stop() {
        // A loop that is about to end is handed nothing more.
        state.withCheckedLock { state in
            for index in state.isClosed.indices { state.isClosed[index] = true }
        }
        // A loop that is closed has ended already.
        for end in ends { try? end.completeThreadSafe(with: .success(())) }
    }

    /// Calls `body` when every loop has ended, on one of their threads; now, if they have.
    public func whenStopped(_ body: @escaping @Sendable () -> Void) {
        let hasStopped = state.withCheckedLock { state in
            let hasStopped = state.runningCount == 0
            if !hasStopped { state.whenStopped.append(body) }
            return hasStopped
        }
        if hasStopped { body() }
    }

    /// Waits until every loop has ended.
    ///
    /// - Throws: The first error that ended a loop, such as a ``LoopFatalError`` of a callback;
    ///   `CancellationError` when the task is cancelled.
    public func waitStopped() async throws {
        if let loop = Loop.current {
            let stopped = LoopFuture<Void>(on: loop)
            whenStopped { try? stopped.completeThreadSafe(with: .success(())) }
            try await stopped.value
        } else {
            await withCheckedContinuation { continuation in
                whenStopped { continuation.resume() }
            }
        }
        if let error = state.withCheckedLock({ $0.error }) { throw error }
    }
}

/// Runs `body` with a group of loops, which are stopped when it has ended; see ``LoopGroup``.
///
/// - Returns: What `body` returns, when the loops have ended.
/// - Throws: What `body` throws; an error that ended a loop; otherwise as
///   ``LoopGroup/init(count:makeLoop:)``.
public func withLoopGroup<Value>(
    count: Int? = nil, makeLoop: @Sendable () throws -> sending Loop,
    _ body: (LoopGroup) async throws -> Value
) async throws -> Value {
    let group = try LoopGroup(count: count, makeLoop: makeLoop)
    let value: Value
    do {
        value = try await body(group)
    } catch {
        group.stop()
        try? await group.waitStopped()
        throw error
    }
    group.stop()
    try await group.waitStopped()
    return value
}

/// A loop on its way from the thread that made it to the one that runs it.
private final class LoopPassage: Sendable {
    private let loop: Mutex<Loop?>

    init(_ loop: consuming sending Loop) {
        self.loop = Mutex(loop)
    }

    func take() -> sending Loop? {
        loop.withCheckedLock { slot in
            let loop = slot
            slot = nil
            return loop
        }
    }
}

extension Loop {
    /// Ends every connection, and waits until they are told.
    fileprivate func abortTransports() async {
        while true {
            let transports = openResources.compactMap { $0 as? LoopTransport }
            guard !transports.isEmpty else { return }
            // Those too that were on their way here, or made by one that was told.
            for transport in transports { transport.abort() }
            // The operations that are under way end in one of the next turns.
            do { try await sleep(.zero) } catch { return }
        }
    }
}
