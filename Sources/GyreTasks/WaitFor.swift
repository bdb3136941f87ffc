// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// The value of `future`, if it is there within `timeout`; nil is no limit.
///
/// When the time is up, which is never before, `future` is cancelled and this waits until it ended.
/// A task that returns a value all the same gives that value, and one that throws an error of its
/// own that error. What is done already gives its value, whatever the timeout. Use
/// ``shield(_:file:line:)`` for a future that should go on.
///
/// - Throws: The error that `future` ended with; ``LoopError/Code/timedOut`` when it was cancelled
///   because the time was up; `CancellationError` when it, or the task that waits, was cancelled.
public func waitFor<Value: Sendable>(
    _ future: LoopFuture<Value>, timeout: Duration?, file: StaticString = #fileID,
    line: UInt = #line
) async throws -> Value {
    let loop = try currentLoop("waitFor")
    guard future.handle == loop.handle, !future.isDone, let timeout else {
        return try await future.value
    }
    let limit = FutureLimit(future)
    let cancellationsBefore = CurrentTask.body?.cancellations
    var timer: LoopTimer?
    if timeout > .zero {
        timer = loop.callLaterPlainly(timeout, file: file, line: line) { limit.expire() }
    } else {
        limit.expire()
    }
    defer { timer?.cancel() }
    try await future.suspendUntilDone()
    if limit.hasExpired, future.isCancelled {
        guard CurrentTask.body?.cancellations == cancellationsBefore else {
            // The task was cancelled, too: this is where that fails a wait, and no later one.
            _ = CurrentTask.body?.endWait()
            throw CancellationError()
        }
        throw LoopError(.timedOut, operation: "waitFor", detail: "the limit was \(timeout)")
    }
    return try future.result()
}

/// Runs `body`, and cancels it when it takes longer than `timeout`; nil is no limit.
///
/// As `timeout(_:_:)`, except that with a timeout of zero or less the body never begins.
///
/// - Throws: What `body` throws; ``LoopError/Code/timedOut`` when the time was up;
///   ``LoopError/Code/loopMismatch`` outside a loop.
public func waitFor<Value>(
    timeout delay: Duration?, file: StaticString = #fileID, line: UInt = #line,
    _ body: () async throws -> Value
) async throws -> Value {
    guard let delay else { return try await body() }
    guard delay > .zero else {
        throw LoopError(.timedOut, operation: "waitFor", detail: "the limit was \(delay)")
    }
    return try await timeout(delay, file: file, line: line) { _ in try await body() }
}

/// Cancels a future when the time is up.
private final class FutureLimit<Value: Sendable> {
    private let future: LoopFuture<Value>
    private(set) var hasExpired = false

    init(_ future: LoopFuture<Value>) {
        self.future = future
    }

    func expire() {
        if future.cancel() { hasExpired = true }
    }
}
