// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

extension Loop {
    /// Waits for what calls back once: the async form of a call with a completion.
    ///
    /// `begin` starts it and returns what cancels it, which is called when the task that waits is
    /// cancelled. What comes all the same is handed to `drop`.
    ///
    /// - Throws: The error of the completion; `CancellationError` when the task is cancelled.
    func completion<Value>(
        _ begin: (@escaping (Result<Value, LoopError>) -> Void) -> () -> Void,
        drop: @escaping (Value) -> Void = { _ in }
    ) async throws -> Value {
        let done = LoopFuture<Void>(on: self)
        var outcome: Result<Value, LoopError>?
        let cancel = begin { result in
            if done.isDone {
                // Nobody waits any more.
                if case .success(let value) = result { drop(value) }
                return
            }
            outcome = result
            try? done.setResult(())
        }
        do {
            try await done.value
        } catch {
            if case .success(let value) = outcome {
                // It came, and the task was cancelled before it went on.
                drop(value)
            } else {
                cancel()
            }
            throw error
        }
        guard let outcome else { throw CancellationError() }
        return try outcome.get()
    }
}
