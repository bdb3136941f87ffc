// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// Something that a task waits for, and whose waiting ends when the task is cancelled.
package protocol CancellableWait: AnyObject {
    /// Ends the waiting, which tells who waits; false when it ended already.
    func cancelWait() -> Bool
    /// What is waited for, in the list of tasks.
    var waitDescription: String { get }
}

/// What every ``LoopFuture`` has, whatever its value.
///
/// Apart from the value's type, so that the code for it exists once: code that is generic in the
/// value would look its types up in tables at every step.
public class LoopFutureBase: LoopDelivery, CancellableWait, @unchecked Sendable {
    // SAFETY: what changes is read and written on the thread that owns the loop only, which every
    // call checks. The last release may come on another thread, when nobody else can reach it any
    // more.

    @usableFromInline
    enum Status: UInt8 {
        case pending
        case value
        case failure
        case cancelled
    }

    /// The handle of the loop this future belongs to.
    public final let handle: LoopHandle
    /// Where the future was made.
    public final let site: CallSite
    // SAFETY of the exclusivity: no access calls other code, so none overlaps another; checking
    // that at run time would be a third of what a future costs.
    @exclusivity(unchecked) @usableFromInline private(set) final var status = Status.pending
    /// Somebody looked at the error.
    @exclusivity(unchecked) private final var isErrorSeen = false
    @exclusivity(unchecked) private final var isDeliveryScheduled = false
    @exclusivity(unchecked) private final var failure: (any Error)?
    @exclusivity(unchecked) @usableFromInline final var storedValue = FutureValue()
    @exclusivity(unchecked) private final var waiters = Waiters()

    @usableFromInline
    init(base handle: LoopHandle, site: CallSite) {
        self.handle = handle
        self.site = site
    }

    deinit {
        storedValue.destroy()
        guard status == .failure, !isErrorSeen, let failure else { return }
        handle.report(
            LoopExceptionContext(
                message: "The error of a future was never looked at", error: failure, site: site))
    }

    // MARK: Looking

    /// Whether the future has a value, an error, or was cancelled.
    @inlinable
    public final var isDone: Bool {
        checkThread()
        return status != .pending
    }

    /// Whether the future was cancelled.
    public final var isCancelled: Bool {
        checkThread()
        return status == .cancelled
    }

    /// The error that the future ended with, nil when it ended with a value.
    ///
    /// - Throws: `CancellationError` when it was cancelled;
    ///   ``LoopError/Code/invalidState`` while it is pending.
    public final func error() throws -> (any Error)? {
        checkThread()
        switch status {
        case .pending: throw LoopError(.invalidState, operation: "error", detail: "not done yet")
        case .value: return nil
        case .failure:
            isErrorSeen = true
            return failure
        case .cancelled: throw CancellationError()
        }
    }

    /// The error of a future that failed; does not count as looking at it.
    @usableFromInline
    final var storedFailure: any Error { failure ?? CancellationError() }

    /// An error is not reported although nobody looked at it.
    @usableFromInline
    final func markErrorAsSeen() { isErrorSeen = true }

    /// What there is instead of a value.
    @usableFromInline
    final func missingValue() -> any Error {
        switch status {
        case .pending, .value:
            return LoopError(.invalidState, operation: "result", detail: "not done yet")
        case .failure:
            isErrorSeen = true
            return storedFailure
        case .cancelled: return CancellationError()
        }
    }

    // MARK: Completing

    /// Cancels the future.
    ///
    /// - Returns: False when it was done already, and nothing happened.
    @discardableResult
    public func cancel() -> Bool {
        guard !isDone else { return false }
        become(.cancelled)
        return true
    }

    /// Cancels the future from any thread: at once on the loop's, soon from another.
    ///
    /// - Important: Callable from any thread.
    public final func cancelThreadSafe() {
        if handle.isOwnedByThisThread {
            cancel()
        } else {
            // On a closed loop nobody waits any more.
            try? handle.schedule({ [self] _ in cancel() }, site: site)
        }
    }

    /// Ends the future, which is pending.
    @usableFromInline
    final func become(_ status: Status) {
        self.status = status
        tellWaiters()
    }

    /// Ends the future, which is pending, with `error`.
    @usableFromInline
    final func fail(_ error: any Error) {
        failure = error
        become(.failure)
    }

    @usableFromInline
    static func doneAlready(_ operation: String) -> LoopError {
        LoopError(.invalidState, operation: operation, detail: "the future is done already")
    }

    // MARK: Telling

    /// Adds a callback of the library itself, which needs nobody's task-locals.
    package final func addCallback(_ body: consuming @escaping (LoopFutureBase) throws -> Void) {
        add(.callback(FutureCallback(of: body)))
    }

    /// As ``addCallback(_:)``; `identity` is for ``removeCallbacks(_:)``.
    final func addCallback(
        _ body: @escaping (LoopFutureBase) throws -> Void, identity: AnyObject
    ) {
        add(.removable(FutureCallback(of: body), identity))
    }

    /// As ``addCallback(_:)``, with the task-locals of the task that calls this.
    @usableFromInline
    final func addCarriedCallback(_ callback: consuming FutureCallback) {
        guard !handle.isInStep else { return add(.callback(callback.carried)) }
        add(.callback(consume callback))
    }

    /// As ``addCarriedCallback(_:)``; `identity` is for ``removeCallbacks(_:)``.
    final func addCarriedCallback(_ callback: FutureCallback, identity: AnyObject) {
        add(.removable(handle.isInStep ? callback.carried : callback, identity))
    }

    @usableFromInline
    final func removeCallbacks(_ identity: AnyObject) -> Int {
        checkThread()
        let removed = waiters.remove(identity)
        return removed.count
    }

    /// Forgets `observer`, which is not told any more.
    final func removeObserver(_ observer: any FutureObserver) { _ = removeCallbacks(observer) }

    /// How many wait or are to be told, for tests.
    package final var waiterCount: Int {
        checkThread()
        return waiters.count
    }

    @inline(__always)
    final func add(_ waiter: consuming Waiters.Waiter) {
        checkThread()
        waiters.append(waiter)
        if status != .pending { tellWaiters() }
    }

    /// Tells everybody in order: tasks at once, since they go on in a later iteration anyway, and
    /// from the first callback on in a delivery of their own.
    private final func tellWaiters() {
        guard !isDeliveryScheduled else { return }
        if waiters.isFirstContinuation { resumeFirstTasks() }
        guard !waiters.isEmpty else { return }
        isDeliveryScheduled = true
        // On a closed loop nothing runs any more, and that includes what waits here.
        try? handle.schedule(self, site: site)
    }

    @inline(never)
    private final func resumeFirstTasks() {
        while let continuation = waiters.removeFirstContinuation() { continuation.resume() }
    }

    /// Tells those who waited when the delivery began; who comes meanwhile is told later, and so is
    /// who stands behind a callback that ended the run.
    package final func deliver(on loop: Loop) {
        isDeliveryScheduled = false
        var remaining = waiters.count
        while remaining > 0, !loop.operations.isInterrupted, let waiter = waiters.removeFirst() {
            remaining -= 1
            switch consume waiter {
            case .callback(let callback), .removable(let callback, _):
                loop.runCallback(site: site) { try callback.body(self) }
            case .continuation(let continuation): continuation.resume()
            case .observer(let observer, let index): observer.futureIsDone(index)
            }
        }
        tellWaiters()
    }

    // MARK: What a task is besides
    //
    // Here, so that a wait reaches the task without knowing its type. In a LoopTask only.

    /// Announces that the body waits for `wait`, until ``leaveWait()`` or ``endWait()``.
    ///
    /// A cancellation that is pending cancels it at once.
    ///
    /// - Returns: False when the task would wait for itself.
    func beginWait(for wait: any CancellableWait) -> Bool { true }

    /// Ends a wait, and leaves a cancellation that came late for the next one.
    func leaveWait() {}

    /// Ends a wait.
    ///
    /// - Returns: Whether the wait fails: the task was cancelled after what it waited for was done,
    ///   and before it went on.
    func endWait() -> Bool { false }

    /// Lets the next wait fail, if the task was cancelled: for who caught that, and had to.
    func cancelNextWait() {}

    /// How many calls of `cancel()` there were, less those of `uncancel()`.
    var cancellations: Int { 0 }

    var taskNumber: UInt64 { 0 }

    // MARK: For tasks that wait

    package func cancelWait() -> Bool { cancel() }

    package var waitDescription: String { "the future made at \(site)" }

    @usableFromInline
    final func checkThread() {
        if !handle.isOwnedByThisThread {
            trap(
                "a future was used on another thread than its loop's; "
                    + "use the calls with ThreadSafe")
        }
    }
}
