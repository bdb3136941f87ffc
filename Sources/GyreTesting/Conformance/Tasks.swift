// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// Tasks and their cancellation.
enum Tasks {
    static let behaviours: [Behaviour] = [
        Behaviour("aTaskBeginsInALaterIteration", [44], .tasks, aTaskBeginsInALaterIteration),
        Behaviour(
            "aTaskCancelledBeforeItBeganNeverRuns", [45], .tasks,
            aTaskCancelledBeforeItBeganNeverRuns),
        Behaviour(
            "cancellingATaskCancelsWhatItAwaits", [46], .tasks, cancellingATaskCancelsWhatItAwaits),
        Behaviour(
            "aSwallowedCancellationLetsATaskReturn", [47], .tasks,
            aSwallowedCancellationLetsATaskReturn),
        Behaviour("everyCancelFailsOneWait", [48], .tasks, everyCancelFailsOneWait),
        Behaviour("uncancelTakesACancelBack", [], .tasks, uncancelTakesACancelBack),
        Behaviour(
            "aCancelAfterTheResultStillArrives", [], .tasks, aCancelAfterTheResultStillArrives),
        Behaviour(
            "aFutureOfAnotherLoopCannotBeAwaited", [49], .tasks, aFutureOfAnotherLoopCannotBeAwaited
        ),
        Behaviour("aTaskCannotAwaitItself", [], .tasks, aTaskCannotAwaitItself),
        Behaviour("currentTaskIsTheOneThatRuns", [50], .tasks, currentTaskIsTheOneThatRuns),
        Behaviour("aTaskNobodyKeepsRunsToItsEnd", [51], .tasks, aTaskNobodyKeepsRunsToItsEnd),
        Behaviour("sleepOfZeroYieldsOneTurn", [52], .tasks, sleepOfZeroYieldsOneTurn),
        Behaviour("sleepingUntilKeepsARhythm", [], .tasks, sleepingUntilKeepsARhythm),
        Behaviour(
            "cancellingASleeperRemovesItsTimer", [53], .tasks, cancellingASleeperRemovesItsTimer),
        Behaviour("anEagerTaskRunsInsideTheCall", [54], .tasks, anEagerTaskRunsInsideTheCall),
        Behaviour("aTaskPendingAtCloseIsReported", [55], .tasks, aTaskPendingAtCloseIsReported),
        Behaviour(
            "anErrorOfATaskIsReportedWithItsPlace", [41], .tasks,
            anErrorOfATaskIsReportedWithItsPlace),
        Behaviour("tasksAreMadeFromThreads", [], .tasks, tasksAreMadeFromThreads),
        Behaviour("tasksMakeTasksAndCallbacks", [], .tasks, tasksMakeTasksAndCallbacks),
        Behaviour("swiftsOwnWaitsSeeTheCancellation", [], .tasks, swiftsOwnWaitsSeeTheCancellation),
    ]

    private struct Failure: Error {}

    static func aTaskBeginsInALaterIteration(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let order = SharedValue<[String]>([])
        loop.callSoon {
            loop.createTask {
                order.update { $0.append("task") }
                loopStop()
            }
            order.update { $0.append("after createTask") }
        }
        try kit.run(loop)
        try expect(order.value, equals: ["after createTask", "task"])
    }

    private static func loopStop() { Loop.running.stop() }

    static func aTaskCancelledBeforeItBeganNeverRuns(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let ran = SharedValue(false)
        let task = loop.createTask { ran.update { $0 = true } }
        try expect(task.cancel("too late"), "a pending task is cancelled")
        try expectError(CancellationError.self) { try kit.complete(task, on: loop) }
        try expect(!ran.value, "the body never ran")
        try expect(task.isCancelled && !task.cancel(), "cancelled, once")
        try expect(task.cancellationReason, equals: "too late")
    }

    static func cancellingATaskCancelsWhatItAwaits(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let future = LoopFuture<Int>(on: loop)
        let inner = loop.createTask { try await future.value }
        let outer = loop.createTask { try await inner.value }
        try kit.drain(loop)
        loop.callLater(.milliseconds(1)) { outer.cancel() }
        try expectError(CancellationError.self) { _ = try kit.complete(outer, on: loop) }
        try expect(future.isCancelled && inner.isCancelled, "the whole chain is cancelled")
    }

    static func aSwallowedCancellationLetsATaskReturn(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask { () async -> Int in
            do { try await sleep(.seconds(100)) } catch { return 7 }
            return 0
        }
        try kit.drain(loop)
        loop.callLater(.milliseconds(1)) { task.cancel() }
        try expect(try kit.complete(task, on: loop), equals: 7)
        try expect(task.isDone && !task.isCancelled, "it ended with a value")
    }

    static func everyCancelFailsOneWait(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let caught = SharedValue(0)
        let done = LoopFuture<Void>(on: loop)
        let task = loop.createTask { () async throws -> Int in
            do { try await sleep(.seconds(100)) } catch { caught.update { $0 += 1 } }
            // Neither the first cancellation nor Swift's flag fails a wait of its own.
            try await sleep(.milliseconds(1))
            try done.setResult(())
            do { try await sleep(.seconds(100)) } catch { caught.update { $0 += 1 } }
            try await sleep(.milliseconds(1))
            return caught.value
        }
        try kit.drain(loop)
        loop.callLater(.milliseconds(1)) { task.cancel() }
        done.addDoneCallback { _ in loop.callSoon { task.cancel() } }
        try expect(try kit.complete(task, on: loop), equals: 2)
        try expect(task.cancelling, equals: 2)
    }

    static func uncancelTakesACancelBack(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask { () async throws -> [Int] in
            guard let task = Loop.running.currentTask else { return [] }
            var counts: [Int] = []
            task.cancel("a")
            task.cancel("b")
            counts.append(task.cancelling)
            counts.append(task.uncancel())
            counts.append(task.uncancel())
            counts.append(task.uncancel())
            // Nothing is pending any more.
            try await sleep(.zero)
            return counts
        }
        try expect(try kit.complete(task, on: loop), equals: [2, 1, 0, 0])
        try expect(task.cancellationReason, equals: "b")
    }

    static func aCancelAfterTheResultStillArrives(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let future = LoopFuture<Int>(on: loop)
        let task = loop.createTask { try await future.value }
        loop.callLater(.milliseconds(1)) {
            try future.setResult(1)
            // The task was woken, and did not go on yet.
            try expect(task.cancel(), "it is pending still")
        }
        try expectError(CancellationError.self) { _ = try kit.complete(task, on: loop) }
        try expect(try future.result(), equals: 1, "the future keeps its value")
    }

    static func aFutureOfAnotherLoopCannotBeAwaited(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let other = try kit.makeLoop()
        let future = LoopFuture<Int>(on: other)
        let task = loop.createTask { try await future.value }
        try expectError(.loopMismatch) { _ = try kit.complete(task, on: loop) }
    }

    static func aTaskCannotAwaitItself(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let itself = SharedValue<LoopTask<Void>?>(nil)
        let task = loop.createTask { if let task = itself.value { try await task.value } }
        itself.update { $0 = task }
        try expectError(.invalidState) { try kit.complete(task, on: loop) }
    }

    static func currentTaskIsTheOneThatRuns(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let names = SharedValue<[String]>([])
        @Sendable func note() {
            names.update { $0.append(Loop.running.currentTask?.name ?? "none") }
        }
        let task = loop.createTask(name: "outer") {
            note()
            Loop.running.callSoon { note() }
            let eager = Loop.running.createTask(name: "eager", eager: true) {
                note()
                try await sleep(.milliseconds(1))
                note()
            }
            note()
            try await eager.value
            note()
        }
        try kit.complete(task, on: loop)
        try expect(
            names.value, equals: ["outer", "eager", "outer", "none", "eager", "outer"])
        try expect(loop.currentTask == nil, "none outside")
    }

    static func aTaskNobodyKeepsRunsToItsEnd(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let ended = SharedValue(false)
        loop.createTask {
            // Nobody but the task knows of this future, and only its timer ends it.
            let future = LoopFuture<Void>(on: Loop.running)
            Loop.running.callLater(.milliseconds(1)) { try future.setResult(()) }
            try await future.value
            ended.update { $0 = true }
            Loop.running.stop()
        }
        try kit.run(loop)
        try expect(ended.value, "it ran to its end")
        try expect(loop.allTasks.count, equals: 0, "and is held no more")
    }

    static func sleepOfZeroYieldsOneTurn(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let order = SharedValue<[String]>([])
        let tasks = ["a", "b"].map { name in
            loop.createTask {
                for number in 0..<3 {
                    order.update { $0.append("\(name)\(number)") }
                    try await sleep(.zero)
                }
            }
        }
        for task in tasks { try kit.complete(task, on: loop) }
        try expect(order.value, equals: ["a0", "b0", "a1", "b1", "a2", "b2"])
    }

    static func sleepingUntilKeepsARhythm(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let start = loop.now
            var next = start
            for step in 1...3 {
                try await sleep(.milliseconds(400))
                next += .seconds(1)
                try await sleep(until: next)
                try expect(loop.seconds(since: start), equals: Int64(step), "seconds")
            }
            // What has passed is one turn.
            try await sleep(until: start)
            try expect(loop.seconds(since: start), equals: 3, "seconds after the past")
        }
    }

    static func cancellingASleeperRemovesItsTimer(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask { try await sleep(.seconds(1000)) }
        try kit.drain(loop)
        try expect(loop.statistics.timerCount, equals: 1)
        task.cancel()
        try kit.drain(loop)
        try expect(loop.statistics.timerCount, equals: 0)
        try expect(task.isCancelled, "it is cancelled")
    }

    static func anEagerTaskRunsInsideTheCall(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        loop.callSoon {
            let ready = loop.statistics.readyCount
            let task = loop.createTask(eager: true) { 5 }
            try expect(task.isDone, "it is done when createTask returns")
            try expect(try task.result(), equals: 5)
            try expect(loop.statistics.readyCount, equals: ready, "it was never queued")
            let slow = loop.createTask(eager: true) { () async throws -> Int in
                try await sleep(.milliseconds(1))
                return 6
            }
            try expect(!slow.isDone, "one that suspends goes on later")
            slow.addDoneCallback { task in
                try expect(try task.result(), equals: 6)
                loop.stop()
            }
        }
        try kit.run(loop)
    }

    static func aTaskPendingAtCloseIsReported(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var reports: [LoopExceptionContext] = []
        loop.exceptionHandler = { _, context in reports.append(context) }
        loop.createTask(name: "never ends") { try await LoopFuture<Void>(on: Loop.running).value }
        try kit.drain(loop)
        try loop.close()
        try expect(reports.count, equals: 1)
        try expect(reports.first?.message.contains("never ends") == true, "the task is named")
        let place = reports.first?.site?.description ?? ""
        try expect(place.contains("Tasks.swift:"), "and its place: \(place)")
    }

    static func anErrorOfATaskIsReportedWithItsPlace(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var reports: [LoopExceptionContext] = []
        loop.exceptionHandler = { _, context in reports.append(context) }
        loop.createTask { throw Failure() }
        try kit.drain(loop)
        try expect(reports.count, equals: 1)
        try expect(reports.first?.error is Failure, "it is the task's error")
        let place = reports.first?.site?.description ?? ""
        try expect(place.contains("Tasks.swift:"), "the place is named: \(place)")
    }

    static func tasksAreMadeFromThreads(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let handle = loop.handle
        let thread = try TestThread {
            for _ in 0..<100 {
                try handle.createTaskThreadSafe {
                    try expect(handle.isOnLoop, "it runs on the loop's thread")
                    try await sleep(.zero)
                }
            }
            try handle.createTaskThreadSafe { Loop.running.stop() }
        }
        try kit.run(loop)
        try thread.join()
        try kit.drain(loop)
        try expect(loop.allTasks.count, equals: 0)
        try loop.close()
        try expectError(.closed) { try handle.createTaskThreadSafe {} }
    }

    static func tasksMakeTasksAndCallbacks(_ kit: ConformanceKit) throws {
        // Its time stands still for as long as there is something else to do.
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        let order = SharedValue<[String]>([])
        let task = loop.createTask {
            let loop = Loop.running
            loop.callSoon { order.update { $0.append("callback") } }
            try loop.handle.callSoonThreadSafe { _ in order.update { $0.append("thread-safe") } }
            loop.callLater(.milliseconds(1)) { order.update { $0.append("timer") } }
            let inner = loop.createTask { order.update { $0.append("task") } }
            loop.createTask(eager: true) { order.update { $0.append("eager") } }
            try await inner.value
            try await sleep(.milliseconds(2))
        }
        try kit.complete(task, on: loop)
        try expect(order.value, equals: ["eager", "callback", "thread-safe", "task", "timer"])
    }

    static func swiftsOwnWaitsSeeTheCancellation(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let future = LoopFuture<Int>(on: loop)
        let task = loop.createTask {
            // The child waits, the body only for the child.
            async let child = future.value
            return try await child
        }
        try kit.drain(loop)
        loop.callLater(.milliseconds(1)) { task.cancel() }
        try expectError(CancellationError.self) { _ = try kit.complete(task, on: loop) }
        try expect(future.isCancelled, "what the child waited for is cancelled")
        let group = loop.createTask {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<3 { group.addTask { try await sleep(.seconds(100)) } }
                try await group.waitForAll()
            }
        }
        try kit.drain(loop)
        loop.callLater(.milliseconds(1)) { group.cancel() }
        try expectError(CancellationError.self) { try kit.complete(group, on: loop) }
        try expect(loop.statistics.timerCount, equals: 0)
    }
}
