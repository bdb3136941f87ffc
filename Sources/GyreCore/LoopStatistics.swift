// SPDX-License-Identifier: Apache-2.0

/// Counters of a loop since it was made.
public struct LoopStatistics: Sendable, Hashable {
    /// Iterations.
    public let ticks: UInt64
    /// I/O operations started.
    public let submissions: UInt64
    /// Completions delivered; a multishot operation has many.
    public let completions: UInt64
    /// Calls scheduled from other threads.
    public let threadSafeCalls: UInt64
    /// Of those, the ones that had to wake the loop with a system call.
    public let wakeUpsSent: UInt64
    /// Of those, the ones that found the loop awake or already woken.
    public let wakeUpsElided: UInt64
    /// Callbacks that are ready now.
    public let readyCount: Int
    /// The most callbacks that were ever ready at once.
    public let readyMaximum: Int
    /// Timers that will still fire.
    public let timerCount: Int
    /// Deadlines stored, those of cancelled timers that were not reclaimed yet included.
    public let timerStorage: Int
    /// I/O operations under way.
    public let operationCount: Int
    /// The longest callback; measured in debug mode only, since asking for the time twice costs
    /// more than most callbacks.
    public let longestCallback: Duration?
}

/// Which loop was chosen, and why.
public struct LoopSelection: Sendable, Hashable, CustomStringConvertible {
    /// A policy that was tried and could not be used.
    public struct Rejection: Sendable, Hashable {
        /// The policy's name.
        public let policy: String
        /// Why it was not usable.
        public let reason: LoopError

        /// A rejected policy.
        public init(policy: String, reason: LoopError) {
            self.policy = policy
            self.reason = reason
        }
    }

    /// The policy that drives the loop: `io_uring`, `epoll` or `dispatch`.
    public let policy: String
    /// The policy that was asked for: one of these, or `automatic`.
    public let requested: String
    /// Who asked: a parameter, the environment variable, the program's default, or nobody.
    public let origin: String
    /// What was tried before, in order, and why it was not usable.
    public let rejected: [Rejection]

    /// A selection.
    public init(policy: String, requested: String, origin: String, rejected: [Rejection] = []) {
        self.policy = policy
        self.requested = requested
        self.origin = origin
        self.rejected = rejected
    }

    /// One line for the operator.
    public var description: String {
        var text = "\(policy) (asked for \(requested) by \(origin)"
        for rejection in rejected { text += "; not \(rejection.policy): \(rejection.reason)" }
        return text + ")"
    }
}
