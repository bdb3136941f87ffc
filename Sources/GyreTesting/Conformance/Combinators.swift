// SPDX-License-Identifier: Apache-2.0

// It has a `wait` and a `sleep` of its own, which must not be in the way.
import Glibc
import GyreCore
import GyreTasks

/// `wait`, `race`, `shield`, `asCompleted`.
enum Combinators {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "cancellingWaitLeavesTheTasksRunning", [62], .combinators,
            cancellingWaitLeavesTheTasksRunning),
        Behaviour(
            "waitWithATimeoutCancelsNothing", [63], .combinators, waitWithATimeoutCancelsNothing),
        Behaviour(
            "waitReturnsWhenItWasAskedTo", [], .combinators, waitReturnsWhenItWasAskedTo),
        Behaviour(
            "waitTakesFuturesOfSeveralTypes", [], .combinators, waitTakesFuturesOfSeveralTypes),
        Behaviour("waitKeepsNoCallbacks", [], .combinators, waitKeepsNoCallbacks),
        Behaviour(
            "waitRefusesWhatItCannotWaitFor", [], .combinators, waitRefusesWhatItCannotWaitFor),
        Behaviour(
            "theFirstOfARaceCancelsTheOthers", [64], .combinators, theFirstOfARaceCancelsTheOthers),
        Behaviour("aRaceMayBeLost", [64], .combinators, aRaceMayBeLost),
        Behaviour(
            "cancellingWhoAwaitsARaceCancelsAll", [64], .combinators,
            cancellingWhoAwaitsARaceCancelsAll),
        Behaviour(
            "cancellingAShieldLeavesTheTaskRunning", [70], .combinators,
            cancellingAShieldLeavesTheTaskRunning),
        Behaviour(
            "cancellingAShieldedTaskCancelsTheWaiter", [70], .combinators,
            cancellingAShieldedTaskCancelsTheWaiter),
        Behaviour("aShieldEndsAsItsTask", [70], .combinators, aShieldEndsAsItsTask),
        Behaviour(
            "asCompletedGivesTheFirstFirst", [73], .combinators, asCompletedGivesTheFirstFirst),
        Behaviour(
            "asCompletedReportsTheTimeoutForTheRest", [73], .combinators,
            asCompletedReportsTheTimeoutForTheRest),
        Behaviour(
            "asCompletedCanBeLeftAndCancelled", [73], .combinators,
            asCompletedCanBeLeftAndCancelled),
    ]

    // MARK: wait

    static func cancellingWaitLeavesTheTasksRunning(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let tasks = [returning(1, after: 3), returning(2, after: 4)]
            let waiter = Loop.running.createTask { _ = try await wait(tasks) }
            try await sleep(.seconds(1))
            waiter.cancel()
            try await expectAsyncError(CancellationError.self) { try await waiter.value }
            try expect(tasks.map(\.isDone), equals: [false, false], "they go on")
            try expect(try await gather(tasks).value, equals: [1, 2])
        }
    }

    static func waitWithATimeoutCancelsNothing(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let start = Loop.running.now
            let tasks = [returning(1, after: 1), returning(2, after: 5), returning(3, after: 2)]
            let (done, pending) = try await wait(tasks, timeout: .seconds(3))
            try expect(Loop.running.seconds(since: start), equals: 3)
            try expect(try done.map { try $0.result() }, equals: [1, 3], "done, in order")
            try expect(pending.map(ObjectIdentifier.init), equals: [ObjectIdentifier(tasks[1])])
            try expect(!tasks[1].isDone, "the pending one goes on")
            try expect(try await tasks[1].value, equals: 2)
            let late = try await wait(tasks, timeout: .zero)
            try expect(late.done.count, equals: 3, "what is done needs no time")
        }
    }

    static func waitReturnsWhenItWasAskedTo(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let start = loop.now
            let tasks = [
                failing(after: 3), returning(1, after: 1), returning(0, after: 2),
                returning(4, after: 4),
            ]
            loop.callLater(.seconds(2)) { tasks[2].cancel() }
            let first = try await wait(tasks, returnWhen: .firstCompleted)
            try expect(loop.seconds(since: start), equals: 1)
            try expect(first.done.count, equals: 1)
            let second = try await wait(first.pending, returnWhen: .firstError)
            try expect(loop.seconds(since: start), equals: 3, "a cancellation is no error")
            try expect(second.pending.count, equals: 1)
            let third = try await wait(tasks + tasks)
            try expect(loop.seconds(since: start), equals: 4)
            try expect(third.done.count, equals: 4, "each once")
            try expect(third.pending.count, equals: 0)
            let fourth = try await wait(second.pending, returnWhen: .firstError)
            try expect(fourth.done.count, equals: 1, "without errors, when all are done")
            try expect(try tasks[0].error() is TimedFailure, "wait looked at no error")
        }
    }

    static func waitTakesFuturesOfSeveralTypes(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let number = returning(1, after: 1)
            let text = LoopFuture<String>(on: Loop.running)
            let (done, pending) = try await wait([number, text], returnWhen: .firstCompleted)
            try expect(done.map(ObjectIdentifier.init), equals: [ObjectIdentifier(number)])
            for future in pending { future.cancel() }
            try expect(text.isCancelled, "what is pending can be cancelled")
        }
    }

    static func waitKeepsNoCallbacks(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let lasting = LoopFuture<Int>(on: Loop.running)
            for _ in 0..<1000 {
                let pending = try await wait([lasting], timeout: .milliseconds(1)).pending
                try expect(pending.count, equals: 1)
            }
            for _ in 0..<100 {
                try await expectAsyncError(.timedOut) {
                    _ = try await waitFor(shield(lasting), timeout: .milliseconds(1))
                }
                for try await _ in asCompleted([lasting, returning(1, after: 1)]) { break }
                let waiter = Loop.running.createTask(eager: true) { _ = try await wait([lasting]) }
                waiter.cancel()
                try await expectAsyncError(CancellationError.self) { try await waiter.value }
            }
            try expect(lasting.waiterCount, equals: 0, "registrations left behind")
        }
    }

    static func waitRefusesWhatItCannotWaitFor(_ kit: ConformanceKit) throws {
        let other = LoopFuture<Int>(on: try kit.makeLoop())
        try kit.runTask {
            try await expectAsyncError(.invalidArgument) {
                _ = try await wait([LoopFuture<Int>]())
            }
            try await expectAsyncError(.loopMismatch) { _ = try await wait([other]) }
            try await expectAsyncError(.loopMismatch) {
                for try await _ in asCompleted([other]) {}
            }
            try await expectAsyncError(.loopMismatch) {
                _ = try await race(LoopFuture<Int>(on: Loop.running), other).value
            }
            try await expectAsyncError(.loopMismatch) {
                _ = try await waitFor(other, timeout: .seconds(1))
            }
        }
    }

    // MARK: race

    static func theFirstOfARaceCancelsTheOthers(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let start = Loop.running.now
            let slow = stubborn(0, for: 3)
            let other = returning(2, after: 9)
            let future = LoopFuture<Int>(on: Loop.running)
            let winner = try await race(slow, returning(1, after: 1), other, future).value
            try expect(winner, equals: 1)
            try expect(other.isCancelled && future.isCancelled, "the others are cancelled")
            try expect(slow.isDone, "and have ended")
            try expect(Loop.running.seconds(since: start), equals: 4, "which takes its time")
            let text = try await race(
                {
                    try await sleep(.seconds(5))
                    return "slow"
                },
                {
                    try await sleep(.seconds(1))
                    return "fast"
                }
            ).value
            try expect(text, equals: "fast")
            try expect(Loop.running.seconds(since: start), equals: 5)
        }
    }

    static func aRaceMayBeLost(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let other = returning(1, after: 9)
            let error = try await expectAsyncError(TimedFailure.self) {
                _ = try await race(failing(3, after: 1), other).value
            }
            try expect(error.number, equals: 3, "the first to end counts, also with an error")
            try expect(other.isCancelled, "the others are cancelled")
            try await expectAsyncError(.invalidArgument) {
                _ = try await race([LoopFuture<Int>]()).value
            }
        }
    }

    static func cancellingWhoAwaitsARaceCancelsAll(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let start = Loop.running.now
            let tasks = [returning(1, after: 8), stubborn(2, for: 2), returning(3, after: 9)]
            let waiter = Loop.running.createTask { try await race(tasks).value }
            try await sleep(.seconds(1))
            waiter.cancel()
            try await expectAsyncError(CancellationError.self) { _ = try await waiter.value }
            try expect(tasks.map(\.isCancelled), equals: [true, false, true])
            try expect(tasks.map(\.isDone), equals: [true, true, true], "all have ended")
            try expect(Loop.running.seconds(since: start), equals: 3, "the slow one, too")
        }
    }

    // MARK: shield

    static func cancellingAShieldLeavesTheTaskRunning(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let work = returning("done", after: 3)
            let waiter = Loop.running.createTask { try await shield(work).value }
            try await sleep(.seconds(1))
            waiter.cancel()
            try await expectAsyncError(CancellationError.self) { _ = try await waiter.value }
            try expect(!work.isDone, "the work goes on")
            try expect(try await work.value, equals: "done")
        }
    }

    static func cancellingAShieldedTaskCancelsTheWaiter(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let work = returning("done", after: 3)
            let waiter = Loop.running.createTask { try await shield(work).value }
            try await sleep(.seconds(1))
            work.cancel()
            try await expectAsyncError(CancellationError.self) { _ = try await waiter.value }
            try expect(waiter.isCancelled, "the waiter is cancelled")
        }
    }

    static func aShieldEndsAsItsTask(_ kit: ConformanceKit) throws {
        try kit.runTask {
            try expect(try await shield(returning(1, after: 1)).value, equals: 1)
            try await expectAsyncError(TimedFailure.self) {
                _ = try await shield(failing(after: 1)).value
            }
            let done = returning(2, after: 0)
            _ = try await done.value
            try expect(shield(done).isDone, "that of a task that has ended has ended")
        }
    }

    // MARK: asCompleted

    static func asCompletedGivesTheFirstFirst(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let tasks = [returning(3, after: 3), returning(1, after: 1), failing(2, after: 2)]
            var ended: [Int] = []
            for try await task in asCompleted(tasks + tasks) {
                do { ended.append(try task.result()) } catch { ended.append(-1) }
            }
            try expect(ended, equals: [1, -1, 3], "each once")
            for try await _ in asCompleted([LoopFuture<Int>]()) {
                throw ConformanceFailure("there is nothing to give")
            }
            // The type of what is made here is kept.
            for try await task in asCompleted([5, 4].map { returning($0, after: $0) }) {
                ended.append(try task.result())
            }
            try expect(ended, equals: [1, -1, 3, 4, 5])
            let text = returning("text", after: 1)
            var count = 0
            for try await future in asCompleted([text, returning(1, after: 2)]) {
                if count == 0 { try expect(future === text, "futures of several types") }
                count += 1
            }
            try expect(count, equals: 2)
        }
    }

    static func asCompletedReportsTheTimeoutForTheRest(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let start = Loop.running.now
            let tasks = [returning(9, after: 9), returning(1, after: 1), returning(2, after: 2)]
            var ended: [Int] = []
            try await expectAsyncError(.timedOut) {
                for try await task in asCompleted(tasks, timeout: .seconds(5)) {
                    ended.append(try task.result())
                    // The others are done when they are asked for: no reason for a timeout.
                    if ended.count == 1 { try await sleep(.seconds(6)) }
                }
            }
            try expect(ended, equals: [1, 2], "what was done was given")
            try expect(Loop.running.seconds(since: start), equals: 7)
            try expect(!tasks[0].isDone, "the rest goes on")
            try expect(try await tasks[0].value, equals: 9)
            for try await _ in asCompleted(tasks, timeout: .zero) { ended.append(0) }
            try expect(ended.count, equals: 5, "what is done needs no time")
        }
    }

    static func asCompletedCanBeLeftAndCancelled(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let tasks = [returning(1, after: 1), returning(5, after: 5)]
            for try await task in asCompleted(tasks, timeout: .seconds(60)) {
                try expect(try task.result(), equals: 1)
                break
            }
            try expect(Loop.running.statistics.timerCount, equals: 1, "that of the task alone")
            let waiter = Loop.running.createTask {
                for try await _ in asCompleted(tasks.suffix(1)) {}
            }
            try await sleep(.seconds(1))
            waiter.cancel()
            try await expectAsyncError(CancellationError.self) { try await waiter.value }
            try expect(!tasks[1].isDone, "the tasks are left alone")
            try expect(try await tasks[1].value, equals: 5)
        }
    }
}
