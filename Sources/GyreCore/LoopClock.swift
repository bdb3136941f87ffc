// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The clock of a loop: nanoseconds that never go back and do not stop for the wall clock.
///
/// It is the system's `CLOCK_MONOTONIC`, or in tests the manual clock of the product `GyreTesting`.
public struct LoopClock: Sendable {
    /// A point in time of a ``LoopClock``.
    public struct Instant: InstantProtocol, Sendable {
        /// Nanoseconds since the clock's zero, which has no meaning outside the process.
        public let nanoseconds: Int64

        /// The instant `nanoseconds` after the clock's zero.
        public init(nanoseconds: Int64) {
            self.nanoseconds = nanoseconds
        }

        /// This instant moved by `duration`, held at the ends of the clock's range (292 years).
        public func advanced(by duration: Duration) -> Instant {
            Instant(nanoseconds: nanoseconds.addingSaturated(duration.nanosecondsRoundedUp))
        }

        /// The time from this instant until `other`, negative when `other` is earlier.
        public func duration(to other: Instant) -> Duration {
            .nanoseconds(other.nanoseconds) - .nanoseconds(nanoseconds)
        }

        /// Whether `left` comes before `right`.
        public static func < (left: Instant, right: Instant) -> Bool {
            left.nanoseconds < right.nanoseconds
        }

        /// The instant `duration` after `instant`, as ``advanced(by:)``.
        public static func + (instant: Instant, duration: Duration) -> Instant {
            instant.advanced(by: duration)
        }

        /// The instant `duration` before `instant`, as ``advanced(by:)``.
        public static func - (instant: Instant, duration: Duration) -> Instant {
            instant.advanced(by: .zero - duration)
        }

        /// The time from `right` until `left`, as ``duration(to:)``.
        public static func - (left: Instant, right: Instant) -> Duration {
            right.duration(to: left)
        }

        /// Moves `instant` by `duration`, as ``advanced(by:)``.
        public static func += (instant: inout Instant, duration: Duration) {
            instant = instant + duration
        }

        /// Moves `instant` back by `duration`, as ``advanced(by:)``.
        public static func -= (instant: inout Instant, duration: Duration) {
            instant = instant - duration
        }
    }

    /// Where the time comes from; nil is the system's monotonic clock.
    private let source: (any LoopTimeSource)?
    /// Looked at first: cheaper than looking into an optional of a protocol.
    private let isSystem: Bool

    /// The system's monotonic clock.
    public static var monotonic: LoopClock { LoopClock(source: nil) }

    package init(source: (any LoopTimeSource)?) {
        self.source = source
        isSystem = source == nil
    }

    /// The current instant.
    public var now: Instant { Instant(nanoseconds: nowNanoseconds) }

    @inline(__always)
    package var nowNanoseconds: Int64 {
        guard !isSystem, let source else { return LoopClock.systemNanoseconds() }
        return source.nowNanoseconds
    }

    /// Asked when the loop has nothing to do before `deadline`: a manual clock that jumps answers
    /// true after it has moved there, and the loop does not sleep.
    package func jump(to deadline: Int64) -> Bool {
        source?.jump(to: deadline) ?? false
    }

    package var isManual: Bool { !isSystem }

    @inline(__always)
    package static func systemNanoseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }
}

/// A clock that a test drives.
package protocol LoopTimeSource: Sendable {
    var nowNanoseconds: Int64 { get }
    func jump(to deadline: Int64) -> Bool
}

extension Duration {
    /// Whole nanoseconds, rounded up so that a timer never fires early, and held at the ends of
    /// `Int64`.
    package var nanosecondsRoundedUp: Int64 {
        // Below nine seconds the attoseconds fit a register, and no 128-bit division is needed.
        if let attoseconds = Int64(exactly: attoseconds) { return attoseconds.dividedUp }
        // Up to 292 years one division of the machine does.
        let high = UInt64(truncatingIfNeeded: attoseconds &>> 64)
        if high < 500_000_000 {
            let low = UInt64(truncatingIfNeeded: attoseconds)
            let (quotient, rest) = UInt64(1_000_000_000).dividingFullWidth((high, low))
            return Int64(truncatingIfNeeded: quotient).addingSaturated(rest > 0 ? 1 : 0)
        }
        let (whole, rest) = attoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        return Int64(clamping: rest > 0 ? whole + 1 : whole)
    }
}

extension Int64 {
    /// A billionth, rounded up.
    ///
    /// A division cuts towards zero, which for a negative number is up.
    fileprivate var dividedUp: Int64 {
        let quotient = self / 1_000_000_000
        return self > quotient * 1_000_000_000 ? quotient + 1 : quotient
    }

    package func addingSaturated(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? (other < 0 ? .min : .max) : sum
    }
}
