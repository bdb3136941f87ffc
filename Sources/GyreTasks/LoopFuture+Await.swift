// SPDX-License-Identifier: Apache-2.0

public import GyreCore

extension LoopFuture {
    /// The value, as soon as there is one.
    ///
    /// Any task may wait. Cancelling the task that waits cancels the future too;
    /// ``shield(_:file:line:)`` is for where that is not wanted.
    ///
    /// - Throws: The error that the future ended with; `CancellationError` when it was cancelled;
    ///   ``LoopError/Code/loopMismatch`` when the task runs on another loop;
    ///   ``LoopError/Code/invalidState`` in a task that waits for itself.
    @inlinable
    public final var value: Value {
        get async throws {
            guard handle.isOnLoop else { return try await valueFromOutside() }
            if !isDone { try await suspend() }
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

    /// Waits until the future is done, on the loop.
    ///
    /// - Throws: `CancellationError` when the task was cancelled after the future was done;
    ///   before, its cancellation is that of the future.
    @usableFromInline
    final func suspend() async throws {
        guard let scope = CurrentTask.body else { return await suspendInChild() }
        try scope.beginWait(for: self)
        // A cancellation that came before has ended the future already.
        if status == .pending {
            // SAFETY: a waiter is taken out of the list when it is told, so it is resumed once; and
            // a future that is awaited is held by the task until then.
            await withUnsafeContinuation { add(.continuation($0)) }
        }
        try scope.endWait()
    }

    /// Waits until the future is done, on the loop, as ``suspend()``.
    ///
    /// Leaves a cancellation of the task that comes after the future was done for its next wait.
    final func suspendUntilDone() async throws(LoopError) {
        guard let scope = CurrentTask.body else { return await suspendInChild() }
        try scope.beginWait(for: self)
        // SAFETY: as above.
        if status == .pending { await withUnsafeContinuation { add(.continuation($0)) } }
        scope.leaveWait()
    }

    /// In a task of Swift, which learns from Swift that it is cancelled.
    private func suspendInChild() async {
        await withTaskCancellationHandler {
            // SAFETY: as above.
            await withUnsafeContinuation { add(.continuation($0)) }
        } onCancel: {
            cancelThreadSafe()
        }
    }
}
