// SPDX-License-Identifier: Apache-2.0

import Dispatch
import GyreCore
import Synchronization

/// What ends the sleep of a loop on Dispatch: a semaphore, signalled once from one collection to
/// the next, however often it is set between.
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

    private enum Flag {
        static let woken: UInt8 = 1
        static let ready: UInt8 = 2
    }

    /// What it was set for since the last collection; who sets the first flag signals.
    private let flags = Atomic<UInt8>(0)
    private let semaphore = DispatchSemaphore(value: 0)
    private let listener = AtomicLazyReference<Listener>()

    private final class Listener: Sendable {
        let call: @Sendable () -> Void

        init(_ call: @escaping @Sendable () -> Void) { self.call = call }
    }

    package init() {}

    package func wake() { set(Flag.woken) }

    /// Says that a descriptor is ready.
    package func ready() { set(Flag.ready) }

    /// Blocks until it is set, or the loop's clock shows `deadline`: not at all when that is
    /// `Int64.min`, for ever when it is `Int64.max`.
    package func wait(until deadline: Int64) -> Cause {
        let isTaken = deadline == .min ? false : take(until: deadline)
        let before = flags.exchange(0, ordering: .acquiringAndReleasing)
        guard before != 0 else { return .timedOut }
        // The semaphore was signalled, or is about to be: it is for this collection.
        if !isTaken { semaphore.wait() }
        return before & Flag.woken != 0 ? .woken : .ready
    }

    /// Has `call` called too, from any thread, whenever the signal is set for the first time since
    /// a collection.
    ///
    /// False when somebody listens already: there is one listener for life.
    package func listen(_ call: @escaping @Sendable () -> Void) -> Bool {
        let new = Listener(call)
        return listener.storeIfNil(new) === new
    }

    private func set(_ flag: UInt8) {
        let before = flags.bitwiseOr(flag, ordering: .acquiringAndReleasing).oldValue
        guard before == 0 else { return }
        semaphore.signal()
        listener.load()?.call()
    }

    /// Dispatch measures a wait by the wall clock, which may be set; the loop's clock decides.
    private func take(until deadline: Int64) -> Bool {
        guard deadline != .max else {
            semaphore.wait()
            return true
        }
        repeat {
            // A day at a time: Dispatch does not wait at all for some times beyond 146 years.
            let day = LoopClock.systemNanoseconds().addingSaturated(86_400_000_000_000)
            let time = DispatchTime(uptimeNanoseconds: UInt64(max(0, min(deadline, day))))
            if semaphore.wait(timeout: time) == .success { return true }
        } while LoopClock.systemNanoseconds() < deadline
        return false
    }
}
