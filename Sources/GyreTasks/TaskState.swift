// SPDX-License-Identifier: Apache-2.0

public import GyreCore
import Synchronization

// How cancellation reaches a task.
//
// asyncio delivers every `cancel()` once: what the task waits for is cancelled, or, when it does
// not wait, its next wait fails. A task of Swift keeps a flag instead, which stays set. A LoopTask
// has both: the waits of this library (futures, and all that is built on them) fail once for every
// `cancel()`, and `Task.isCancelled` is set for Swift's own (`Task.sleep`, `async let`, groups).

/// What a task is beside its value: what it waits for, and how it was cancelled.
///
/// The loop holds it, and it the task, from the start to the end.
@usableFromInline
final class TaskState: @unchecked Sendable {
    // SAFETY: what changes is used on the loop's thread only, as in the future it belongs to.

    // SAFETY of the exclusivity: as in the future.

    /// What the loop's list holds; nil when the body ended.
    @exclusivity(unchecked) @usableFromInline var future: LoopFutureBase?
    @usableFromInline let givenName: String?
    let site: CallSite
    let number: UInt64
    let parentNumber: UInt64

    /// How many calls of `cancel()` there were, less those of `uncancel()`.
    @exclusivity(unchecked) private(set) var requests = 0
    /// A cancellation that no wait has delivered yet.
    @exclusivity(unchecked) private var isCancellationPending = false
    private(set) var reason: String?
    /// What the task waits for.
    @exclusivity(unchecked) private(set) var wait: (any CancellableWait)?
    /// Which task of Swift runs the body; 0 when none does.
    @exclusivity(unchecked) fileprivate(set) var identity: UInt = 0
    // SAFETY: the task that runs the body, which lives until the body ended, when this is cleared.
    @exclusivity(unchecked) private var swiftTask: UnsafeCurrentTask?
    @exclusivity(unchecked) private var registration: Int32 = -1

    @usableFromInline
    init(name: String?, site: CallSite) {
        givenName = name
        self.site = site
        number = TaskNumbers.next()
        parentNumber = CurrentTask.scope?.number ?? 0
    }

    var name: String { givenName ?? "Task-\(number)" }

    // MARK: Running

    /// Lets `loop` hold the task until it ends.
    @usableFromInline
    func register(on loop: Loop) {
        registration = loop.tasks.insert(self)
        if loop.withoutTask == nil {
            loop.withoutTask = { body in CurrentTask.$scope.withValue(nil, operation: body) }
        }
    }

    /// The body is about to run; false when it was cancelled before.
    @usableFromInline
    func begin() -> Bool {
        if registration < 0, let loop = Loop.current { register(on: loop) }
        guard !isCancellationPending else { return false }
        swiftTask = withUnsafeCurrentTask { $0 }
        identity = CurrentTask.identity(of: swiftTask)
        Loop.current?.beginTask(name, identity: identity)
        return true
    }

    /// Lets the task of Swift that `start` makes find this one.
    @usableFromInline
    func bind(_ start: () -> Void) { CurrentTask.$scope.withValue(self, operation: start) }

    /// The body has ended.
    ///
    /// A fatal error ends the run of the loop, too.
    @usableFromInline
    func end(_ error: (any Error)?) {
        let loop = Loop.running
        loop.endTask(identity: identity)
        identity = 0
        swiftTask = nil
        future = nil
        _ = loop.tasks.remove(registration)
        if let fatal = error as? any LoopFatalError { loop.interrupt(fatal) }
    }

    // MARK: Cancelling

    /// Delivers a cancellation, now or at the next wait.
    func cancel(_ reason: String?) {
        if let reason { self.reason = reason }
        requests += 1
        if wait?.cancelWait() != true { isCancellationPending = true }
        // Behind that, so that what this task waits for is cancelled once.
        swiftTask?.cancel()
    }

    /// Lets the next wait fail, if the task was cancelled: for who caught that, and had to.
    func cancelNextWait() {
        if requests > 0 { isCancellationPending = true }
    }

    func uncancel() -> Int {
        if requests > 0 { requests -= 1 }
        if requests == 0 { isCancellationPending = false }
        return requests
    }

    // MARK: Waiting

    /// Announces a wait.
    ///
    /// A cancellation that is pending cancels it at once.
    func beginWait(for wait: any CancellableWait) throws(LoopError) {
        guard wait !== future else {
            throw LoopError(
                .invalidState, operation: "value", detail: "a task cannot wait for itself")
        }
        self.wait = wait
        if isCancellationPending, wait.cancelWait() { isCancellationPending = false }
    }

    /// Ends a wait, and leaves a cancellation that came late for the next one.
    func leaveWait() { wait = nil }

    /// Ends a wait.
    ///
    /// - Throws: `CancellationError` when the task was cancelled after what it waited for was done,
    ///   and before it went on.
    func endWait() throws(CancellationError) {
        wait = nil
        guard isCancellationPending else { return }
        isCancellationPending = false
        throw CancellationError()
    }
}

extension TaskState: LoopResource {
    package func loopDidClose() { registration = -1 }

    package var pendingReport: LoopExceptionContext? {
        LoopExceptionContext(
            message: "The task \(name) was pending when its loop was closed", site: site)
    }
}

/// The task of the code that runs.
enum CurrentTask {
    /// The task that the code belongs to, child tasks of Swift included.
    @TaskLocal static var scope: TaskState?

    /// The task whose own body runs; nil in its child tasks, which wait for themselves.
    static var body: TaskState? {
        guard let scope, scope.identity == withUnsafeCurrentTask(body: { identity(of: $0) })
        else { return nil }
        return scope
    }

    /// The identity of a task of Swift; 0 outside.
    @inline(__always)
    fileprivate static func identity(of task: UnsafeCurrentTask?) -> UInt {
        // SAFETY: compared with others only, while the task it stands for lives; never followed.
        task.map { unsafeBitCast($0, to: UInt.self) } ?? 0
    }
}

/// Tasks are numbered as they are made.
private enum TaskNumbers {
    private static let made = Atomic<UInt64>(0)

    static func next() -> UInt64 { made.wrappingAdd(1, ordering: .relaxed).newValue }
}
