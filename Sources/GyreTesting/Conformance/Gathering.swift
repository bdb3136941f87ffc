// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// `gather`.
enum Gathering {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "gatherKeepsTheOrderOfItsArguments", [56], .combinators,
            gatherKeepsTheOrderOfItsArguments),
        Behaviour("gatherOfNothingIsDone", [56], .combinators, gatherOfNothingIsDone),
        Behaviour(
            "gatherFailsAtOnceAndTheOthersGoOn", [57], .combinators,
            gatherFailsAtOnceAndTheOthersGoOn),
        Behaviour(
            "gatherPutsErrorsInTheirPlaces", [58], .combinators, gatherPutsErrorsInTheirPlaces),
        Behaviour(
            "cancellingGatherCancelsItsChildren", [59], .combinators,
            cancellingGatherCancelsItsChildren),
        Behaviour(
            "cancellingWhoAwaitsGatherCancelsItsChildren", [59], .combinators,
            cancellingWhoAwaitsGatherCancelsItsChildren),
        Behaviour(
            "aChildCancelledElsewhereCancelsGather", [60], .combinators,
            aChildCancelledElsewhereCancelsGather),
        Behaviour(
            "gatherAwaitsTheSameFutureOnce", [61], .combinators, gatherAwaitsTheSameFutureOnce),
        Behaviour(
            "gatherReportsErrorsItCannotPassOn", [], .combinators,
            gatherReportsErrorsItCannotPassOn),
        Behaviour(
            "gatherNeedsFuturesOfOneLoop", [], .combinators, gatherNeedsFuturesOfOneLoop),
        Behaviour("gatherLetsGoOfItsChildren", [], .combinators, gatherLetsGoOfItsChildren),
    ]

    static func gatherKeepsTheOrderOfItsArguments(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let start = loop.now
            let tasks = [3, 1, 2].map { returning($0, after: $0) }
            try expect(try await gather(tasks).value, equals: [3, 1, 2])
            try expect(loop.seconds(since: start), equals: 3, "they ran side by side")
            let future = LoopFuture<String>(on: loop)
            loop.callLater(.seconds(2)) { try future.setResult("two") }
            let (number, text) = try await gather(returning(3, after: 3), future).value
            try expect(number, equals: 3)
            try expect(text, equals: "two")
        }
    }

    static func gatherOfNothingIsDone(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let nothing = gather([LoopFuture<Int>]())
            try expect(nothing.isDone, "it is done at once")
            try expect(try await nothing.value, equals: [])
            try expect(gather(errorsAsResults: [LoopFuture<Int>]()).isDone, "and so is this one")
            try expect(gather().isDone, "and one without arguments")
        }
    }

    static func gatherFailsAtOnceAndTheOthersGoOn(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let start = loop.now
            let slow = returning(7, after: 3)
            let error = try await expectAsyncError(TimedFailure.self) {
                _ = try await gather(slow, failing(1, after: 1), returning("", after: 2)).value
            }
            try expect(error.number, equals: 1)
            try expect(loop.seconds(since: start), equals: 1, "it fails at once")
            try expect(!slow.isDone, "the others go on")
            try expect(try await slow.value, equals: 7)
            try expect(loop.seconds(since: start), equals: 3)
        }
    }

    static func gatherPutsErrorsInTheirPlaces(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let cancelled = returning(0, after: 9)
            Loop.running.callLater(.seconds(1)) { cancelled.cancel() }
            let tasks = [returning(1, after: 2), failing(5, after: 1), cancelled]
            let results = try await gather(errorsAsResults: tasks).value
            try expect(results.count, equals: 3)
            try expect(try results[0].get(), equals: 1)
            let error = try expectError(TimedFailure.self) { _ = try results[1].get() }
            try expect(error.number, equals: 5)
            try expectError(CancellationError.self) { _ = try results[2].get() }

            let pair = gather(errorsAsResults: failing(6, after: 1), returning("text", after: 2))
            let (first, second) = try await pair.value
            try expectError(TimedFailure.self) { _ = try first.get() }
            try expect(try second.get(), equals: "text")
        }
    }

    static func cancellingGatherCancelsItsChildren(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let done = returning(0, after: 1)
            let tasks = [done, returning(1, after: 8), returning(2, after: 9)]
            let future = LoopFuture<Int>(on: Loop.running)
            let all = gather(tasks + [future])
            try await sleep(.seconds(2))
            try expect(all.cancel(), "it is cancelled")
            try await expectAsyncError(CancellationError.self) { _ = try await all.value }
            try expect(all.isCancelled && !all.cancel(), "it is cancelled, once")
            try expect(
                tasks.map(\.isCancelled), equals: [false, true, true], "the unfinished ones are")
            try expect(future.isCancelled, "and the future")
            try expect(try done.result(), equals: 0, "the finished one keeps its value")
            let late = [stubborn(1, for: 3), returning(2, after: 1)]
            let results = gather(errorsAsResults: late)
            try await sleep(.seconds(2))
            let start = Loop.running.now
            results.cancel()
            try await expectAsyncError(CancellationError.self) { _ = try await results.value }
            try expect(Loop.running.seconds(since: start), equals: 3, "it waits for the slow one")
        }
    }

    static func cancellingWhoAwaitsGatherCancelsItsChildren(_ kit: ConformanceKit) throws {
        try kit.runTask {
            for keepsErrors in [false, true] {
                let tasks = [returning(1, after: 8), returning(2, after: 9)]
                let waiter = Loop.running.createTask {
                    if keepsErrors {
                        _ = try await gather(errorsAsResults: tasks).value
                    } else {
                        _ = try await gather(tasks).value
                    }
                }
                try await sleep(.seconds(1))
                waiter.cancel()
                try await expectAsyncError(CancellationError.self) { try await waiter.value }
                try expect(waiter.isCancelled, "the waiter is cancelled")
                try expect(tasks.map(\.isCancelled), equals: [true, true], "the children, too")
            }
        }
    }

    static func aChildCancelledElsewhereCancelsGather(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let victim = returning(1, after: 8)
            let sibling = returning(2, after: 4)
            let start = Loop.running.now
            Loop.running.callLater(.seconds(1)) { victim.cancel() }
            try await expectAsyncError(CancellationError.self) {
                _ = try await gather(victim, sibling).value
            }
            try expect(Loop.running.seconds(since: start), equals: 1, "at once")
            try expect(!sibling.isDone, "the sibling goes on")
            try expect(try await sibling.value, equals: 2)
        }
    }

    static func gatherAwaitsTheSameFutureOnce(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let future = LoopFuture<Int>(on: Loop.running)
            let all = gather([future, future])
            try expect(future.waiterCount, equals: 1, "it is waited for once")
            try future.setResult(4)
            try expect(try await all.value, equals: [4, 4])
        }
    }

    static func gatherReportsErrorsItCannotPassOn(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        var reports: [TimedFailure?] = []
        loop.exceptionHandler = { _, context in reports.append(context.error as? TimedFailure) }
        let task = loop.createTask {
            let all = gather(failing(1, after: 1), failing(2, after: 2))
            try await expectAsyncError(TimedFailure.self) { _ = try await all.value }
            try await sleep(.seconds(2))
        }
        try kit.complete(task, on: loop)
        try kit.drain(loop)
        try expect(reports, equals: [TimedFailure(number: 2)], "the second error, once")
    }

    static func gatherNeedsFuturesOfOneLoop(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let other = try kit.makeLoop()
        let all = gather(LoopFuture<Int>(on: loop), LoopFuture<Int>(on: other))
        try expectError(.loopMismatch) { _ = try kit.complete(all, on: loop) }
    }

    static func gatherLetsGoOfItsChildren(_ kit: ConformanceKit) throws {
        try kit.runTask {
            // Fails again and again beside a future that stays.
            let lasting = LoopFuture<Int>(on: Loop.running)
            for number in 0..<100 {
                let failed = LoopFuture<Int>(on: Loop.running)
                try failed.setError(TimedFailure(number: number))
                try await expectAsyncError(TimedFailure.self) {
                    _ = try await gather(lasting, failed).value
                }
            }
            try expect(lasting.waiterCount, equals: 0, "registrations left behind")
        }
    }
}
