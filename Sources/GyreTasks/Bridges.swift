// SPDX-License-Identifier: Apache-2.0

public import GyreCore

// From Swift's tasks and continuations to futures, and back. A task that waits for a future needs
// none of this: it awaits `value`.

extension LoopFuture {
    /// A future that ends as `task` does, whatever thread that runs on.
    ///
    /// Cancelling one of them cancels the other.
    ///
    /// - Important: On the loop's thread only.
    public convenience init<Failure: Error>(
        wrapping task: Task<Value, Failure>, on loop: Loop,
        file: StaticString = #fileID, line: UInt = #line
    ) {
        self.init(on: loop, file: file, line: line)
        Task(executorPreference: handle) { [self] in
            switch await task.result {
            case .success(let value): _ = complete(.value(value))
            case .failure(let error) where error is CancellationError: _ = complete(.cancelled)
            case .failure(let error): _ = complete(.failure(error))
            }
        }
        addDoneCallback { future in
            if future.isCancelled { task.cancel() }
        }
    }

    /// A task of Swift that ends as this future does.
    ///
    /// Cancelling one of them cancels the other. On a closed loop it fails with
    /// ``LoopError/Code/closed``.
    ///
    /// - Important: Callable from any thread.
    public func asTask() -> Task<Value, any Error> {
        guard !handle.isClosed else {
            return Task { throw LoopError(.closed, operation: "asTask") }
        }
        return Task(executorPreference: handle) { [self] in try await value }
    }

    /// Resumes `continuation` in a later iteration, once this future is done.
    ///
    /// For code that has a continuation to serve, not a task that could wait.
    ///
    /// - Important: On the loop's thread only.
    public func resume(_ continuation: CheckedContinuation<Value, any Error>) {
        addDoneCallback { future in
            continuation.resume(with: Result { try future.result() })
        }
    }
}
