// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

// One task at a time waits for data, again and again: no future is made for each time, and the task
// goes on inside the call that wakes it.
//
// In steps, so that the function that waits suspends by itself: every async call between it and the
// suspension would look at the executor on the way back.
//
//     switch core.beginWait() {
//     case .suspends: await suspendHere { core.park($0) }
//     case .isInChild: await core.parkInChild()
//     case .isCancelled: break
//     }
//     try core.endWait()

extension ConnectionCore {
    enum WaitState {
        case free
        /// A task is about to wait, or was told to go on.
        case engaged
        case waiting(UnsafeContinuation<Void, Never>)
        case woken
        case cancelled
    }

    /// How a wait goes on.
    enum WaitStart {
        /// The task is to suspend, see ``park(_:)``.
        case suspends
        /// The task is one that Swift made, which learns from Swift that it is cancelled: see
        /// ``parkInChild()``.
        case isInChild
        /// It was cancelled before.
        case isCancelled
    }

    /// Whether a task waits, or was told to go on and did not yet.
    var isWaitTaken: Bool {
        if case .free = waitState { return false }
        return true
    }

    /// Whether a task waits that was not told to go on.
    var isWaiting: Bool {
        if case .waiting = waitState { return true }
        return false
    }

    /// Whether the task is to suspend; it is not when it was cancelled before.
    private var mayPark: Bool {
        if case .engaged = waitState { return true }
        return false
    }

    /// Announces a wait for more than is there.
    func beginWait() -> WaitStart {
        if isReadingPaused { resumeReading() }
        waitState = .engaged
        waitNumber &+= 1
        waitingTask = WaitingTask.begin(self)
        guard waitingTask != nil else { return .isInChild }
        return mayPark ? .suspends : .isCancelled
    }

    func park(_ continuation: UnsafeContinuation<Void, Never>) {
        waitState = .waiting(continuation)
    }

    /// Suspends in a child task of Swift.
    func parkInChild() async {
        let number = waitNumber
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
    func endWait() throws {
        let ended = waitState
        waitState = .free
        if waitingTask.take()?.end() == true { throw CancellationError() }
        if case .cancelled = ended { throw CancellationError() }
    }

    /// Lets the task that waits go on, inside this call, up to its next suspension.
    func wake() {
        guard case .waiting(let continuation) = waitState else { return }
        waitState = .woken
        loop.resumeNow(continuation)
    }

    /// Lets the task that waits go on in a later iteration.
    func wakeLater() {
        guard case .waiting(let continuation) = waitState else { return }
        waitState = .woken
        continuation.resume()
    }

    /// Cancels the wait of that number, and no later one: the task may have got what it waited for
    /// before this arrives, and another may wait.
    private func cancelThreadSafe(_ number: UInt64) {
        if loop.handle.isOwnedByThisThread {
            if number == waitNumber { _ = cancelWait() }
        } else {
            // On a closed loop nobody waits any more.
            try? loop.handle.callSoonThreadSafe { [self] _ in
                if number == waitNumber { _ = cancelWait() }
            }
        }
    }
}

extension ConnectionCore: CancellableWait {
    func cancelWait() -> Bool {
        switch waitState {
        case .engaged: waitState = .cancelled
        case .waiting(let continuation):
            waitState = .cancelled
            continuation.resume()
        case .free, .woken, .cancelled: return false
        }
        return true
    }

    var waitDescription: String { "data" }
}
