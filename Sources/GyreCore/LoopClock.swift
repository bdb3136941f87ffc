// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The clock of a loop: nanoseconds that never go back and do not stop for the wall clock.
///
/// It is the system's `CLOCK_MONOTONIC`, or a manual clock in tests.
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
    }

    /// Where the time comes from; nil is the system's monotonic clock.
    private let source: (any LoopTimeSource)?

    /// The system's monotonic clock.
    public static var monotonic: LoopClock { LoopClock(source: nil) }

    package init(source: (any LoopTimeSource)?) {
        self.source = source
    }

    /// The current instant.
    public var now: Instant { Instant(nanoseconds: nowNanoseconds) }

    @inline(__always)
    package var nowNanoseconds: Int64 {
        guard let source else { return LoopClock.systemNanoseconds() }
        return source.nowNanoseconds
    }

    /// Asked when the loop has nothing to do before `deadline`: a manual clock that jumps answers
    /// true after it has moved there, and the loop does not sleep.
    package func jump(to deadline: Int64) -> Bool {
        source?.jump(to: deadline) ?? false
    }

    package var isManual: Bool { source != nil }

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
        let (seconds, attoseconds) = components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return seconds < 0 ? .min : .max }
        // Attoseconds carry the sign of the duration; a division cuts towards zero, which for a
        // negative duration is already up.
        var fraction = attoseconds / 1_000_000_000
        if attoseconds > fraction * 1_000_000_000 { fraction += 1 }
        return whole.addingSaturated(fraction)
    }
}

extension Int64 {
    package func addingSaturated(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? (other < 0 ? .min : .max) : sum
    }
}
