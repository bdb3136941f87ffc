// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// Something that a task waits for, and whose waiting ends when the task is cancelled.
protocol CancellableWait: AnyObject {
    /// Ends the waiting, which tells who waits; false when it ended already.
    func cancelWait() -> Bool
    /// What is waited for, in the list of tasks.
    var waitDescription: String { get }
}

/// A result that comes later: one value, one error, or a cancellation.
///
/// A future belongs to a loop. It can be passed to any thread and awaited by any task; completing
/// it and looking into it is for the loop's thread, and the calls that end in `ThreadSafe` are for
/// the others. What waits for it is told in a later iteration, never inside the call that completes
/// it.
///
/// An error that nobody looked at is reported to the loop's exception handler when the future is
/// released, with the place where it was made.
public class LoopFuture<Value: Sendable>: LoopDelivery, CancellableWait, @unchecked Sendable {
    // SAFETY: `outcome`, `waiters` and the flags are read and written on the thread that owns the
    // loop only, which every call checks. The last release may come on another thread, when nobody
    // else can reach them any more.

    /// The handle of the loop this future belongs to.
    public let handle: LoopHandle
    /// Where the future was made.
    public let site: CallSite
    private var storedOutcome = Outcome.pending
    private var waiters = Waiters<Value>()
    /// Somebody looked at the error.
    private var isErrorSeen = false
    private var isDeliveryScheduled = false

    /// How a future stands.
    public enum Outcome: Sendable {
        /// Not done.
        case pending
        /// Done, with a value.
        case value(Value)
        /// Done, with an error.
        case failure(any Error)
        /// Done, by ``LoopFuture/cancel()``.
        case cancelled
    }

    /// Makes a pending future of `loop`.
    public convenience init(on loop: Loop, file: StaticString = #fileID, line: UInt = #line) {
        self.init(on: loop.handle, site: CallSite(file: file, line: line))
    }

    /// Makes a pending future of the loop that `handle` belongs to.
    ///
    /// - Important: Callable from any thread.
    public convenience init(
        on handle: LoopHandle, file: StaticString = #fileID, line: UInt = #line
    ) {
        self.init(on: handle, site: CallSite(file: file, line: line))
    }

    init(on handle: LoopHandle, site: CallSite) {
        self.handle = handle
        self.site = site
    }

    deinit {
        guard case .failure(let error) = storedOutcome, !isErrorSeen else { return }
        let context = LoopExceptionContext(
            message: "The error of a future was never looked at", error: error, site: site)
        // A closed loop has nobody left to tell.
        try? handle.schedule({ $0.callExceptionHandler(context) }, site: site)
    }

    // MARK: Looking

    /// How the future stands.
    ///
    /// Does not count as looking at an error.
    public var outcome: Outcome {
        checkThread()
        return storedOutcome
    }

    /// Whether the future has a value, an error, or was cancelled.
    public var isDone: Bool {
        if case .pending = outcome { return false }
        return true
    }

    /// Whether the future was cancelled.
    public var isCancelled: Bool {
        if case .cancelled = outcome { return true }
        return false
    }

    /// The value.
    ///
    /// - Throws: The error that the future ended with; `CancellationError` when it was cancelled;
    ///   ``LoopError/Code/invalidState`` while it is pending.
    public func result() throws -> Value {
        switch outcome {
        case .pending: throw LoopError(.invalidState, operation: "result", detail: "not done yet")
        case .value(let value): return value
        case .failure(let error):
            isErrorSeen = true
            throw error
        case .cancelled: throw CancellationError()
        }
    }

    /// The error that the future ended with, nil when it ended with a value.
    ///
    /// - Throws: `CancellationError` when it was cancelled;
    ///   ``LoopError/Code/invalidState`` while it is pending.
    public func error() throws -> (any Error)? {
        switch outcome {
        case .pending: throw LoopError(.invalidState, operation: "error", detail: "not done yet")
        case .value: return nil
        case .failure(let error):
            isErrorSeen = true
            return error
        case .cancelled: throw CancellationError()
        }
    }

    // MARK: Completing

    /// Ends the future with `value`.
    ///
    /// - Throws: ``LoopError/Code/invalidState`` when it is done; the first outcome stays.
    public func setResult(_ value: Value) throws(LoopError) {
        guard complete(.value(value)) else { throw Self.doneAlready("setResult") }
    }

    /// Ends the future with `error`.
    ///
    /// - Throws: ``LoopError/Code/invalidState`` when it is done; the first outcome stays.
    public func setError(_ error: any Error) throws(LoopError) {
        guard complete(.failure(error)) else { throw Self.doneAlready("setError") }
    }

    /// Cancels the future.
    ///
    /// - Returns: False when it was done already, and nothing happened.
    @discardableResult
    public func cancel() -> Bool { complete(.cancelled) }

    /// Whether an error is not reported although nobody looked at it.
    func markErrorAsSeen() { isErrorSeen = true }

    /// Ends the future from any thread.
    ///
    /// On a future that is done by then nothing happens.
    ///
    /// - Throws: ``LoopError/Code/closed`` when the loop is closed.
    /// - Important: Callable from any thread.
    public func completeThreadSafe(with result: Result<Value, any Error>) throws(LoopError) {
        let work: @Sendable (Loop) -> Void = { [self] _ in
            switch result {
            case .success(let value): _ = complete(.value(value))
            case .failure(let error): _ = complete(.failure(error))
            }
        }
        try handle.schedule(work, site: site)
    }

    /// Cancels the future from any thread: at once on the loop's, soon from another.
    ///
    /// - Important: Callable from any thread.
    public func cancelThreadSafe() {
        if handle.isOwnedByThisThread {
            cancel()
        } else {
            // On a closed loop nobody waits any more.
            try? handle.schedule({ [self] _ in cancel() }, site: site)
        }
    }

    /// The one place where a future becomes done.
    ///
    /// False when it was.
    func complete(_ outcome: Outcome) -> Bool {
        guard !isDone else { return false }
        storedOutcome = outcome
        tellWaiters()
        return true
    }

    private static func doneAlready(_ operation: String) -> LoopError {
        LoopError(.invalidState, operation: operation, detail: "the future is done already")
    }

    // MARK: Telling

    /// Calls `body` with this future in a later iteration, once it is done.
    ///
    /// Callbacks run in the order in which they were added; one that is added to a future that is
    /// done runs later all the same. One that throws is reported, and the others run.
    public func addDoneCallback(_ body: @escaping (LoopFuture<Value>) throws -> Void) {
        add(.callback(body, nil))
    }

    /// Adds `callback`, as ``addDoneCallback(_:)-((LoopFuture<Value>)->Void)``.
    ///
    /// It may be added more than once, and removed again.
    public func addDoneCallback(_ callback: LoopDoneCallback<Value>) {
        add(.callback(callback.body, callback))
    }

    /// Removes every registration of `callback` that was not called yet.
    ///
    /// - Returns: How many there were.
    @discardableResult
    public func removeDoneCallback(_ callback: LoopDoneCallback<Value>) -> Int {
        checkThread()
        return waiters.remove(callback)
    }

    /// Forgets `observer`, which is not told any more.
    func removeObserver(_ observer: any FutureObserver) {
        checkThread()
        waiters.remove(observer)
    }

    /// How many wait or are to be told, for tests.
    package var waiterCount: Int {
        checkThread()
        return waiters.count
    }

    func add(_ waiter: Waiters<Value>.Waiter) {
        checkThread()
        waiters.append(waiter)
        if isDone { tellWaiters() }
    }

    /// Tells everybody in order: tasks at once, since they go on in a later iteration anyway, and
    /// from the first callback on in a delivery of their own.
    private func tellWaiters() {
        guard !isDeliveryScheduled else { return }
        while let continuation = waiters.removeFirstContinuation() { continuation.resume() }
        guard !waiters.isEmpty else { return }
        isDeliveryScheduled = true
        // On a closed loop nothing runs any more, and that includes what waits here.
        try? handle.schedule(self, site: site)
    }

    /// Tells those who waited when the delivery began; who comes meanwhile is told later.
    package func deliver(on loop: Loop) {
        isDeliveryScheduled = false
        var remaining = waiters.count
        while remaining > 0, let waiter = waiters.removeFirst() {
            remaining -= 1
            switch waiter {
            case .callback(let body, _): loop.runCallback(site: site) { try body(self) }
            case .continuation(let continuation): continuation.resume()
            case .observer(let observer, let index): observer.futureIsDone(index)
            }
        }
        tellWaiters()
    }

    // MARK: For tasks that wait

    func cancelWait() -> Bool { cancel() }

    var waitDescription: String { "the future made at \(site)" }

    @inline(__always)
    func checkThread() {
        if !handle.isOwnedByThisThread {
            trap(
                "a future was used on another thread than its loop's; "
                    + "use the calls with ThreadSafe")
        }
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
