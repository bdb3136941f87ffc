// SPDX-License-Identifier: Apache-2.0

package import GyreCore
import Synchronization

// How cancellation reaches a task.
//
// asyncio delivers every `cancel()` once: what the task waits for is cancelled, or, when it does
// not wait, its next wait fails. A task of Swift keeps a flag instead, which stays set. A LoopTask
// has both: the waits of this library (futures, and all that is built on them) fail once for every
// `cancel()`, and `Task.isCancelled` is set for Swift's own (`Task.sleep`, `async let`, groups).

/// What a task is beside its value: what it waits for, and how it was cancelled.
@usableFromInline
struct TaskState {
    let givenName: String?
    let number: UInt64
    let parentNumber: UInt64

    /// Which task of Swift runs the body; 0 before it is known, and when the body has ended.
    @usableFromInline var identity: UInt = 0
    /// What the task waits for.
    // SAFETY: who waits holds it until the wait ends, and says so.
    unowned(unsafe) var wait: (any CancellableWait)?
    /// How many calls of `cancel()` there were, less those of `uncancel()`.
    var requests = 0
    /// A cancellation that no wait has delivered yet.
    var isCancellationPending = false
    var reason: String?

    @usableFromInline
    init(name: String?) {
        givenName = name
        number = TaskNumbers.next()
        parentNumber = CurrentTask.number
    }
}

extension LoopTask {
    // MARK: Running

    /// The body is about to run; false when it was cancelled before.
    @usableFromInline
    package func begin() -> Bool {
        if state.identity == 0 {
            state.identity = Loop.stepIdentity
            Loop.running.addTaskOfStep(self)
        }
        return !state.isCancellationPending
    }

    /// The body has ended.
    @usableFromInline
    func leave() {
        Loop.removeTask(state.identity)
        state.identity = 0
    }

    /// The body has ended with `error`.
    ///
    /// A fatal error ends the run of the loop, too.
    @usableFromInline
    package func end(_ error: any Error) {
        leave()
        let fatal = error as? any LoopFatalError
        if let fatal { Loop.running.interrupt(fatal) }
        guard !isDone else { return }
        if error is CancellationError { return become(.cancelled) }
        if fatal != nil { markErrorAsSeen() }
        fail(error)
    }

    // MARK: Cancelling

    /// Delivers a cancellation, now or at the next wait.
    func deliverCancellation(_ reason: String?) {
        if let reason { state.reason = reason }
        state.requests += 1
        if state.wait?.cancelWait() != true { state.isCancellationPending = true }
        // Behind that, so that what this task waits for is cancelled once.
        guard state.identity != 0 else { return }
        // SAFETY: the task that runs the body, which lives until that has ended.
        unsafeBitCast(state.identity, to: UnsafeCurrentTask.self).cancel()
    }

    func takeCancellationBack() -> Int {
        if state.requests > 0 { state.requests -= 1 }
        if state.requests == 0 { state.isCancellationPending = false }
        return state.requests
    }
}

extension LoopTask: RegisteredTask {
    package var pendingReport: LoopExceptionContext {
        LoopExceptionContext(
            message: "The task \(name) was pending when its loop was closed", site: site)
    }
}

/// The task of the code that runs.
enum CurrentTask {
    /// The task whose own body runs; nil in its child tasks, which wait for themselves.
    @inline(__always)
    static var body: LoopFutureBase? { reference?.takeUnretainedValue() }

    /// Its number; 0 when there is none.
    static var number: UInt64 {
        reference.map { $0._withUnsafeGuaranteedRef { $0.taskNumber } } ?? 0
    }

    /// The same, not counted: it stays until its body has ended, which runs.
    @inline(__always)
    static var reference: Unmanaged<LoopFutureBase>? {
        // SAFETY: only tasks of this module are added to a loop.
        Loop.taskOfStep.map { .fromOpaque($0.toOpaque()) }
    }
}

/// A task whose body waits for something that is no future.
package struct WaitingTask {
    // SAFETY: its body, which has not ended, holds it.
    private let task: Unmanaged<LoopFutureBase>

    /// Announces that the task that runs waits for `wait`, which is cancelled at once when a
    /// cancellation is pending.
    ///
    /// Nil in a task of Swift, which learns from Swift that it is cancelled.
    package static func begin(_ wait: any CancellableWait) -> WaitingTask? {
        guard let task = CurrentTask.reference else { return nil }
        _ = task._withUnsafeGuaranteedRef { $0.beginWait(for: wait) }
        return WaitingTask(task: task)
    }

    /// Ends the wait.
    ///
    /// - Returns: Whether it fails: the task was cancelled before it went on.
    package func end() -> Bool { task._withUnsafeGuaranteedRef { $0.endWait() } }
}

/// Tasks are numbered as they are made.
private enum TaskNumbers {
    private static let made = Atomic<UInt64>(0)

    static func next() -> UInt64 { made.wrappingAdd(1, ordering: .relaxed).newValue }
}
