// SPDX-License-Identifier: Apache-2.0

package import GyreCore

/// A place where one task at a time waits for what comes again and again: no future is made for
/// each time, and the task goes on inside the call that wakes it.
package final class WaitPoint: CancellableWait, @unchecked Sendable {
    // SAFETY: what changes is used on the loop's thread only: the callers are objects of the loop
    // that check it, and a cancellation from another thread goes through the loop. No access to it
    // overlaps another: what is called is called with copies.

    private enum State {
        case free
        /// A task is about to wait, or was told to go on.
        case engaged
        case waiting(UnsafeContinuation<Void, Never>)
        case woken
        case cancelled
    }

    private let handle: LoopHandle
    @exclusivity(unchecked) private var state = State.free
    /// The task that waits; nil when that is one of Swift.
    // SAFETY: its body, which has not ended, holds it.
    @exclusivity(unchecked) private var task: Unmanaged<LoopFutureBase>?
    /// How many waits there were: the name of the present one, for a cancellation that is on its
    /// way from another thread.
    @exclusivity(unchecked) private var number: UInt64 = 0
    /// What is waited for, in the list of tasks.
    package let waitDescription: String

    package init(on handle: LoopHandle, waitingFor description: String) {
        self.handle = handle
        waitDescription = description
    }

    /// Whether a task waits, or will not be told before it does.
    package var isTaken: Bool {
        if case .free = state { return false }
        return true
    }

    /// Whether a task waits.
    package var isWaiting: Bool {
        if case .waiting = state { return true }
        return false
    }

    // MARK: Waiting
    //
    // In steps, so that the function that waits suspends by itself: every async call between it and
    // the suspension would look at the executor on the way back.
    //
    //     switch point.begin() {
    //     case .suspends: await suspendHere { point.park($0) }
    //     case .isInChild: await point.parkInChild()
    //     case .isCancelled: break
    //     }
    //     try point.end()

    /// How a wait goes on.
    package enum Start {
        /// The task is to suspend, see ``park(_:)``.
        case suspends
        /// The task is one that Swift made, which learns from Swift that it is cancelled: see
        /// ``parkInChild()``.
        case isInChild
        /// It was cancelled before.
        case isCancelled
    }

    /// Announces a wait for ``wake(on:)``.
    package func begin() -> Start {
        state = .engaged
        number &+= 1
        task = CurrentTask.reference
        guard let task else { return .isInChild }
        _ = task._withUnsafeGuaranteedRef { $0.beginWait(for: self) }
        return mayPark ? .suspends : .isCancelled
    }

    /// Whether the task is to suspend; it is not when it was cancelled before.
    private var mayPark: Bool {
        if case .engaged = state { return true }
        return false
    }

    package func park(_ continuation: UnsafeContinuation<Void, Never>) {
        state = .waiting(continuation)
    }

    /// Suspends in a child task of Swift.
    package func parkInChild() async {
        let number = number
        await withTaskCancellationHandler {
            // SAFETY: resumed once, by who changes the state from waiting to another.
            if mayPark { await suspendHere { park($0) } }
        } onCancel: {
            cancelThreadSafe(number)
        }
    }

    /// Ends a wait.
    ///
    /// - Throws: `CancellationError` when the task was cancelled before it went on.
    package func end() throws(CancellationError) {
        let ended = state
        state = .free
        let isCancelled = task.take()?._withUnsafeGuaranteedRef { $0.endWait() } ?? false
        if isCancelled { throw CancellationError() }
        if case .cancelled = ended { throw CancellationError() }
    }

    /// Lets the task that waits go on, inside this call, up to its next suspension.
    ///
    /// False when none waits.
    @discardableResult
    package func wake(on loop: Loop) -> Bool {
        guard case .waiting(let continuation) = state else { return false }
        state = .woken
        loop.resumeNow(continuation)
        return true
    }

    /// Lets the task that waits go on in a later iteration.
    package func wakeLater() {
        guard case .waiting(let continuation) = state else { return }
        state = .woken
        continuation.resume()
    }

    func cancelWait() -> Bool {
        switch state {
        case .engaged: state = .cancelled
        case .waiting(let continuation):
            state = .cancelled
            continuation.resume()
        case .free, .woken, .cancelled: return false
        }
        return true
    }

    /// Cancels the wait of that number, and no later one: the task may have got what it waited for
    /// before this arrives, and another may wait.
    private func cancelThreadSafe(_ number: UInt64) {
        if handle.isOwnedByThisThread {
            if number == self.number { _ = cancelWait() }
        } else {
            // On a closed loop nobody waits any more.
            try? handle.callSoonThreadSafe { [self] _ in
                if number == self.number { _ = cancelWait() }
            }
        }
    }
}
