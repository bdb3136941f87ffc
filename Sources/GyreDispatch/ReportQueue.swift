// SPDX-License-Identifier: Apache-2.0

import Dispatch
import GyreCore
import Synchronization

/// The way from Dispatch's threads to the loop's: handlers of sources post what they saw, the loop
/// waits for it.
///
/// The semaphore is signalled once from one collection of the posts to the next, however many came
/// between, so its count is never above one.
///
/// - Important: Posting and waking from any thread, waiting on the loop's.
final class ReportQueue: LoopWaker {
    /// A source saw its descriptor ready, and is parked.
    struct Report: Sendable {
        let source: DescriptorSource
        /// Dispatch counted no bytes: the descriptor may have hung up, after which Dispatch has
        /// dropped the source without a word.
        let isEmpty: Bool
    }

    private struct State {
        var reports: [Report] = []
        /// The semaphore was signalled, or is about to be, and nobody collected since.
        var isSignalled = false

        /// Whether the caller has to signal.
        mutating func signal() -> Bool {
            guard !isSignalled else { return false }
            isSignalled = true
            return true
        }
    }

    /// Where the handlers run, one after the other.
    let handlers = DispatchQueue(label: "gyre.loop")
    /// The sources that were told to end and have not.
    let retiring = DispatchGroup()
    private let state = Mutex(State())
    private let semaphore = DispatchSemaphore(value: 0)

    func wake() {
        if state.withLock({ $0.signal() }) { semaphore.signal() }
    }

    func post(_ report: Report) {
        let mustSignal = state.withLock { state in
            state.reports.append(report)
            return state.signal()
        }
        if mustSignal { semaphore.signal() }
    }

    /// Blocks until something was posted, the waker was called, or the loop's clock shows
    /// `deadline`; never when `deadline` is `Int64.min`, for ever when it is `Int64.max`.
    ///
    /// Appends the reports to `reports`. False when the time was over and nothing came.
    func wait(until deadline: Int64, into reports: inout [Report]) -> Bool {
        let isSignalled = deadline == .min ? false : waitForSignal(until: deadline)
        let (wasSignalled, posted) = state.withLock { state in
            let before = (state.isSignalled, state.reports)
            state.isSignalled = false
            state.reports = []
            return before
        }
        // The signal was given, or is being given: take it, or the next wait would end at once.
        if wasSignalled, !isSignalled { semaphore.wait() }
        reports += posted
        return wasSignalled
    }

    /// Dispatch measures the wait by the wall clock, which may be set; the loop's clock decides.
    private func waitForSignal(until deadline: Int64) -> Bool {
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
