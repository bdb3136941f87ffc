// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// Suspends the task for `delay`, on the loop it runs on.
///
/// Never less than that. With a delay of zero or less it goes on in the next iteration, behind what
/// is ready now. Cancelling the task removes the timer.
///
/// - Throws: `CancellationError` when the task is cancelled;
///   ``LoopError/Code/loopMismatch`` outside a loop.
public func sleep(
    _ delay: Duration, file: StaticString = #fileID, line: UInt = #line
) async throws {
    guard let loop = Loop.current else {
        throw LoopError(
            .loopMismatch, operation: "sleep", detail: "the task does not run on a loop")
    }
    guard delay > .zero else { return try await yieldTurn(on: loop) }
    let wait = SleepWait(on: loop.handle, site: CallSite(file: file, line: line))
    let timer = loop.callLaterPlainly(delay, file: file, line: line) { wait.end() }
    defer { timer.cancel() }
    try await wait.suspend()
    try wait.result()
}

/// Suspends the task until `deadline`, by the clock of the loop it runs on.
///
/// For work in a rhythm, which does not drift as it would with a delay after each step:
///
///     var next = Loop.running.now
///     while true {
///         try await step()
///         next += .seconds(1)
///         try await sleep(until: next)
///     }
///
/// A deadline that has passed is a delay of zero; else as `sleep(_:)`.
///
/// - Throws: As `sleep(_:)`.
public func sleep(
    until deadline: LoopClock.Instant, file: StaticString = #fileID, line: UInt = #line
) async throws {
    let now = Loop.current?.now ?? deadline
    try await sleep(now.duration(to: deadline), file: file, line: line)
}

/// Goes on in the next iteration.
private func yieldTurn(on loop: Loop) async throws {
    // SAFETY: the loop resumes it once, or is closed, when no task goes on any more.
    await suspendHere { loop.resumeSoon($0) }
    guard let scope = CurrentTask.body else { return try Task.checkCancellation() }
    if scope.endWait() { throw CancellationError() }
}

/// What a sleeping task waits for.
private final class SleepWait: LoopFuture<Void>, @unchecked Sendable {
    // SAFETY: adds nothing to its superclass.

    func end() { _ = complete(.value(())) }

    package override var waitDescription: String { "sleep at \(site)" }
}
