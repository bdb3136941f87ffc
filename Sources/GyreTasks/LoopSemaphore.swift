// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// A number of permits, which tasks take and give back.
///
/// They are granted in the order in which tasks came.
public final class LoopSemaphore: Sendable {
    private let state: LoopBound<PermitState>

    /// Makes a semaphore with `value` permits, on the loop that runs or on `loop`.
    ///
    /// A negative value traps.
    public convenience init(
        value: Int = 1, on loop: Loop = .running,
        file: StaticString = #fileID, line: UInt = #line
    ) {
        self.init(value: value, on: loop.handle, file: file, line: line)
    }

    /// Makes a semaphore of the loop that `handle` belongs to.
    ///
    /// - Important: Callable from any thread.
    public init(
        value: Int = 1, on handle: LoopHandle, file: StaticString = #fileID, line: UInt = #line
    ) {
        state = PermitState.make(value, on: handle, site: CallSite(file: file, line: line))
    }

    /// How many permits can be taken without waiting.
    public var available: Int { state.object.available }

    /// Whether the next to come has to wait.
    public var isLocked: Bool { available == 0 }

    /// Takes a permit, as soon as there is one and those who came before have theirs.
    ///
    /// Suspends only when there is none.
    ///
    /// - Throws: `CancellationError` when the task is cancelled, which then has none;
    ///   ``LoopError/Code/loopMismatch`` on another loop.
    public func acquire() async throws { try await PermitState.acquire(state) }

    /// Gives a permit back, or adds one: nobody counts who took any.
    ///
    /// - Important: On the loop's thread only.
    public func release() { state.object.release() }

    /// Runs `body` with a permit, and gives it back when `body` returned or threw.
    ///
    /// - Throws: What `body` throws, and what ``acquire()`` throws.
    public func withPermit<Result>(_ body: () async throws -> Result) async throws -> Result {
        try await acquire()
        defer { state.soon { $0.release() } }
        return try await body()
    }
}

/// A ``LoopSemaphore`` that never has more permits than it began with.
public final class LoopBoundedSemaphore: Sendable {
    private let state: LoopBound<PermitState>
    /// How many permits it began with.
    public let bound: Int

    /// Makes a semaphore with `value` permits, on the loop that runs or on `loop`.
    ///
    /// A negative value traps.
    public convenience init(
        value: Int = 1, on loop: Loop = .running,
        file: StaticString = #fileID, line: UInt = #line
    ) {
        self.init(value: value, on: loop.handle, file: file, line: line)
    }

    /// Makes a semaphore of the loop that `handle` belongs to.
    ///
    /// - Important: Callable from any thread.
    public init(
        value: Int = 1, on handle: LoopHandle, file: StaticString = #fileID, line: UInt = #line
    ) {
        bound = value
        state = PermitState.make(value, on: handle, site: CallSite(file: file, line: line))
    }

    /// How many permits can be taken without waiting.
    public var available: Int { state.object.available }

    /// Whether the next to come has to wait.
    public var isLocked: Bool { available == 0 }

    /// Takes a permit, see ``LoopSemaphore/acquire()``.
    public func acquire() async throws { try await PermitState.acquire(state) }

    /// Gives a permit back.
    ///
    /// - Throws: ``LoopError/Code/invalidState`` when all are back already.
    /// - Important: On the loop's thread only.
    public func release() throws(LoopError) {
        let state = state.object
        guard state.available < bound else {
            throw LoopError(
                .invalidState, operation: "release", detail: "all \(bound) permits are back")
        }
        state.release()
    }

    /// Runs `body` with a permit, see ``LoopSemaphore/withPermit(_:)``.
    public func withPermit<Result>(_ body: () async throws -> Result) async throws -> Result {
        try await acquire()
        defer { state.soon { $0.release() } }
        return try await body()
    }
}

/// The permits that are there, and who waits for one.
///
/// A permit that comes back while somebody waits is the first waiter's from then on.
private final class PermitState {
    private(set) var available: Int
    private let line: WaitLine<Void>

    private init(_ value: Int, line: WaitLine<Void>) {
        available = value
        self.line = line
    }

    static func make(_ value: Int, on handle: LoopHandle, site: CallSite) -> LoopBound<PermitState>
    {
        if value < 0 { trap("a semaphore cannot begin with \(value) permits") }
        let line = WaitLine<Void>("semaphore", on: handle, site: site)
        return LoopBound(PermitState(value, line: line), on: handle)
    }

    static func acquire(_ state: LoopBound<PermitState>) async throws {
        guard state.isHere else {
            return try await state.there("acquire") { try await acquire(state) }
        }
        try await state.object.acquire()
    }

    private func acquire() async throws {
        if available > 0 {
            available -= 1
        } else {
            try await line.wait(onLostTurn: release)
        }
    }

    func release() {
        if !line.wakeFirst(()) { available += 1 }
    }
}
