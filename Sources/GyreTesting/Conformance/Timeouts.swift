// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// Limits of time: `waitFor` and `timeout`.
enum Timeouts {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "waitForGivesUpInTimeAndNotBefore", [], .timeouts, waitForGivesUpInTimeAndNotBefore),
        Behaviour("waitForOfZeroNeverStartsABody", [65], .timeouts, waitForOfZeroNeverStartsABody),
        Behaviour(
            "waitForReturnsWhatComesInSpiteOfIt", [66], .timeouts,
            waitForReturnsWhatComesInSpiteOfIt),
        Behaviour(
            "anErrorOfTheCleanUpReplacesTheTimeout", [67], .timeouts,
            anErrorOfTheCleanUpReplacesTheTimeout),
        Behaviour("cancellingWaitForCancels", [], .timeouts, cancellingWaitForCancels),
        Behaviour(
            "aCancellationAtTheLimitFailsOneWait", [], .timeouts,
            aCancellationAtTheLimitFailsOneWait),
        Behaviour(
            "aBodyThatNeverWaitsAlwaysFinishes", [68], .timeouts,
            aBodyThatNeverWaitsAlwaysFinishes),
        Behaviour("aTimeoutIsRescheduled", [69], .timeouts, aTimeoutIsRescheduled),
        Behaviour(
            "aTimeoutIsNotRescheduledWhenItIsOver", [69], .timeouts,
            aTimeoutIsNotRescheduledWhenItIsOver),
        Behaviour("timeoutsAreNested", [], .timeouts, timeoutsAreNested),
        Behaviour(
            "aTimeoutLeavesNothingBehindInTheTask", [], .timeouts,
            aTimeoutLeavesNothingBehindInTheTask),
        Behaviour("aTimeoutCancelsSwiftsOwnWaits", [], .timeouts, aTimeoutCancelsSwiftsOwnWaits),
        Behaviour("aCancellationPassesATimeout", [], .timeouts, aCancellationPassesATimeout),
        Behaviour(
            "aValueInTimeIsNotLostToACancellation", [], .timeouts,
            aValueInTimeIsNotLostToACancellation),
        Behaviour("timeoutsWorkInTasksOfSwift", [], .timeouts, timeoutsWorkInTasksOfSwift),
        Behaviour("limitsUseTheStateOfAnActor", [], .timeouts, limitsUseTheStateOfAnActor),
    ]

    /// Pinned to a loop, whose bodies use its state.
    private actor Worker {
        nonisolated let handle: LoopHandle
        nonisolated var unownedExecutor: UnownedSerialExecutor {
            handle.asUnownedSerialExecutor()
        }
        private var steps: [String] = []

        init(on handle: LoopHandle) { self.handle = handle }

        func work() async throws -> [String] {
            steps.append("begin")
            try await expectAsyncError(.timedOut) {
                try await timeout(.seconds(1)) { _ in
                    steps.append("limited")
                    try await sleep(.seconds(9))
                    steps.append("too late")
                }
            }
            try await withLoopTaskGroup { group in
                try group.createTask { try await self.note("task") }
                steps.append("group")
                try await sleep(.seconds(1))
            }
            try await waitFor(timeout: .seconds(1)) { steps.append("end") }
            return steps
        }

        private func note(_ step: String) async throws {
            try await sleep(.zero)
            steps.append(step)
        }
    }

    static func waitForGivesUpInTimeAndNotBefore(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let start = loop.now
            let slow = returning(1, after: 9)
            try await expectAsyncError(.timedOut) {
                _ = try await waitFor(slow, timeout: .seconds(2))
            }
            try expect(start.duration(to: loop.now), equals: .seconds(2))
            try expect(slow.isCancelled, "what came too late is cancelled")
            try await expectAsyncError(.timedOut) {
                try await waitFor(timeout: .seconds(2)) { try await sleep(.seconds(9)) }
            }
            try expect(start.duration(to: loop.now), equals: .seconds(4))
            try expect(try await waitFor(returning(1, after: 1), timeout: .seconds(2)), equals: 1)
            let text = try await waitFor(timeout: nil) {
                try await sleep(.seconds(1000))
                return "no limit"
            }
            try expect(text, equals: "no limit")
            try expect(try await waitFor(returning(2, after: 1000), timeout: nil), equals: 2)
            try await expectAsyncError(TimedFailure.self) {
                _ = try await waitFor(failing(after: 1), timeout: .seconds(2))
            }
            // In the same instant: who was first to end counts.
            let future = LoopFuture<Int>(on: loop)
            loop.callLater(.seconds(1)) { try future.setResult(3) }
            try expect(try await waitFor(future, timeout: .seconds(1)), equals: 3)
        }
    }

    static func waitForOfZeroNeverStartsABody(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let began = SharedValue(0)
            for limit in [Duration.zero, .seconds(-1)] {
                try await expectAsyncError(.timedOut) {
                    try await waitFor(timeout: limit) { began.update { $0 += 1 } }
                }
                let task = Loop.running.createTask { began.update { $0 += 1 } }
                try await expectAsyncError(.timedOut) { try await waitFor(task, timeout: limit) }
                try expect(task.isCancelled, "a task that did not begin is cancelled")
            }
            try expect(began.value, equals: 0, "bodies that began")
            let done = returning(5, after: 0)
            _ = try await done.value
            try expect(try await waitFor(done, timeout: .zero), equals: 5)
            try expect(try await waitFor(done, timeout: .seconds(-5)), equals: 5)
        }
    }

    static func waitForReturnsWhatComesInSpiteOfIt(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let start = Loop.running.now
            let value = try await waitFor(timeout: .seconds(1)) { () async throws -> Int in
                do { try await sleep(.seconds(100)) } catch { try await sleep(.seconds(2)) }
                return 7
            }
            try expect(value, equals: 7)
            try expect(Loop.running.seconds(since: start), equals: 3, "it cleaned up meanwhile")
            let task = stubborn(8, for: 2)
            try await sleep(.zero)
            try expect(try await waitFor(task, timeout: .seconds(1)), equals: 8)
        }
    }

    static func anErrorOfTheCleanUpReplacesTheTimeout(_ kit: ConformanceKit) throws {
        try kit.runTask {
            try await expectAsyncError(TimedFailure.self) {
                try await waitFor(timeout: .seconds(1)) {
                    do { try await sleep(.seconds(100)) } catch { throw TimedFailure() }
                }
            }
            let task = Loop.running.createTask {
                do { try await sleep(.seconds(100)) } catch { throw TimedFailure() }
            }
            try await expectAsyncError(TimedFailure.self) {
                try await waitFor(task, timeout: .seconds(1))
            }
            try await expectAsyncError(TimedFailure.self) {
                try await timeout(.seconds(1)) { limit in
                    do { try await sleep(.seconds(100)) } catch {
                        try expect(limit.hasExpired, "the time is up")
                        throw TimedFailure()
                    }
                }
            }
        }
    }

    static func cancellingWaitForCancels(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let work = returning(1, after: 9)
            let waiter = Loop.running.createTask { try await waitFor(work, timeout: .seconds(5)) }
            try await sleep(.seconds(1))
            waiter.cancel()
            try await expectAsyncError(CancellationError.self) { _ = try await waiter.value }
            try expect(work.isCancelled, "the work is cancelled with who waits for it")
            // Both: the cancellation is the one that must not be lost.
            let slow = Loop.running.createTask {
                do { try await sleep(.seconds(99)) } catch {
                    do { try await sleep(.seconds(99)) } catch {}
                    throw error
                }
            }
            let both = Loop.running.createTask { try await waitFor(slow, timeout: .seconds(1)) }
            try await sleep(.seconds(2))
            both.cancel()
            try await expectAsyncError(CancellationError.self) { try await both.value }
            try expect(slow.isCancelled && both.isCancelled, "both are cancelled")
        }
    }

    /// The time is up, and in the same iteration the task that waits is cancelled.
    static func aCancellationAtTheLimitFailsOneWait(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let never = LoopFuture<Int>(on: loop)
            let waiter = loop.createTask {
                try await expectAsyncError(CancellationError.self) {
                    _ = try await waitFor(never, timeout: .seconds(1))
                }
                // To clean up, say.
                try await sleep(.seconds(1))
            }
            try await sleep(.zero)
            loop.callLater(.seconds(1)) { waiter.cancel() }
            try await waiter.value
            try expect(never.isCancelled, "what came too late is cancelled")
        }
    }

    static func aBodyThatNeverWaitsAlwaysFinishes(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let past = Loop.running.now.advanced(by: .seconds(-5))
            let value = try await timeout(at: past) { limit in
                try expect(limit.when, equals: past)
                return 1
            }
            try expect(value, equals: 1)
            try expect(try await timeout(.seconds(-1)) { _ in 2 }, equals: 2)
            let loop = try await timeout(.zero) { _ in Loop.running }
            try expect(loop === Loop.running, "also what is not Sendable is returned")
            try await expectAsyncError(.timedOut) {
                try await timeout(at: past) { _ in try await sleep(.seconds(1)) }
            }
        }
    }

    static func aTimeoutIsRescheduled(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let start = loop.now
            try await timeout(.seconds(2)) { limit in
                try await sleep(.seconds(1))
                try limit.reschedule(.seconds(5))
                try expect(limit.when, equals: start.advanced(by: .seconds(6)))
                try await sleep(.seconds(4))
            }
            try expect(loop.seconds(since: start), equals: 5, "later")
            try await expectAsyncError(.timedOut) {
                try await timeout(.seconds(60)) { limit in
                    try limit.reschedule(at: start.advanced(by: .seconds(7)))
                    try await sleep(.seconds(9))
                }
            }
            try expect(loop.seconds(since: start), equals: 7, "earlier")
            try await timeout(.seconds(1)) { limit in
                try limit.reschedule(nil)
                try expect(limit.when == nil && !limit.hasExpired, "it is off")
                try await sleep(.seconds(9))
            }
            try expect(loop.seconds(since: start), equals: 16, "off")
            try await expectAsyncError(.timedOut) {
                try await timeout(nil) { limit in
                    try limit.reschedule(.seconds(1))
                    try await sleep(.seconds(9))
                }
            }
            try expect(loop.seconds(since: start), equals: 17, "on")
        }
    }

    static func aTimeoutIsNotRescheduledWhenItIsOver(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let limit = try await timeout(.seconds(1)) { limit in limit }
            try expect(!limit.hasExpired, "the body ended in time")
            try expectError(.invalidState) { try limit.reschedule(.seconds(5)) }
            try expectError(.invalidState) { try limit.reschedule(nil) }
            var late: LoopTimeout?
            try await expectAsyncError(.timedOut) {
                try await timeout(.seconds(1)) { limit in
                    late = limit
                    do {
                        try await sleep(.seconds(9))
                    } catch {
                        try expectError(.invalidState) { try limit.reschedule(.seconds(5)) }
                        throw error
                    }
                }
            }
            try expect(late?.hasExpired, equals: true)
        }
    }

    static func timeoutsAreNested(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let start = Loop.running.now
            var steps: [String] = []
            // The inner one, and the outer body goes on.
            try await timeout(.seconds(9)) { _ in
                try await expectAsyncError(.timedOut) {
                    try await timeout(.seconds(1)) { _ in try await sleep(.seconds(5)) }
                }
                try await sleep(.seconds(1))
                steps.append("inner")
            }
            // The outer one, through the inner one, which has time left.
            try await expectAsyncError(.timedOut) {
                try await timeout(.seconds(2)) { _ in
                    try await expectAsyncError(CancellationError.self) {
                        try await timeout(.seconds(9)) { _ in try await sleep(.seconds(99)) }
                    }
                    steps.append("cancelled")
                    throw CancellationError()
                }
            }
            try expect(Loop.running.seconds(since: start), equals: 4)
            // Both in the same instant: that is the outer one's.
            try await expectAsyncError(.timedOut) {
                try await timeout(.seconds(1)) { outer in
                    do {
                        try await timeout(.seconds(1)) { _ in try await sleep(.seconds(99)) }
                    } catch {
                        try expect(outer.hasExpired, "the outer time is up")
                        steps.append("both")
                        throw error
                    }
                }
            }
            try expect(steps, equals: ["inner", "cancelled", "both"])
        }
    }

    static func aTimeoutLeavesNothingBehindInTheTask(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let task = Loop.running.currentTask
            var count = 0
            for _ in 0..<3 {
                try await expectAsyncError(.timedOut) {
                    try await timeout(.seconds(1)) { _ in
                        count += 1
                        try await sleep(.seconds(9))
                    }
                }
                try expect(task?.cancelling, equals: 0, "the task was not cancelled")
                try expect(!Task.isCancelled, "not for Swift, either")
                try await sleep(.seconds(1))
                async let child: Void = sleep(.seconds(1))
                try await child
            }
            try expect(count, equals: 3)
            try expect(task?.name, equals: "test")
        }
    }

    static func aTimeoutCancelsSwiftsOwnWaits(_ kit: ConformanceKit) throws {
        try kit.runTask {
            try await expectAsyncError(.timedOut) {
                try await timeout(.seconds(1)) { _ in
                    async let child: Void = sleep(.seconds(9))
                    try await child
                }
            }
            try await expectAsyncError(.timedOut) {
                try await timeout(.seconds(1)) { _ in
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for _ in 0..<3 { group.addTask { try await sleep(.seconds(9)) } }
                        try await group.waitForAll()
                    }
                }
            }
        }
    }

    static func aCancellationPassesATimeout(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let caught = SharedValue(0)
            let task = Loop.running.createTask {
                try await timeout(.seconds(60)) { limit in
                    for _ in 0..<2 {
                        do { try await sleep(.seconds(9)) } catch { caught.update { $0 += 1 } }
                    }
                    try expect(!limit.hasExpired, "it was not the limit")
                    try await sleep(.seconds(9))
                }
            }
            for _ in 0..<3 {
                try await sleep(.seconds(1))
                task.cancel()
            }
            try await expectAsyncError(CancellationError.self) { try await task.value }
            try expect(caught.value, equals: 2, "each cancellation came through once")
            try expect(task.isCancelled, "it is cancelled, not timed out")
            let early = Loop.running.createTask(eager: true) {
                // Cancelled before it waits: the body's first wait fails.
                Loop.running.currentTask?.cancel(nil)
                try await timeout(.seconds(60)) { _ in try await sleep(.seconds(9)) }
            }
            try await expectAsyncError(CancellationError.self) { try await early.value }
        }
    }

    static func aValueInTimeIsNotLostToACancellation(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let future = LoopFuture<Int>(on: loop)
            let got = SharedValue(0)
            let task = loop.createTask {
                let value = try await timeout(.seconds(60)) { _ in try await future.value }
                got.update { $0 = value }
                try await sleep(.seconds(9))
            }
            try await sleep(.zero)
            try future.setResult(5)
            // The body has ended, and the task did not go on yet.
            future.addDoneCallback { _ in task.cancel() }
            try await expectAsyncError(CancellationError.self) { try await task.value }
            try expect(got.value, equals: 5, "the value arrived, the next wait was cancelled")
        }
    }

    static func timeoutsWorkInTasksOfSwift(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let handle = Loop.running.handle
            let task = Task(executorPreference: handle) {
                try await expectAsyncError(.timedOut) {
                    try await timeout(.seconds(1)) { _ in try await sleep(.seconds(9)) }
                }
                try await expectAsyncError(.timedOut) {
                    _ = try await waitFor(returning(1, after: 9), timeout: .seconds(1))
                }
                try expect(!Task.isCancelled, "the task was not cancelled")
                return try await timeout(.seconds(2)) { _ in
                    try await sleep(.seconds(1))
                    return 3
                }
            }
            try expect(try await LoopFuture(wrapping: task, on: Loop.running).value, equals: 3)
            let cancelled = Task(executorPreference: handle) {
                try await timeout(.seconds(60)) { _ in try await sleep(.seconds(9)) }
            }
            Loop.running.callLater(.seconds(1)) { cancelled.cancel() }
            let future = LoopFuture(wrapping: cancelled, on: Loop.running)
            try await expectAsyncError(CancellationError.self) { try await future.value }
        }
    }

    static func limitsUseTheStateOfAnActor(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let steps = try await Worker(on: Loop.running.handle).work()
            try expect(steps, equals: ["begin", "limited", "group", "task", "end"])
        }
    }
}
