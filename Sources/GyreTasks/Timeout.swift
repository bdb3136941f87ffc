// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// Runs `body`, and cancels it when it takes longer than `delay`; nil is no limit.
///
/// The time is up at `delay` or later, never before, and the body is then cancelled as a task is:
/// its current wait, or its next, fails with `CancellationError`. It may clean up. What it ends
/// with counts: a value that it returns all the same, and an error of its own. Only when it ends by
/// that cancellation is the error ``LoopError/Code/timedOut``. A body that never waits always
/// finishes, whatever the limit.
///
/// The body is handed the limit, to move it or switch it off. Limits may be nested, each cancels
/// its own body.
///
///     let line = try await timeout(.seconds(5)) { limit in
///         let header = try await readHeader()
///         try limit.reschedule(.seconds(header.isLarge ? 60 : 5))
///         return try await readBody()
///     }
///
/// The body runs in a task of its own, on the same loop, while the caller waits. So the caller is
/// not cancelled by the limit, and what it was cancelled itself reaches the body.
///
/// - Throws: What `body` throws; ``LoopError/Code/timedOut`` as above;
///   ``LoopError/Code/loopMismatch`` outside a loop.
public func timeout<Value>(
    _ delay: Duration?, file: StaticString = #fileID, line: UInt = #line,
    _ body: (LoopTimeout) async throws -> Value
) async throws -> Value {
    let loop = try currentLoop("timeout")
    let limit = LoopTimeout(on: loop, deadline: delay.map { loop.now.advanced(by: $0) })
    return try await limit.run(on: loop, file, line, isolation: #isolation, body)
}

/// Runs `body`, and cancels it when it has not ended at `deadline` of the loop's clock, see
/// `timeout(_:_:)`.
///
/// A deadline in the past cancels the first wait of the body.
public func timeout<Value>(
    at deadline: LoopClock.Instant?, file: StaticString = #fileID, line: UInt = #line,
    _ body: (LoopTimeout) async throws -> Value
) async throws -> Value {
    let loop = try currentLoop("timeout")
    let limit = LoopTimeout(on: loop, deadline: deadline)
    return try await limit.run(on: loop, file, line, isolation: #isolation, body)
}

/// The limit of a `timeout(_:_:)`, while its body runs.
///
/// - Important: On the loop's thread only.
public final class LoopTimeout: OwnTaskScope, @unchecked Sendable {
    // SAFETY: everything is used on the thread of the loop only, which every call checks.

    private enum State {
        case active
        /// The time is up, and the body does not know yet, or cleans up.
        case expiring
        case ended
    }

    private let handle: LoopHandle
    private var state = State.active
    private var isTimeUp = false
    private var timer: LoopTimer?
    private var deadline: LoopClock.Instant?
    var task: LoopTask<Void>?

    init(on loop: Loop, deadline: LoopClock.Instant?) {
        handle = loop.handle
        self.deadline = deadline
    }

    /// When the time is up; nil when never.
    public var when: LoopClock.Instant? {
        checkThread()
        return deadline
    }

    /// Whether the time was up before the body ended.
    public var hasExpired: Bool {
        checkThread()
        return isTimeUp
    }

    /// Gives the body `delay` from now on; nil switches the limit off.
    ///
    /// - Throws: ``LoopError/Code/invalidState`` when the time is up, or the body has ended.
    public func reschedule(_ delay: Duration?) throws(LoopError) {
        let loop = try checkActive()
        start(on: loop, deadline: delay.map { loop.now.advanced(by: $0) })
    }

    /// Gives the body until `deadline` of the loop's clock; nil switches the limit off.
    ///
    /// - Throws: ``LoopError/Code/invalidState`` when the time is up, or the body has ended.
    public func reschedule(at deadline: LoopClock.Instant?) throws(LoopError) {
        start(on: try checkActive(), deadline: deadline)
    }

    private func checkActive() throws(LoopError) -> Loop {
        checkThread()
        guard state == .active, let loop = Loop.current else {
            throw LoopError(
                .invalidState, operation: "reschedule",
                detail: isTimeUp ? "the time is up" : "the body has ended")
        }
        return loop
    }

    private func start(on loop: Loop, deadline: LoopClock.Instant?) {
        timer?.cancel()
        self.deadline = deadline
        timer = deadline.map { deadline in loop.callAtPlainly(deadline) { [self] in expire() } }
    }

    private func expire() {
        timer = nil
        guard let task, !task.isDone else { return }
        state = .expiring
        isTimeUp = true
        task.cancel("timeout")
    }

    fileprivate func run<Value>(
        on loop: Loop, _ file: StaticString, _ line: UInt, isolation: isolated (any Actor)?,
        _ body: (LoopTimeout) async throws -> Value
    ) async throws -> Value {
        start(on: loop, deadline: deadline)
        defer { end() }
        do {
            return try await runInOwnTask(
                self, name: "timeout", file: file, line: line, on: loop, isolation: isolation, body)
        } catch is CancellationError where state == .expiring && task?.cancelling == 1 {
            // By the limit alone; a cancellation by anybody else goes further.
            throw LoopError(.timedOut, operation: "timeout")
        }
    }

    private func end() {
        timer?.cancel()
        timer = nil
        task = nil
        state = .ended
    }

    private func checkThread() {
        if !handle.isOwnedByThisThread {
            trap("a timeout was used on another thread than its loop's")
        }
    }
}
