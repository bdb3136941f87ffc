// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// Suspends the task, and hands `body` what resumes it, once.
///
/// As `withUnsafeContinuation`, which looks at the executor first, under a lock of the runtime. Who
/// calls this is where its caller is, and stays there.
@inlinable
@inline(__always)
package func suspendHere(_ body: (UnsafeContinuation<Void, Never>) -> Void) async {
    await _unsafeInheritExecutor_withUnsafeContinuation(body)
}

extension LoopFuture {
    /// The value, as soon as there is one.
    ///
    /// Any task may wait. Cancelling the task that waits cancels the future too;
    /// ``shield(_:file:line:)`` is for where that is not wanted.
    ///
    /// - Throws: The error that the future ended with; `CancellationError` when it was cancelled;
    ///   ``LoopError/Code/loopMismatch`` when the task runs on another loop;
    ///   ``LoopError/Code/closed`` on another thread when the loop is closed;
    ///   ``LoopError/Code/invalidState`` in a task that waits for itself.
    @inlinable
    public final var value: Value {
        get async throws {
            guard handle.isOnLoop else { return try await valueFromOutside() }
            if status == .pending { try await suspend() }
            return try result()
        }
    }

    /// From another thread: the short way there and back.
    @usableFromInline
    final func valueFromOutside() async throws -> Value {
        guard Loop.current == nil else {
            throw LoopError(
                .loopMismatch, operation: "value", detail: "the future is another loop's")
        }
        guard !handle.isClosed else { throw LoopError(.closed, operation: "value") }
        let there = Task(executorPreference: handle) { [self] in
            if !isDone { try await suspend() }
            return try result()
        }
        return try await withTaskCancellationHandler {
            try await there.value
        } onCancel: {
            there.cancel()
        }
    }
}

extension LoopFutureBase {
    /// Waits until the future is done, in whatever way, on the loop.
    ///
    /// Does not look at the outcome, and cancelling the task that waits does not cancel the future.
    ///
    /// - Throws: `CancellationError` when the task that waits is cancelled.
    public final func waitUntilDone() async throws {
        guard !isDone else { return }
        let done = LoopFuture<Void>(on: handle, site: site)
        addCallback({ _ in _ = done.complete(.value(())) }, identity: done)
        defer { _ = removeCallbacks(done) }
        try await done.value
    }

    /// As ``waitUntilDone()``, for what is cleaned up behind a cancellation.
    ///
    /// A task of Swift, which once cancelled stays so and could wait for nothing more, waits
    /// nevertheless.
    package final func waitForEnd() async throws {
        guard CurrentTask.reference == nil else { return try await waitUntilDone() }
        guard !isDone else { return }
        // SAFETY: as in ``suspend()``.
        await withUnsafeContinuation { add(.continuation($0)) }
    }

    /// What a wait for a future begins with.
    @usableFromInline
    enum WaitStart {
        /// The task is to suspend, see ``park(_:)``.
        case suspends
        /// It is one that Swift made, see ``suspendInChild()``.
        case isInChild
        /// A cancellation that came before has ended the future already.
        case isDone
    }

    /// Waits until the future is done, on the loop.
    ///
    /// In steps and inlined, so that the function that waits suspends by itself: every async call
    /// between it and the suspension would look at the executor on the way back.
    ///
    /// - Throws: `CancellationError` when the task was cancelled after the future was done;
    ///   before, its cancellation is that of the future.
    @inlinable
    @inline(__always)
    final func suspend() async throws {
        switch try startWait() {
        case .isInChild: return await suspendInChild()
        // SAFETY: a waiter is taken out of the list when it is told, so it is resumed once; and a
        // future that is awaited is held by the task until then.
        case .suspends: await suspendHere { park($0) }
        case .isDone: break
        }
        try endOwnWait()
    }

    /// Waits until the future is done, on the loop, as ``suspend()``.
    ///
    /// Leaves a cancellation of the task that comes after the future was done for its next wait.
    final func suspendUntilDone() async throws(LoopError) {
        switch try startWait() {
        case .isInChild: return await suspendInChild()
        // SAFETY: as above.
        case .suspends: await suspendHere { park($0) }
        case .isDone: break
        }
        CurrentTask.body?.leaveWait()
    }

    @usableFromInline
    final func startWait() throws(LoopError) -> WaitStart {
        guard let task = CurrentTask.reference else { return .isInChild }
        // SAFETY: the body that waits has not ended, and holds its task.
        guard task._withUnsafeGuaranteedRef({ $0.beginWait(for: self) }) else {
            throw LoopError(
                .invalidState, operation: "value", detail: "a task cannot wait for itself")
        }
        return status == .pending ? .suspends : .isDone
    }

    @usableFromInline
    final func park(_ continuation: UnsafeContinuation<Void, Never>) {
        add(.continuation(continuation))
    }

    @usableFromInline
    final func endOwnWait() throws(CancellationError) {
        // SAFETY: as above.
        if CurrentTask.reference?._withUnsafeGuaranteedRef({ $0.endWait() }) == true {
            throw CancellationError()
        }
    }

    /// In a task of Swift, which learns from Swift that it is cancelled.
    @usableFromInline
    final func suspendInChild() async {
        await withTaskCancellationHandler {
            // SAFETY: as above.
            await withUnsafeContinuation { add(.continuation($0)) }
        } onCancel: {
            cancelThreadSafe()
        }
    }
}
