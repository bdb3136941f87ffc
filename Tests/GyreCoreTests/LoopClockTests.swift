// SPDX-License-Identifier: Apache-2.0

import Gyre
import GyreTesting
import Testing

@testable import GyreCore

@Suite("LoopClock")
struct LoopClockTests {
    @Test(
        "A duration is rounded up to nanoseconds, and held at the ends",
        arguments: [
            (Duration.zero, 0),
            (.nanoseconds(1), 1),
            (.nanoseconds(-1), -1),
            (.seconds(1) + .nanoseconds(1), 1_000_000_001),
            (Duration(secondsComponent: 0, attosecondsComponent: 1), 1),
            (Duration(secondsComponent: 0, attosecondsComponent: 999_999_999), 1),
            (Duration(secondsComponent: 0, attosecondsComponent: 1_000_000_001), 2),
            (Duration(secondsComponent: 0, attosecondsComponent: -1), 0),
            (Duration(secondsComponent: 0, attosecondsComponent: -1_000_000_001), -1),
            (Duration(secondsComponent: -1, attosecondsComponent: -1), -1_000_000_000),
            (.seconds(9_223_372_036), 9_223_372_036_000_000_000),
            (.seconds(9_223_372_037), .max),
            (.seconds(-9_223_372_037), .min),
            (.seconds(Int64.max), .max),
            (.seconds(Int64.min), .min),
            (.seconds(1e19), .max),
            (.seconds(-1e19), .min),
        ] as [(Duration, Int64)])
    func rounding(_ duration: Duration, _ nanoseconds: Int64) {
        #expect(duration.nanosecondsRoundedUp == nanoseconds)
    }

    @Test("Random durations are never rounded down, nor up by a whole nanosecond")
    func roundingOfRandomDurations() {
        var random = SeededRandom(seed: 9)
        for _ in 0..<10_000 {
            let seconds = Int64.random(in: -1_000_000...1_000_000, using: &random)
            let sign: Int64 = seconds < 0 ? -1 : 1
            let fraction = Int64.random(in: 0..<1_000_000_000_000_000_000, using: &random)
            let duration = Duration(
                secondsComponent: seconds, attosecondsComponent: sign * fraction)
            let rounded = Duration.nanoseconds(duration.nanosecondsRoundedUp)
            #expect(rounded >= duration)
            #expect(rounded - duration < .nanoseconds(1))
        }
    }

    @Test("Instants move, compare, and are held at the ends of the range")
    func instants() {
        let instant = LoopClock.Instant(nanoseconds: 100)
        #expect(instant.advanced(by: .nanoseconds(50)).nanoseconds == 150)
        #expect(instant.advanced(by: .seconds(Int64.max)).nanoseconds == .max)
        let early = LoopClock.Instant(nanoseconds: -100)
        #expect(early.advanced(by: .seconds(Int64.min)).nanoseconds == .min)
        #expect(instant < instant.advanced(by: .nanoseconds(1)))
        let other = LoopClock.Instant(nanoseconds: -25)
        #expect(instant.duration(to: other) == .nanoseconds(-125))
        let ends = (LoopClock.Instant(nanoseconds: .min), LoopClock.Instant(nanoseconds: .max))
        #expect(ends.0.duration(to: ends.1) == .nanoseconds(Int64.max) - .nanoseconds(Int64.min))
    }

    @Test("Instants and durations are added and subtracted")
    func operators() {
        var instant = LoopClock.Instant(nanoseconds: 100)
        #expect((instant + .nanoseconds(50)).nanoseconds == 150)
        #expect((instant - .nanoseconds(150)).nanoseconds == -50)
        #expect(instant - LoopClock.Instant(nanoseconds: 30) == .nanoseconds(70))
        instant += .nanoseconds(5)
        #expect(instant.nanoseconds == 105)
        instant -= .nanoseconds(10)
        #expect(instant.nanoseconds == 95)
    }

    @Test("The loop of a program has a manual clock where it is asked for")
    func programLoop() throws {
        let clock = ManualClock()
        let start = clock.now
        for loop in try [
            makeLoop(clock: clock.loopClock), LoopPolicy.epoll.makeLoop(clock: clock.loopClock),
        ] {
            try loop.runUntilComplete { try await Gyre.sleep(.seconds(3600)) }
            try loop.close()
        }
        #expect(clock.now - start == .seconds(7200))
    }

    @Test("A manual clock moves by hand, or to the deadlines of its loop")
    func manualClock() throws {
        let byHand = ManualClock(.byHand)
        let start = byHand.now
        byHand.advance(by: .seconds(5))
        #expect(start.duration(to: byHand.now) == .seconds(5))
        #expect(!byHand.jump(to: .max))
        #expect(start.duration(to: byHand.now) == .seconds(5))
        let jumping = ManualClock()
        let deadline = jumping.now.advanced(by: .seconds(60)).nanoseconds
        #expect(jumping.jump(to: deadline))
        #expect(jumping.now.nanoseconds == deadline)
        // It never goes back.
        #expect(jumping.jump(to: 0))
        #expect(jumping.now.nanoseconds == deadline)
        #expect(jumping.jumpCount == 2)
    }
}
