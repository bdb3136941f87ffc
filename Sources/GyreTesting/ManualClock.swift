// SPDX-License-Identifier: Apache-2.0

public import GyreCore
import Synchronization

/// A clock that stands still until a test moves it, so that tests of timers take no time.
///
/// A loop is made with it by `makeLoop(clock: clock.loopClock)` of the module `Gyre`. With
/// ``Movement/toTheNextDeadline``, a loop that has nothing to do moves the clock to its next
/// deadline instead of sleeping; the time then passes as fast as the callbacks run. With
/// ``Movement/byHand`` only ``advance(by:)`` moves it, and a loop that waits for a deadline blocks
/// until something else wakes it.
///
/// I/O is not part of the clock's world: a jump does not wait for bytes that are on their way.
///
/// - Important: Usable from any thread. A loop looks at the clock once an iteration, so a test that
///   moves it from another thread does so on the loop:
///   `handle.callSoonThreadSafe { _ in clock.advance(by: .seconds(1)) }`.
public final class ManualClock: Sendable {
    /// What moves the clock.
    public enum Movement: Sendable {
        /// ``ManualClock/advance(by:)`` alone.
        case byHand
        /// A loop that would sleep until its next deadline moves there at once.
        case toTheNextDeadline
    }

    private struct State {
        var nanoseconds: Int64
        var jumps = 0
    }

    private let movement: Movement
    private let state: Mutex<State>

    /// Makes a clock that shows `start`.
    public init(
        _ movement: Movement = .toTheNextDeadline,
        startingAt start: LoopClock.Instant = LoopClock.Instant(nanoseconds: 1_000_000_000)
    ) {
        self.movement = movement
        state = Mutex(State(nanoseconds: start.nanoseconds))
    }

    /// The time it shows.
    public var now: LoopClock.Instant {
        LoopClock.Instant(nanoseconds: state.withCheckedLock { $0.nanoseconds })
    }

    /// How often a loop moved it to a deadline.
    public var jumpCount: Int { state.withCheckedLock { $0.jumps } }

    /// The clock as a loop takes it.
    public var loopClock: LoopClock { LoopClock(source: self) }

    /// Moves it forward.
    ///
    /// A negative duration is a mistake of the test, and traps.
    public func advance(by duration: Duration) {
        precondition(duration >= .zero, "a loop's clock never goes back")
        state.withCheckedLock { state in
            let instant = LoopClock.Instant(nanoseconds: state.nanoseconds)
            state.nanoseconds = instant.advanced(by: duration).nanoseconds
        }
    }
}

extension ManualClock: LoopTimeSource {
    package var nowNanoseconds: Int64 { state.withCheckedLock { $0.nanoseconds } }

    package func jump(to deadline: Int64) -> Bool {
        guard movement == .toTheNextDeadline else { return false }
        return state.withCheckedLock { state in
            // A deadline in the past needs no jump, and the loop does not wait for it either.
            state.nanoseconds = max(state.nanoseconds, deadline)
            state.jumps += 1
            return true
        }
    }
}
