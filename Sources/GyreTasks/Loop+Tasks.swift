// SPDX-License-Identifier: Apache-2.0

public import GyreCore

extension Loop {
    /// Runs the loop until `future` is done, and returns its value.
    ///
    /// - Throws: The error that the future ended with; `CancellationError` when it was cancelled;
    ///   ``LoopError/Code/invalidState`` when the loop was stopped before; what
    ///   ``Loop/runForever()`` throws.
    public func runUntilComplete<Value: Sendable>(_ future: LoopFuture<Value>) throws -> Value {
        guard future.handle == handle else {
            throw LoopError(
                .loopMismatch, operation: "runUntilComplete",
                detail: "the future is another loop's")
        }
        let ends = LoopDoneCallback<Value> { [self] _ in stop() }
        future.addDoneCallback(ends)
        defer { future.removeDoneCallback(ends) }
        try runForever()
        guard future.isDone else {
            throw LoopError(
                .invalidState, operation: "runUntilComplete",
                detail: "the loop was stopped before the future was done")
        }
        return try future.result()
    }

    /// Runs async code on the loop until it ends, and returns its value.
    ///
    /// - Throws: The error that `body` threw; otherwise as ``runUntilComplete(_:)``.
    public func runUntilComplete<Value: Sendable>(
        file: StaticString = #fileID, line: UInt = #line,
        _ body: sending @escaping () async throws -> Value
    ) throws -> Value {
        let future = LoopFuture<Value>(on: self, file: file, line: line)
        Task(executorPreference: handle) {
            do {
                _ = future.complete(.value(try await body()))
            } catch {
                _ = future.complete(.failure(error))
            }
        }
        return try runUntilComplete(future)
    }
}
