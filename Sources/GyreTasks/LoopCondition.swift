// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// A place to wait, with a lock held, until something changed.
///
/// ```swift
/// try await condition.withLock {
///     try await condition.wait { !jobs.isEmpty }
///     take(&jobs)
/// }
/// ```
///
/// Waiting gives the lock back and takes it again before it returns or throws.
public final class LoopCondition: Sendable {
    private final class State {
        let line: WaitLine<Void>

        init(line: WaitLine<Void>) { self.line = line }

        func wait(_ lock: LockState) async throws {
            try lock.check("wait")
            lock.passOn()
            var failure: (any Error)?
            var isNotified = false
            do {
                try await line.wait { isNotified = true }
                isNotified = true
            } catch {
                failure = error
            }
            if let cancellation = await lock.acquireRegardless() { failure = cancellation }
            guard let failure else { return }
            // Somebody was told, who now does nothing about it.
            if isNotified { _ = line.wakeFirst(()) }
            throw failure
        }
    }

    /// The lock that goes with it.
    public let lock: LoopLock
    private let state: LoopBound<State>

    /// Makes a condition with a lock of its own, on the loop that runs or on `loop`.
    public convenience init(
        on loop: Loop = .running, file: StaticString = #fileID, line: UInt = #line
    ) {
        self.init(lock: LoopLock(on: loop, file: file, line: line), file: file, line: line)
    }

    /// Makes a condition that shares `lock`, and its loop, with others.
    ///
    /// - Important: Callable from any thread.
    public init(lock: LoopLock, file: StaticString = #fileID, line: UInt = #line) {
        self.lock = lock
        let site = CallSite(file: file, line: line)
        let line = WaitLine<Void>("condition", on: lock.handle, site: site)
        state = LoopBound(State(line: line), on: lock.handle)
    }

    // MARK: The lock

    /// Whether the lock is taken.
    public var isLocked: Bool { lock.isLocked }

    /// Takes the lock, see ``LoopLock/acquire()``.
    public func acquire() async throws { try await lock.acquire() }

    /// Gives the lock back, see ``LoopLock/release()``.
    public func release() throws(LoopError) { try lock.release() }

    /// Runs `body` with the lock, see ``LoopLock/withLock(_:)``.
    public func withLock<Result>(_ body: () async throws -> Result) async throws -> Result {
        try await lock.withLock(body)
    }

    // MARK: Waiting

    /// Gives the lock back, waits until the condition is notified, and takes the lock again.
    ///
    /// A task that was notified and is cancelled before it goes on passes the notification on.
    ///
    /// - Throws: `CancellationError` when the task is cancelled, with the lock held;
    ///   ``LoopError/Code/invalidState`` when nobody has the lock;
    ///   ``LoopError/Code/loopMismatch`` on another loop.
    public func wait() async throws {
        guard state.isHere else { return try await state.there("wait") { try await self.wait() } }
        try await state.object.wait(lock.locking)
    }

    /// Waits until `predicate` holds, which is asked with the lock held: now, and whenever the
    /// condition is notified.
    ///
    /// - Throws: What `predicate` throws, and what ``wait()`` throws.
    public func wait(for predicate: () throws -> Bool) async throws {
        while try !predicate() { try await wait() }
    }

    // MARK: Notifying

    /// Wakes the first `count` that wait; each goes on when it has the lock.
    ///
    /// - Throws: ``LoopError/Code/invalidState`` when nobody has the lock.
    /// - Important: On the loop's thread only.
    public func notify(_ count: Int = 1) throws(LoopError) {
        let line = state.object.line
        try lock.locking.check("notify")
        for _ in 0..<max(0, count) where !line.wakeFirst(()) { return }
    }

    /// Wakes all that wait, as ``notify(_:)``.
    public func notifyAll() throws(LoopError) {
        let line = state.object.line
        try lock.locking.check("notifyAll")
        line.wakeAll(())
    }
}
