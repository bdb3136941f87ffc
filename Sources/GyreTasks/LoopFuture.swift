// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// A result that comes later: one value, one error, or a cancellation.
///
/// A future belongs to a loop. It can be passed to any thread and awaited by any task; completing
/// it and looking into it is for the loop's thread, and the calls that end in `ThreadSafe` are for
/// the others. What waits for it is told in a later iteration, never inside the call that completes
/// it.
///
/// An error that nobody looked at is reported to the loop's exception handler when the future is
/// released, with the place where it was made.
public class LoopFuture<Value: Sendable>: LoopFutureBase, @unchecked Sendable {
    // SAFETY: as for its superclass.

    // Inlinable, so that code that knows the type of the value need not look it up; and without a
    // stored property, see ``FutureValue``.

    /// How a future stands.
    public enum Outcome: Sendable {
        /// Not done.
        case pending
        /// Done, with a value.
        case value(Value)
        /// Done, with an error.
        case failure(any Error)
        /// Done, by ``LoopFutureBase/cancel()``.
        case cancelled
    }

    /// Makes a pending future of `loop`.
    @inlinable
    public convenience init(on loop: Loop, file: StaticString = #fileID, line: UInt = #line) {
        self.init(on: loop.handle, site: CallSite(file: file, line: line))
    }

    /// Makes a pending future of the loop that `handle` belongs to.
    ///
    /// - Important: Callable from any thread.
    @inlinable
    public convenience init(
        on handle: LoopHandle, file: StaticString = #fileID, line: UInt = #line
    ) {
        self.init(on: handle, site: CallSite(file: file, line: line))
    }

    @inlinable
    init(on handle: LoopHandle, site: CallSite) {
        super.init(base: handle, site: site)
    }

    // MARK: Looking

    /// How the future stands.
    ///
    /// Does not count as looking at an error.
    public final var outcome: Outcome {
        checkThread()
        switch status {
        case .pending: return .pending
        case .value: return .value(storedValue.load(as: Value.self))
        case .failure: return .failure(storedFailure)
        case .cancelled: return .cancelled
        }
    }

    /// The value.
    ///
    /// - Throws: The error that the future ended with; `CancellationError` when it was cancelled;
    ///   ``LoopError/Code/invalidState`` while it is pending.
    @inlinable
    public final func result() throws -> Value {
        checkThread()
        guard status == .value else { throw missingValue() }
        return storedValue.load(as: Value.self)
    }

    // MARK: Completing

    /// Ends the future with `value`.
    ///
    /// - Throws: ``LoopError/Code/invalidState`` when it is done; the first outcome stays.
    @inlinable
    public final func setResult(_ value: Value) throws(LoopError) {
        guard succeed(value) else { throw Self.doneAlready("setResult") }
    }

    /// Ends the future with `error`.
    ///
    /// - Throws: ``LoopError/Code/invalidState`` when it is done; the first outcome stays.
    @inlinable
    public final func setError(_ error: any Error) throws(LoopError) {
        guard !isDone else { throw Self.doneAlready("setError") }
        fail(error)
    }

    /// Ends the future from any thread.
    ///
    /// On a future that is done by then nothing happens.
    ///
    /// - Throws: ``LoopError/Code/closed`` when the loop is closed.
    /// - Important: Callable from any thread.
    public final func completeThreadSafe(
        with result: Result<Value, any Error>
    ) throws(LoopError) {
        let work: @Sendable (Loop) -> Void = { [self] _ in
            switch result {
            case .success(let value): _ = complete(.value(value))
            case .failure(let error): _ = complete(.failure(error))
            }
        }
        try handle.schedule(work, site: site)
    }

    @inlinable
    final func succeed(_ value: Value) -> Bool {
        guard !isDone else { return false }
        storedValue.store(value)
        become(.value)
        return true
    }

    /// Ends the future in any way.
    ///
    /// False when it was done.
    @inlinable
    final func complete(_ outcome: Outcome) -> Bool {
        guard !isDone else { return false }
        switch outcome {
        case .pending: return false
        case .value(let value): return succeed(value)
        case .failure(let error): fail(error)
        case .cancelled: become(.cancelled)
        }
        return true
    }

    // MARK: Telling

    /// Calls `body` with this future in a later iteration, once it is done.
    ///
    /// Callbacks run in the order in which they were added; one that is added to a future that is
    /// done runs later all the same. One that throws is reported, and the others run.
    ///
    /// A callback that a task adds sees the task-locals of that place.
    @inlinable
    public final func addDoneCallback(
        _ body: consuming @escaping (LoopFuture<Value>) throws -> Void
    ) {
        addCarriedCallback(FutureCallback(body))
    }

    /// Adds `callback`, as ``addDoneCallback(_:)-((LoopFuture<Value>)->Void)``.
    ///
    /// It may be added more than once, and removed again.
    public final func addDoneCallback(_ callback: LoopDoneCallback<Value>) {
        addCarriedCallback(FutureCallback(callback.body), identity: callback)
    }

    /// Removes every registration of `callback` that was not called yet.
    ///
    /// - Returns: How many there were.
    @discardableResult
    public final func removeDoneCallback(_ callback: LoopDoneCallback<Value>) -> Int {
        removeCallbacks(callback)
    }
}

/// A done-callback with an identity, so that it can be removed.
public final class LoopDoneCallback<Value: Sendable> {
    let body: (LoopFuture<Value>) throws -> Void

    /// A callback that calls `body`.
    public init(_ body: @escaping (LoopFuture<Value>) throws -> Void) {
        self.body = body
    }
}

@available(*, unavailable)
extension LoopDoneCallback: Sendable {}
