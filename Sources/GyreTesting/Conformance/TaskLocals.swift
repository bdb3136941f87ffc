// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// The task-locals of the place that scheduled something are visible in it.
enum TaskLocals {
    static let behaviours: [Behaviour] = [
        Behaviour("callbacksSeeTheTaskLocals", [], .tasks, callbacksSeeTheTaskLocals),
        Behaviour("tasksSeeTheTaskLocals", [], .tasks, tasksSeeTheTaskLocals),
        Behaviour(
            "cancellingReleasesACallbackOfATask", [16], .tasks, cancellingReleasesACallbackOfATask),
        Behaviour(
            "aCallbackOfATaskThrowsAsOthersDo", [27], .tasks, aCallbackOfATaskThrowsAsOthersDo),
        Behaviour("aTimerDoesNotHoldItsTask", [], .tasks, aTimerDoesNotHoldItsTask),
        Behaviour("closingDropsCallbacksOfTasks", [9], .tasks, closingDropsCallbacksOfTasks),
    ]

    private struct Failure: Error {}

    @TaskLocal private static var request = "none"

    static func callbacksSeeTheTaskLocals(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        let seen = SharedValue<[String]>([])
        @Sendable func note(_ name: String) {
            let task = Loop.running.currentTask?.name ?? "no task"
            seen.update { $0.append("\(name): \(request), \(task)") }
        }
        let task = loop.createTask(name: "scheduler") {
            let loop = Loop.running
            try TaskLocals.$request.withValue("first") {
                loop.callSoon {
                    note("soon")
                    // What it schedules itself, too.
                    loop.callSoon { note("nested") }
                    note("still soon")
                }
                loop.callLater(.seconds(1)) { note("later") }
                try loop.handle.callSoonThreadSafe { _ in note("thread-safe") }
                let future = LoopFuture<Int>(on: loop)
                let callback = LoopDoneCallback<Int> { _ in note("done") }
                for _ in 0..<2 { future.addDoneCallback(callback) }
                future.addDoneCallback { note("done with \(try $0.result())") }
                try future.setResult(7)
            }
            TaskLocals.$request.withValue("second") {
                loop.callAt(loop.now.advanced(by: .seconds(2))) { note("at") }
            }
            loop.callSoon { note("outside") }
            note("task")
            try await sleep(.seconds(3))
        }
        loop.callLater(.milliseconds(1)) { note("plain") }
        try kit.complete(task, on: loop)
        try expect(
            seen.value,
            equals: [
                "task: none, scheduler", "soon: first, no task", "still soon: first, no task",
                "thread-safe: first, no task", "done: first, no task", "done: first, no task",
                "done with 7: first, no task", "outside: none, no task", "nested: first, no task",
                "plain: none, no task",
                "later: first, no task", "at: second, no task",
            ])
        try expect(loop.statistics.timerCount, equals: 0)
    }

    static func tasksSeeTheTaskLocals(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let seen = SharedValue<[String]>([])
        @Sendable func note() { seen.update { $0.append(request) } }
        let task = loop.createTask {
            try await TaskLocals.$request.withValue("outer") {
                try await Loop.running.createTask { note() }.value
                try await Loop.running.createTask(eager: true) { note() }.value
                let made = LoopFuture<Void>(on: Loop.running)
                Loop.running.callSoon {
                    Loop.running.createTask {
                        note()
                        try made.setResult(())
                    }
                }
                try await made.value
            }
        }
        try kit.complete(task, on: loop)
        try expect(seen.value, equals: ["outer", "outer", "outer"])
    }

    static func cancellingReleasesACallbackOfATask(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let live = LiveObjects()
        let task = loop.createTask {
            let loop = Loop.running
            let ran: @Sendable () -> Void = { preconditionFailure("it was cancelled") }
            let callback = loop.callSoon(live.closure(ran))
            let timer = loop.callLater(.seconds(1000), live.closure(ran))
            try expect(live.count, equals: 2, "both are held")
            callback.cancel()
            try expect(live.count, equals: 1, "the callback is released")
            timer.cancel()
            try expect(live.count, equals: 0, "the timer is released")
            let future = LoopFuture<Void>(on: loop)
            do {
                let ran = live.closure(ran)
                future.addDoneCallback { _ in try ran() }
            }
            try expect(live.count, equals: 1, "the done-callback is held")
            withExtendedLifetime(consume future) {}
            try expect(live.count, equals: 0, "a future that is released releases it")
            try await sleep(.zero)
            // And one that runs lets go of what it held, behind that.
            loop.callSoon(live.closure())
            try await sleep(.zero)
            try expect(live.count, equals: 0, "what ran is released")
        }
        try kit.complete(task, on: loop)
        // From outside of tasks, where the handle may well be used.
        let pending = loop.createTask { () async -> Void in
            Loop.running.callLater(.seconds(1000), live.closure())
            Loop.running.callSoon(live.closure { Loop.running.stop() })
        }
        try kit.complete(pending, on: loop)
        try kit.drain(loop)
        try expect(live.count, equals: 1, "the timer is there still")
        try loop.close()
        try expect(live.count, equals: 0, "closing released it")
    }

    static func aCallbackOfATaskThrowsAsOthersDo(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var reports: [LoopExceptionContext] = []
        loop.exceptionHandler = { reports.append($1) }
        loop.createTask { () -> Void in
            Loop.running.callSoon {
                // In this order, however slow the machine is: a timer that is due goes first.
                _ = Loop.running.callLater(.milliseconds(1)) { throw LoopInterrupt() }
                throw Failure()
            }
        }
        try expectError(LoopInterrupt.self) { try kit.run(loop) }
        try expect(reports.count, equals: 1, "reports")
        try expect(reports.first?.error is Failure, "it is the callback's error")
        let place = reports.first?.site?.description ?? ""
        try expect(place.contains("TaskLocals.swift:"), "its place: \(place)")
    }

    static func aTimerDoesNotHoldItsTask(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var reports: [String] = []
        loop.exceptionHandler = { reports.append($1.message) }
        loop.createTask {
            Loop.running.callLater(.seconds(1000)) {}
            throw Failure()
        }
        try kit.drain(loop)
        try expect(loop.statistics.timerCount, equals: 1, "the timer waits")
        try expect(reports.count, equals: 1, "the task is gone, and its error was reported")
    }

    static func closingDropsCallbacksOfTasks(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let live = LiveObjects()
        let ran: @Sendable () -> Void = { preconditionFailure("the loop was closed") }
        loop.createTask {
            Loop.running.stop()
            Loop.running.callSoon(live.closure(ran))
            Loop.running.callLater(.zero, live.closure(ran))
            for _ in 0..<100 { Loop.running.callLater(.seconds(1000), live.closure(ran)) }
        }
        try kit.run(loop)
        try expect(live.count, equals: 102, "callbacks alive")
        try loop.close()
        try expect(live.count, equals: 0, "callbacks alive after closing")
    }
}
