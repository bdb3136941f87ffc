// SPDX-License-Identifier: Apache-2.0

import GyreCore

// How cancellation reaches a task.
//
// asyncio delivers every `cancel()` once: what the task waits for is cancelled, or, when it does
// not wait, its next wait fails. A task of Swift keeps a flag instead, which stays set. A LoopTask
// has both: the waits of this library (futures, and all that is built on them) fail once for every
// `cancel()`, and `Task.isCancelled` is set for Swift's own (`Task.sleep`, `async let`, groups).

/// What a ``LoopTask`` looks like to what it waits for.
protocol TaskScope: AnyObject, Sendable {
    var cancellation: CancellationState { get set }
    /// Which task of Swift runs the body; 0 when none does.
    var swiftTaskIdentity: UInt { get }
}

/// The part of a task's state that cancelling is about.
struct CancellationState {
    /// How many calls of `cancel()` there were, less those of `uncancel()`.
    var requests = 0
    /// A cancellation that no wait has delivered yet.
    var isPending = false
    /// What the task waits for.
    var wait: (any CancellableWait)?
}

enum CurrentTask {
    /// The scope of the code that runs, child tasks of Swift included.
    @TaskLocal static var scope: (any TaskScope)?

    /// The scope whose own body runs; nil in its child tasks, which wait for themselves.
    static var body: (any TaskScope)? {
        guard let scope, scope.swiftTaskIdentity == currentIdentity else { return nil }
        return scope
    }

    /// The identity of the task of Swift that runs; 0 outside.
    @inline(__always)
    static var currentIdentity: UInt {
        // SAFETY: compared with others only, while the task it stands for lives; never followed.
        withUnsafeCurrentTask { task in task.map { unsafeBitCast($0, to: UInt.self) } ?? 0 }
    }
}

extension TaskScope {
    /// Announces a wait.
    ///
    /// A cancellation that is pending cancels it at once.
    func beginWait(for wait: any CancellableWait) throws(LoopError) {
        guard wait !== self else {
            throw LoopError(
                .invalidState, operation: "value", detail: "a task cannot wait for itself")
        }
        cancellation.wait = wait
        if cancellation.isPending, wait.cancelWait() { cancellation.isPending = false }
    }

    /// Ends a wait.
    ///
    /// - Throws: `CancellationError` when the task was cancelled after what it waited for was done,
    ///   and before it went on.
    func endWait() throws(CancellationError) {
        cancellation.wait = nil
        guard cancellation.isPending else { return }
        cancellation.isPending = false
        throw CancellationError()
    }

    /// Delivers a cancellation, now or at the next wait.
    func deliverCancellation() {
        cancellation.requests += 1
        if let wait = cancellation.wait, wait.cancelWait() { return }
        cancellation.isPending = true
    }
}
