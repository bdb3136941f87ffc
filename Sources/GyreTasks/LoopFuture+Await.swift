// SPDX-License-Identifier: Apache-2.0

import GyreCore

extension LoopFuture {
    /// The value, as soon as there is one.
    ///
    /// Any task may wait. Cancelling the task that waits cancels the future too;
    /// ``shield(_:file:line:)`` is for where that is not wanted.
    ///
    /// - Throws: The error that the future ended with; `CancellationError` when it was cancelled;
    ///   ``LoopError/Code/loopMismatch`` when the task runs on another loop;
    ///   ``LoopError/Code/invalidState`` in a task that waits for itself.
    public var value: Value {
        get async throws {
            if handle.isOnLoop {
                if !isDone { try await suspend() }
                return try result()
            }
            guard Loop.current == nil else {
                throw LoopError(
                    .loopMismatch, operation: "value", detail: "the future is another loop's")
            }
            return try await valueFromOutside()
        }
    }

    /// From another thread: the short way there and back.
    private func valueFromOutside() async throws -> Value {
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

    /// Waits until the future is done, in whatever way, on the loop.
    ///
    /// Does not look at the outcome, and cancelling the task that waits does not cancel the future.
    ///
    /// - Throws: `CancellationError` when the task that waits is cancelled.
    public func waitUntilDone() async throws {
        guard !isDone else { return }
        let done = LoopFuture<Void>(on: handle, site: site)
        let callback = LoopDoneCallback<Value> { _ in _ = done.complete(.value(())) }
        addDoneCallback(callback)
        defer { removeDoneCallback(callback) }
        try await done.value
    }

    /// Waits until the future is done, on the loop.
    ///
    /// - Throws: `CancellationError` when the task was cancelled after the future was done;
    ///   before, its cancellation is that of the future.
    func suspend() async throws {
        guard let scope = CurrentTask.body else { return await suspendInChild() }
        try await suspend(in: scope)
        try scope.endWait()
    }

    /// Waits until the future is done, on the loop, as ``suspend()``.
    ///
    /// Leaves a cancellation of the task that comes after the future was done for its next wait.
    func suspendUntilDone() async throws(LoopError) {
        guard let scope = CurrentTask.body else { return await suspendInChild() }
        try await suspend(in: scope)
        scope.cancellation.wait = nil
    }

    @inline(__always)
    private func suspend(in scope: any TaskScope) async throws(LoopError) {
        try scope.beginWait(for: self)
        // A cancellation that came before has ended the future already.
        guard !isDone else { return }
        // SAFETY: a waiter is taken out of the list when it is told, so it is resumed once; and
        // a future that is awaited is held by the task until then.
        await withUnsafeContinuation { add(.continuation($0)) }
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
