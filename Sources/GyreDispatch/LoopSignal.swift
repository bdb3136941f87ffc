// SPDX-License-Identifier: Apache-2.0

import Dispatch
import GyreCore
import Synchronization

/// What ends the sleep of a loop on Dispatch: a semaphore, or a call when the loop has no thread of
/// its own to sleep on.
///
/// It is signalled once from one collection to the next, however often it is set between.
///
/// - Important: Set from any thread, waited for and collected on the loop's.
package final class LoopSignal: LoopWaker {
    /// Why a wait is over.
    package enum Cause: Sendable {
        /// Somebody called ``LoopSignal/wake()``.
        case woken
        /// A descriptor is ready.
        case ready
        case timedOut
    }

    private struct State {
        var isWoken = false
        var isReady = false
        /// Called in place of the semaphore.
        var listener: (@Sendable () -> Void)?

        var isSet: Bool { isWoken || isReady }
    }

    private let state = Mutex(State())
    private let semaphore = DispatchSemaphore(value: 0)

    package init() {}

    package func wake() { set { $0.isWoken = true } }

    /// Says that a descriptor is ready.
    package func ready() { set { $0.isReady = true } }

    /// Blocks until it is set, or the loop's clock shows `deadline`: not at all when that is
    /// `Int64.min`, for ever when it is `Int64.max`.
    package func wait(until deadline: Int64) -> Cause {
        let isTaken = deadline == .min ? false : take(until: deadline)
        let (wasWoken, wasReady) = state.withLock { state in
            let before = (state.isWoken, state.isReady)
            state.isWoken = false
            state.isReady = false
            return before
        }
        // The semaphore was signalled, or is about to be: it is for this collection.
        if wasWoken || wasReady, !isTaken { semaphore.wait() }
        return wasWoken ? .woken : wasReady ? .ready : .timedOut
    }

    private func set(_ change: (inout State) -> Void) {
        let wasSet = state.withLock { state in
            let wasSet = state.isSet
            change(&state)
            return wasSet
        }
        if !wasSet { semaphore.signal() }
    }

    /// Dispatch measures a wait by the wall clock, which may be set; the loop's clock decides.
    private func take(until deadline: Int64) -> Bool {
        guard deadline != .max else {
            semaphore.wait()
            return true
        }
        let time = DispatchTime(uptimeNanoseconds: UInt64(max(0, deadline)))
        repeat {
            if semaphore.wait(timeout: time) == .success { return true }
        } while LoopClock.systemNanoseconds() < deadline
        return false
    }
}
