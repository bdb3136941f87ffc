// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// Timers: order, cancelling, odd delays.
enum Timers {
    static let behaviours: [Behaviour] = [
        Behaviour("timersFireInDeadlineOrder", [13], .timers, timersFireInDeadlineOrder),
        Behaviour(
            "equalDeadlinesFireInCreationOrder", [14], .timers, equalDeadlinesFireInCreationOrder),
        Behaviour(
            "negativeDelaysAreDueAtOnceMoreNegativeFirst", [15], .timers,
            negativeDelaysAreDueAtOnceMoreNegativeFirst),
        Behaviour(
            "aCancelledTimerNeverFiresAndReleasesAtOnce", [16], .timers,
            aCancelledTimerNeverFiresAndReleasesAtOnce),
        Behaviour(
            "aFiredTimerReleasesItsClosure", [16], .timers, aFiredTimerReleasesItsClosure),
        Behaviour(
            "aTimerCancelledInItsIterationDoesNotRun", [17], .timers,
            aTimerCancelledInItsIterationDoesNotRun),
        Behaviour(
            "storageOfCancelledTimersIsReclaimed", [18], .timers,
            storageOfCancelledTimersIsReclaimed),
        Behaviour("whenIsTheDeadlineForGood", [19], .timers, whenIsTheDeadlineForGood),
        Behaviour("aDelayOfACenturyHolds", [20], .timers, aDelayOfACenturyHolds),
        Behaviour(
            "aDelayOfACenturyHoldsInRealTime", [20], .timers, aDelayOfACenturyHoldsInRealTime),
        Behaviour("aDelayThatIsNoNumberIsRefused", [21], .timers, aDelayThatIsNoNumberIsRefused),
        Behaviour(
            "aTimerThatStopsLetsTheOthersOfItsBatchRun", [22], .timers,
            aTimerThatStopsLetsTheOthersOfItsBatchRun),
        Behaviour(
            "waitingForATimerSleepsInTheKernel", [23], .timers, waitingForATimerSleepsInTheKernel),
        Behaviour(
            "anIdleLoopSleepsUntilAnotherThreadCalls", [24], .timers,
            anIdleLoopSleepsUntilAnotherThreadCalls),
        Behaviour("noTimerFiresEarly", [], .timers, noTimerFiresEarly),
        Behaviour(
            "aDueTimerDoesNotWaitForReadyCallbacks", [], .timers,
            aDueTimerDoesNotWaitForReadyCallbacks),
    ]

    // MARK: Order

    static func timersFireInDeadlineOrder(_ kit: ConformanceKit) throws {
        let clock = ManualClock()
        let loop = try kit.makeLoop(clock: clock.loopClock)
        let start = loop.now
        var fired: [Int] = []
        var isEarly = false
        // 997 is prime to 1000: every delay once, in no order.
        for number in 0..<1000 {
            let delay = number * 997 % 1000
            loop.callLater(.milliseconds(delay)) {
                fired.append(delay)
                if clock.now < start.advanced(by: .milliseconds(delay)) { isEarly = true }
                if fired.count == 1000 { loop.stop() }
            }
        }
        try kit.run(loop)
        try expect(fired == Array(0..<1000), "fired as \(fired)")
        try expect(!isEarly, "a timer fired before its deadline")
    }

    static func equalDeadlinesFireInCreationOrder(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        var fired: [Int] = []
        let instants = (0..<3).map { loop.now.advanced(by: .seconds($0)) }
        for number in 0..<900 {
            let timer = loop.callAt(instants[number % 3]) { fired.append(number) }
            // Cancelled ones among them do not disturb the others.
            if number % 7 == 3 { timer.cancel() }
        }
        loop.callLater(.seconds(4)) { loop.stop() }
        try kit.run(loop)
        let kept = (0..<900).filter { $0 % 7 != 3 }
        let expected = (0..<3).flatMap { turn in kept.filter { $0 % 3 == turn } }
        try expect(fired == expected, "fired as \(fired)")
    }

    static func negativeDelaysAreDueAtOnceMoreNegativeFirst(_ kit: ConformanceKit) throws {
        let clock = ManualClock(.byHand)
        let loop = try kit.makeLoop(clock: clock.loopClock)
        var fired: [Int] = []
        for delay in [-1, -3, 0, -2] {
            loop.callLater(.seconds(delay)) { fired.append(delay) }
        }
        try loop.callLater(seconds: -2.5) { fired.append(-25) }
        try kit.run(loop, .noWait)
        try expect(fired, equals: [-3, -25, -2, -1, 0])
    }

    static func aDueTimerDoesNotWaitForReadyCallbacks(_ kit: ConformanceKit) throws {
        let clock = ManualClock(.byHand)
        let loop = try kit.makeLoop(clock: clock.loopClock)
        var rounds = 0
        var roundsBefore = -1
        func again() {
            rounds += 1
            clock.advance(by: .milliseconds(1))
            if roundsBefore < 0 { loop.callSoon(again) }
        }
        loop.callSoon(again)
        loop.callLater(.milliseconds(5)) {
            roundsBefore = rounds
            loop.stop()
        }
        try kit.run(loop)
        try expect(roundsBefore, equals: 5, "rounds of a busy loop until a timer of five fired")
    }

    // MARK: Cancelling

    static func aCancelledTimerNeverFiresAndReleasesAtOnce(_ kit: ConformanceKit) throws {
        let clock = ManualClock()
        let loop = try kit.makeLoop(clock: clock.loopClock)
        let live = LiveObjects()
        var fired: [String] = []
        let timer = loop.callLater(.seconds(1), live.closure { fired.append("cancelled") })
        let callback = loop.callSoon(live.closure { fired.append("cancelled callback") })
        try expect(timer.isPending && callback.isPending, "what was scheduled does not wait")
        try expect(live.count, equals: 2)
        timer.cancel()
        try expect(live.count, equals: 1, "closures alive after the timer was cancelled")
        callback.cancel()
        try expect(live.count, equals: 0, "closures alive after the callback was cancelled")
        try expect(!timer.isPending && !callback.isPending, "what was cancelled still waits")
        // Its place may go to another by now: a second cancel does not hit that one.
        loop.callLater(.seconds(2)) { fired.append("other") }
        loop.callSoon { fired.append("other callback") }
        timer.cancel()
        callback.cancel()
        loop.callLater(.seconds(3)) { loop.stop() }
        try kit.run(loop)
        try expect(fired, equals: ["other callback", "other"])
    }

    static func aFiredTimerReleasesItsClosure(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        let live = LiveObjects()
        var counts: [Int] = []
        let timer = loop.callLater(.seconds(1), live.closure())
        let callback = loop.callSoon(live.closure())
        loop.callLater(.seconds(2)) {
            counts.append(live.count)
            loop.stop()
        }
        try kit.run(loop)
        try expect(counts, equals: [0], "closures alive after they ran")
        try expect(!timer.isPending && !callback.isPending, "what ran still waits")
        timer.cancel()
        callback.cancel()
    }

    static func aTimerCancelledInItsIterationDoesNotRun(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        let live = LiveObjects()
        var fired: [String] = []
        var alive = -1
        let deadline = loop.now.advanced(by: .seconds(1))
        var victims: [LoopTimer] = []
        var callbacks: [LoopCallback] = []
        loop.callAt(deadline) {
            fired.append("first")
            for victim in victims { victim.cancel() }
            alive = live.count
        }
        for _ in 0..<3 {
            victims.append(loop.callAt(deadline, live.closure { fired.append("victim") }))
        }
        loop.callAt(deadline) {
            fired.append("last")
            loop.callSoon {
                for callback in callbacks { callback.cancel() }
                loop.callSoon { loop.stop() }
            }
            callbacks.append(loop.callSoon(live.closure { fired.append("victim") }))
        }
        try kit.run(loop)
        try expect(fired, equals: ["first", "last"])
        try expect(alive, equals: 0, "closures of cancelled timers still alive")
    }

    static func storageOfCancelledTimersIsReclaimed(_ kit: ConformanceKit) throws {
        let clock = ManualClock()
        let loop = try kit.makeLoop(clock: clock.loopClock)
        var fired: [Int] = []
        var timers: [LoopTimer] = []
        for number in 0..<1000 {
            timers.append(loop.callLater(.seconds(3600 + number)) { fired.append(number) })
        }
        for (number, timer) in timers.enumerated() where number % 10 != 0 { timer.cancel() }
        let statistics = loop.statistics
        try expect(statistics.timerCount, equals: 100)
        try expect(
            statistics.timerStorage <= 200,
            "\(statistics.timerStorage) deadlines are stored for 100 timers")
        loop.callLater(.seconds(10_000)) { loop.stop() }
        try kit.run(loop)
        try expect(fired, equals: (0..<100).map { $0 * 10 })
        try expect(loop.statistics.timerStorage, equals: 0, "deadlines left without timers")
    }

    // MARK: Deadlines

    static func whenIsTheDeadlineForGood(_ kit: ConformanceKit) throws {
        let clock = ManualClock()
        let loop = try kit.makeLoop(clock: clock.loopClock)
        let start = loop.now
        let fires = loop.callLater(.milliseconds(1500)) { loop.stop() }
        let cancelled = loop.callLater(.seconds(7)) {}
        let absolute = loop.callAt(start.advanced(by: .seconds(9))) {}
        func check(_ state: String) throws {
            try expect(start.duration(to: fires.when()), equals: .milliseconds(1500), state)
            try expect(start.duration(to: cancelled.when()), equals: .seconds(7), state)
            try expect(absolute.when(), equals: start.advanced(by: .seconds(9)), state)
        }
        try check("before")
        cancelled.cancel()
        try kit.run(loop)
        clock.advance(by: .seconds(100))
        try check("after firing and cancelling")
        try loop.close()
        try check("after closing")
    }

    static func aDelayOfACenturyHolds(_ kit: ConformanceKit) throws {
        let clock = ManualClock(.byHand)
        let loop = try kit.makeLoop(clock: clock.loopClock)
        let year = Duration.seconds(31_557_600)
        var fired: [String] = []
        loop.callLater(year * 100) { fired.append("century") }
        try loop.callLater(seconds: 31_557_600 * 101) { fired.append("century and a year") }
        // Beyond the range of the clock, and of the number itself.
        loop.callLater(.seconds(Int64.max)) { fired.append("for ever") }
        loop.callAt(loop.now.advanced(by: .seconds(Int64.max))) { fired.append("for ever") }
        try loop.callLater(seconds: .infinity) { fired.append("for ever") }
        try kit.run(loop, .noWait)
        clock.advance(by: year * 99)
        try kit.run(loop, .noWait)
        try expect(fired.isEmpty, "fired early: \(fired)")
        clock.advance(by: year)
        try kit.run(loop, .noWait)
        try expect(fired, equals: ["century"])
        clock.advance(by: year)
        try kit.run(loop, .noWait)
        try expect(fired, equals: ["century", "century and a year"])
        try expect(loop.statistics.timerCount, equals: 3)
    }

    /// The same with the real clock and a wait in the kernel, which has its own limits.
    static func aDelayOfACenturyHoldsInRealTime(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var fired = false
        loop.callLater(.seconds(31_557_600) * 100) { fired = true }
        loop.callLater(.seconds(Int64.max)) { fired = true }
        try runUntilAnotherThreadCalls(loop, kit)
        try expect(!fired, "a timer of a century fired")
    }

    static func aDelayThatIsNoNumberIsRefused(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let live = LiveObjects()
        for delay in [Double.nan, -Double.nan, .signalingNaN] {
            try expectError(.invalidArgument) {
                try loop.callLater(seconds: delay, live.closure())
            }
        }
        try expect(live.count, equals: 0, "closures kept of refused timers")
        try expect(loop.statistics.timerCount, equals: 0)
    }

    static func aTimerThatStopsLetsTheOthersOfItsBatchRun(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        var fired: [Int] = []
        let deadline = loop.now.advanced(by: .seconds(1))
        loop.callAt(deadline) {
            fired.append(1)
            loop.stop()
        }
        loop.callAt(deadline) { fired.append(2) }
        loop.callLater(.seconds(2)) { fired.append(3) }
        try kit.run(loop)
        try expect(fired, equals: [1, 2])
    }
}
