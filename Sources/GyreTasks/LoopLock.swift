// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// A lock for tasks: who waits is suspended, and the thread goes on.
///
/// It is granted in the order in which tasks came. ``withLock(_:)`` gives it back whatever happens.
/// On one loop nothing else runs between two suspensions, so a lock is for what spans one.
public final class LoopLock: Sendable {
    private let state: LoopBound<LockState>

    /// Makes a lock that is free, on the loop that runs or on `loop`.
    public convenience init(
        on loop: Loop = .running, file: StaticString = #fileID, line: UInt = #line
    ) {
        self.init(on: loop.handle, file: file, line: line)
    }

    /// Makes a lock of the loop that `handle` belongs to.
    ///
    /// - Important: Callable from any thread.
    public init(on handle: LoopHandle, file: StaticString = #fileID, line: UInt = #line) {
        let line = WaitLine<Void>("lock", on: handle, site: CallSite(file: file, line: line))
        state = LoopBound(LockState(line: line), on: handle)
    }

    var handle: LoopHandle { state.handle }

    /// The state, for a condition; traps on another thread than the loop's.
    var locking: LockState { state.object }

    /// Whether a task has the lock, or has been granted it and did not go on yet.
    public var isLocked: Bool { state.object.isLocked }

    /// Takes the lock, as soon as those who came before gave it back.
    ///
    /// Suspends only when it is taken.
    ///
    /// - Throws: `CancellationError` when the task is cancelled, which then does not have it;
    ///   ``LoopError/Code/loopMismatch`` on another loop.
    public func acquire() async throws {
        guard state.isHere else { return try await state.there("acquire", acquire) }
        try await state.object.acquire()
    }

    /// Gives the lock back, to the first that waits for it.
    ///
    /// - Throws: ``LoopError/Code/invalidState`` when nobody has it.
    /// - Important: On the loop's thread only.
    public func release() throws(LoopError) {
        let state = state.object
        try state.check("release")
        state.passOn()
    }

    /// Runs `body` with the lock, and gives it back when `body` returned or threw.
    ///
    /// - Throws: What `body` throws, and what ``acquire()`` throws.
    public func withLock<Result>(_ body: () async throws -> Result) async throws -> Result {
        try await acquire()
        defer { state.soon { $0.passOn() } }
        return try await body()
    }
}

/// Who has the lock, and who waits for it.
///
/// A lock that is given back while somebody waits stays taken: it is the first waiter's from then
/// on, and nobody who comes meanwhile can take it.
final class LockState {
    private(set) var isLocked = false
    private let line: WaitLine<Void>

    init(line: WaitLine<Void>) { self.line = line }

    func acquire() async throws {
        if isLocked {
            try await line.wait(onLostTurn: passOn)
        } else {
            isLocked = true
        }
    }

    /// Takes the lock although the task is cancelled, and returns that cancellation.
    func acquireRegardless() async -> (any Error)? {
        if isLocked { return await line.waitRegardless() }
        isLocked = true
        return nil
    }

    func check(_ operation: String) throws(LoopError) {
        guard !isLocked else { return }
        throw LoopError(.invalidState, operation: operation, detail: "nobody has the lock")
    }

    func passOn() {
        if !line.wakeFirst(()) { isLocked = false }
    }
}
