// SPDX-License-Identifier: Apache-2.0

package import GyreCore

/// A place where one task at a time waits for what comes again and again: no future is made for
/// each time, and the task goes on inside the call that wakes it.
package final class WaitPoint: CancellableWait, @unchecked Sendable {
    // SAFETY: what changes is used on the loop's thread only: the callers are objects of the loop
    // that check it, and a cancellation from another thread goes through the loop.

    private enum State {
        case free
        /// A task is about to wait, or was told to go on.
        case engaged
        case waiting(UnsafeContinuation<Void, Never>)
        case woken
        case cancelled
    }

    private let handle: LoopHandle
    private var state = State.free
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

    /// Waits for ``wake(on:)``.
    ///
    /// - Throws: `CancellationError` when the task is cancelled before it goes on.
    package func wait() async throws {
        state = .engaged
        defer { state = .free }
        if let scope = CurrentTask.body {
            try scope.beginWait(for: self)
            await suspend()
            try scope.endWait()
        } else {
            await withTaskCancellationHandler {
                await suspend()
            } onCancel: {
                cancelThreadSafe()
            }
        }
        if case .cancelled = state { throw CancellationError() }
    }

    private func suspend() async {
        guard case .engaged = state else { return }
        // SAFETY: resumed once, by who changes the state from waiting to another.
        await withUnsafeContinuation { state = .waiting($0) }
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

    private func cancelThreadSafe() {
        if handle.isOwnedByThisThread {
            _ = cancelWait()
        } else {
            // On a closed loop nobody waits any more.
            try? handle.callSoonThreadSafe { [self] _ in _ = cancelWait() }
        }
    }
}
