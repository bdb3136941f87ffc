// SPDX-License-Identifier: Apache-2.0

import GyreCore

extension LoopFuture {
    /// The value, as soon as there is one.
    ///
    /// Any task may wait.
    ///
    /// Cancelling the task that waits cancels the future too.
    ///
    /// - Throws: The error that the future ended with; `CancellationError` when it was cancelled;
    ///   ``LoopError/Code/loopMismatch`` when the task runs on another loop.
    public var value: Value {
        get async throws {
            if handle.isOnLoop { return try await valueOnLoop() }
            guard Loop.current == nil else {
                throw LoopError(
                    .loopMismatch, operation: "value", detail: "the future is another loop's")
            }
            // From outside: the short way there and back.
            return try await Task(executorPreference: handle) { [self] in
                try await valueOnLoop()
            }.awaited(cancelling: self)
        }
    }

    private func valueOnLoop() async throws -> Value {
        if !isDone { await wait() }
        return try result()
    }

    private func wait() async {
        await withTaskCancellationHandler {
            // SAFETY: a waiter is taken out of the list when it is told, so it is resumed once; and
            // a future that is awaited is held by the task until then.
            await withUnsafeContinuation { continuation in
                // A cancellation that came before has ended the future, and is told like any end.
                add(.continuation(continuation))
            }
        } onCancel: {
            cancelThreadSafe()
        }
    }
}

extension Task where Failure == any Error {
    /// The value of this task; cancelling who waits for it cancels `future`.
    fileprivate func awaited<Value: Sendable>(
        cancelling future: LoopFuture<Value>
    ) async throws -> Success {
        try await withTaskCancellationHandler {
            try await value
        } onCancel: {
            future.cancelThreadSafe()
        }
    }
}
