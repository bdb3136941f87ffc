// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// Running, stopping and closing a loop.
enum LifeCycle {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "callSoonRunsInOrderEachOnce", [1], .lifeCycle, callSoonRunsInOrderEachOnce),
        Behaviour(
            "whatACallbackSchedulesRunsInALaterIteration", [2], .lifeCycle,
            whatACallbackSchedulesRunsInALaterIteration),
        Behaviour(
            "whatATimerSchedulesRunsInALaterIteration", [2], .lifeCycle,
            whatATimerSchedulesRunsInALaterIteration),
        Behaviour(
            "aCallbackThatReschedulesItselfDoesNotStarveASocket", [3], .lifeCycle,
            aCallbackThatReschedulesItselfDoesNotStarveASocket),
        Behaviour(
            "stopBeforeTheRunRunsWhatIsQueuedOnce", [4], .lifeCycle,
            stopBeforeTheRunRunsWhatIsQueuedOnce),
        Behaviour(
            "stopInABatchLetsTheBatchFinish", [5], .lifeCycle, stopInABatchLetsTheBatchFinish),
        Behaviour(
            "runningARunningLoopIsAnError", [7], .lifeCycle, runningARunningLoopIsAnError),
        Behaviour(
            "aSecondLoopOnTheThreadIsAnError", [7], .lifeCycle, aSecondLoopOnTheThreadIsAnError),
        Behaviour(
            "closingARunningLoopIsAnError", [8], .lifeCycle, closingARunningLoopIsAnError),
        Behaviour(
            "closingTwiceDoesNothing", [8], .lifeCycle, closingTwiceDoesNothing),
        Behaviour(
            "aClosedLoopRefusesWork", [8], .lifeCycle, aClosedLoopRefusesWork),
        Behaviour(
            "closingReleasesWhatWasScheduledUnrun", [9], .lifeCycle,
            closingReleasesWhatWasScheduledUnrun),
        Behaviour(
            "whatAClosingLoopReleasesMayCancelItsHandles", [9], .lifeCycle,
            whatAClosingLoopReleasesMayCancelItsHandles),
        Behaviour(
            "aLoopGivesItsDescriptorsBack", [9], .lifeCycle, isProcessWide: true,
            aLoopGivesItsDescriptorsBack),
        Behaviour(
            "currentIsTheRunningLoopAndNilOutside", [10], .lifeCycle,
            currentIsTheRunningLoopAndNilOutside),
        Behaviour(
            "aFatalErrorLeavesTheRunAtOnce", [12], .lifeCycle, aFatalErrorLeavesTheRunAtOnce),
        Behaviour(
            "aFatalErrorOfATimerLeavesTheRunAtOnce", [12], .lifeCycle,
            aFatalErrorOfATimerLeavesTheRunAtOnce),
        Behaviour(
            "noWaitDoesWhatThereIsAndReturns", [], .lifeCycle, noWaitDoesWhatThereIsAndReturns),
        Behaviour(
            "noWaitRunsCallsThatOtherThreadsMade", [], .lifeCycle,
            noWaitRunsCallsThatOtherThreadsMade),
        Behaviour(
            "onceReturnsWhenItHasDoneSomething", [], .lifeCycle,
            onceReturnsWhenItHasDoneSomething),
        Behaviour("onceWaitsForATimer", [], .lifeCycle, onceWaitsForATimer),
    ]

    // MARK: Callbacks

    static func callSoonRunsInOrderEachOnce(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var order: [Int] = []
        // More than any initial capacity, and in two batches, so that the queue wraps and grows.
        for number in 0..<1000 { loop.callSoon { order.append(number) } }
        loop.callSoon {
            for number in 1000..<5000 { loop.callSoon { order.append(number) } }
            loop.callSoon { loop.stop() }
        }
        try kit.run(loop)
        try expect(order == Array(0..<5000), "5000 callbacks ran as \(order.count), out of order")
    }

    static func whatACallbackSchedulesRunsInALaterIteration(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var iterations: [UInt64] = []
        loop.callSoon {
            iterations.append(loop.statistics.ticks)
            loop.callSoon {
                iterations.append(loop.statistics.ticks)
                loop.stop()
            }
        }
        loop.callSoon { iterations.append(loop.statistics.ticks) }
        try kit.run(loop)
        try expect(iterations.count, equals: 3)
        try expect(iterations[0] == iterations[1], "a batch was torn apart: \(iterations)")
        try expect(iterations[2] > iterations[1], "ran in the iteration of its maker")
    }

    static func whatATimerSchedulesRunsInALaterIteration(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        var iterations: [UInt64] = []
        loop.callLater(.seconds(1)) {
            iterations.append(loop.statistics.ticks)
            loop.callSoon { iterations.append(loop.statistics.ticks) }
            loop.callLater(.zero) {
                iterations.append(loop.statistics.ticks)
                loop.callSoon { loop.stop() }
            }
        }
        try kit.run(loop)
        try expect(iterations.count, equals: 3)
        try expect(
            iterations[1] > iterations[0] && iterations[2] > iterations[0],
            "ran in the iteration of the timer that made them: \(iterations)")
    }

    static func aCallbackThatReschedulesItselfDoesNotStarveASocket(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        var isServed = false
        func again() {
            // Without bound: only the watchdog ends a loop that never polls.
            if !isServed { loop.callSoon(again) }
        }
        loop.callSoon(again)
        try loop.addReader(pair.near) {
            isServed = true
            loop.stop()
        }
        pair.sendToNear()
        try kit.run(loop)
        try expect(isServed, "the socket was not served")
        try loop.close()
    }

    // MARK: Stopping

    static func stopBeforeTheRunRunsWhatIsQueuedOnce(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var ran: [String] = []
        loop.callSoon {
            ran.append("first")
            loop.callSoon { ran.append("third") }
        }
        loop.callSoon { ran.append("second") }
        loop.callLater(.seconds(3600)) { ran.append("timer") }
        loop.stop()
        try kit.run(loop)
        try expect(ran, equals: ["first", "second"])
        // The stop is used up: the next run goes on until it is stopped.
        loop.callSoon { loop.callSoon { loop.stop() } }
        try kit.run(loop)
        try expect(ran, equals: ["first", "second", "third"])
    }

    static func stopInABatchLetsTheBatchFinish(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var ran: [Int] = []
        loop.callSoon {
            ran.append(1)
            loop.stop()
            loop.callSoon { ran.append(4) }
        }
        loop.callSoon { ran.append(2) }
        loop.callSoon {
            ran.append(3)
            loop.callSoon {
                ran.append(5)
                loop.stop()
            }
        }
        try kit.run(loop)
        try expect(ran, equals: [1, 2, 3])
        try kit.run(loop)
        try expect(ran, equals: [1, 2, 3, 4, 5])
    }

    static func runningARunningLoopIsAnError(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var outcome: Result<Void, any Error> = .success(())
        var isUsable = false
        let began = SharedValue(false)
        loop.callSoon {
            outcome = Result {
                try expectError(.alreadyRunning) { try loop.runForever() }
                try expectError(.alreadyRunning) { try loop.run(.noWait) }
                try expectError(.alreadyRunning) {
                    try loop.runUntilComplete { began.value = true }
                }
            }
            loop.callSoon {
                isUsable = true
                loop.stop()
            }
        }
        try kit.run(loop)
        try outcome.get()
        try expect(isUsable, "the loop did not go on")
        try expect(!began.value, "what could not be run was run all the same")
        try expect(!loop.isRunning, "the loop says that it still runs")
    }

    static func aSecondLoopOnTheThreadIsAnError(_ kit: ConformanceKit) throws {
        let first = try kit.makeLoop()
        let second = try kit.makeLoop()
        var outcome: Result<Void, any Error> = .success(())
        first.callSoon {
            outcome = Result {
                try expectError(.alreadyRunning) { try second.run(.noWait) }
                try expect(Loop.current === first, "the first loop is not current any more")
            }
            first.callSoon { first.stop() }
        }
        try kit.run(first)
        try outcome.get()
        // Neither was harmed by it.
        var ran = 0
        for loop in [first, second] {
            loop.callSoon {
                ran += 1
                loop.stop()
            }
            try kit.run(loop)
        }
        try expect(ran, equals: 2)
    }

    // MARK: The current loop

    static func currentIsTheRunningLoopAndNilOutside(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        try expect(Loop.current == nil, "there is a current loop before any run")
        var inCallback = false
        var inTimer = false
        loop.callSoon { inCallback = Loop.current === loop && loop.handle.isOnLoop }
        loop.callLater(.zero) {
            inTimer = Loop.current === loop && Loop.running === loop
            // Another thread has none, although this loop runs.
            let handle = loop.handle
            let thread = try TestThread {
                try expect(Loop.current == nil, "a foreign thread has a current loop")
                try expect(!handle.isOnLoop, "a foreign thread is on the loop")
            }
            try thread.join()
            loop.callSoon { throw LoopInterrupt() }
        }
        loop.exceptionHandler = { _, context in throw context.error ?? LoopInterrupt() }
        try expectError(LoopInterrupt.self) { try kit.run(loop) }
        try expect(inCallback, "not current in a callback")
        try expect(inTimer, "not current in a timer")
        try expect(Loop.current == nil, "there is a current loop after a run that failed")
        try expect(!loop.handle.isOnLoop, "the handle is on the loop after the run")
    }

    // MARK: Fatal errors

    static func aFatalErrorLeavesTheRunAtOnce(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var ran: [Int] = []
        loop.callSoon {
            ran.append(1)
            throw LoopInterrupt()
        }
        loop.callSoon { ran.append(2) }
        loop.callSoon { loop.stop() }
        try expectError(LoopInterrupt.self) { try kit.run(loop) }
        try expect(ran, equals: [1], "what ran before the interrupt")
        try expect(!loop.isRunning, "the loop says that it still runs")
        try kit.run(loop)
        try expect(ran, equals: [1, 2], "what was queued did not run in the next run")
    }

    static func aFatalErrorOfATimerLeavesTheRunAtOnce(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        var ran: [Int] = []
        let deadline = loop.now.advanced(by: .seconds(1))
        loop.callAt(deadline) {
            ran.append(1)
            throw LoopInterrupt()
        }
        loop.callAt(deadline) { ran.append(2) }
        let cancelled = loop.callAt(deadline) { ran.append(3) }
        loop.callAt(deadline) {
            ran.append(4)
            loop.stop()
        }
        try expectError(LoopInterrupt.self) { try kit.run(loop) }
        try expect(ran, equals: [1], "what ran before the interrupt")
        cancelled.cancel()
        try kit.run(loop)
        try expect(ran, equals: [1, 2, 4], "the timers that were due with it")
    }
}
