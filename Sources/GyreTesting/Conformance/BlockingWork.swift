// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// Code that blocks, on the threads of a pool.
enum BlockingWork {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "blockingCodeRunsOnAnotherThread", [29], .blockingWork,
            blockingCodeRunsOnAnotherThread),
        Behaviour(
            "blockingCodeDoesNotHoldTheLoopUp", [29], .blockingWork,
            blockingCodeDoesNotHoldTheLoopUp),
        Behaviour(
            "aCancelledCallDropsItsResult", [30], .blockingWork, aCancelledCallDropsItsResult),
        Behaviour(
            "aCancelledCallThatWaitsNeverBegins", [30], .blockingWork,
            aCancelledCallThatWaitsNeverBegins),
        Behaviour("aPoolHasNoMoreThreads", [], .blockingWork, aPoolHasNoMoreThreads),
        Behaviour(
            "theExecutorFinishesBeforeItIsShutDown", [31], .blockingWork,
            theExecutorFinishesBeforeItIsShutDown),
        Behaviour(
            "theShutdownOfTheExecutorGivesUpInTime", [31], .blockingWork,
            theShutdownOfTheExecutorGivesUpInTime),
        Behaviour(
            "aCallOutlivesItsLoop", [], .blockingWork, aCallOutlivesItsLoop),
    ]

    static func blockingCodeRunsOnAnotherThread(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let handle = Loop.running.handle
            let future = Loop.running.runInExecutor {
                try expect(!handle.isOnLoop, "the work is not on the loop's thread")
                return 5
            }
            let told = LoopFuture<Bool>(on: Loop.running)
            future.addDoneCallback { _ in try told.setResult(handle.isOnLoop) }
            try expect(try await future.value, equals: 5)
            try expect(try await told.value, "the callback is on the loop's thread")
            let error = try await expectAsyncError(TimedFailure.self) {
                _ = try await Loop.running.runInExecutor { () throws -> Int in
                    throw TimedFailure(number: 3)
                }.value
            }
            try expect(error.number, equals: 3)
        }
    }

    static func blockingCodeDoesNotHoldTheLoopUp(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let latch = Latch()
            let future = Loop.running.runInExecutor { latch.wait() }
            try await sleep(.seconds(1))
            try expect(!future.isDone, "the work blocks, the loop goes on")
            latch.open()
            try expect(try await future.value, "the latch was opened")
        }
    }

    static func aCancelledCallDropsItsResult(_ kit: ConformanceKit) throws {
        // An error that reached the exception handler would end the run.
        try kit.runTask {
            let pool = LoopThreadPool(threadsMax: 1)
            let began = Latch()
            let latch = Latch()
            let future = Loop.running.runInExecutor(pool) { () throws -> Int in
                began.open()
                try expect(latch.wait(), "the latch was opened")
                throw TimedFailure()
            }
            try expect(began.wait(), "the work began")
            try expect(future.cancel(), "it is cancelled")
            try expect(future.isCancelled, "at once")
            latch.open()
            // Behind it on the only thread.
            try await Loop.running.runInExecutor(pool) {}.value
            try await expectAsyncError(CancellationError.self) { _ = try await future.value }
            let waiter = Loop.running.createTask(eager: true) {
                try await Loop.running.runInExecutor(pool) { 1 }.value
            }
            waiter.cancel()
            try await expectAsyncError(CancellationError.self) { _ = try await waiter.value }
            try await Loop.running.runInExecutor(pool) {}.value
        }
    }

    static func aCancelledCallThatWaitsNeverBegins(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let pool = LoopThreadPool(threadsMax: 1)
            let latch = Latch()
            let began = SharedValue(false)
            let first = Loop.running.runInExecutor(pool) { latch.wait() }
            let second = Loop.running.runInExecutor(pool) { began.update { $0 = true } }
            try expect(pool.jobCount, equals: 2)
            second.cancel()
            latch.open()
            _ = try await first.value
            try await Loop.running.runInExecutor(pool) {}.value
            try expect(!began.value, "it never began")
            try await expectAsyncError(CancellationError.self) { try await second.value }
        }
    }

    static func aPoolHasNoMoreThreads(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let pool = LoopThreadPool(threadsMax: 2)
            let running = SharedValue((now: 0, most: 0))
            let both = [Latch(), Latch()]
            let futures = (0..<20).map { number in
                Loop.running.runInExecutor(pool) {
                    running.update { running in
                        running.now += 1
                        running.most = max(running.most, running.now)
                    }
                    // The first two meet, so that both threads are seen.
                    if number < 2 {
                        both[number].open()
                        try expect(both[1 - number].wait(), "two calls run at the same time")
                    }
                    running.update { $0.now -= 1 }
                    return number
                }
            }
            try expect(try await gather(futures).value, equals: Array(0..<20))
            try expect(running.value.most, equals: 2, "threads at once")
            try expect(LoopThreadPool(threadsMax: 0).threadsMax, equals: 1, "one at least")
            let usual = LoopThreadPool().threadsMax
            try expect((5...32).contains(usual), "\(usual) threads")
        }
    }

    static func theExecutorFinishesBeforeItIsShutDown(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            loop.setDefaultExecutor(LoopThreadPool(threadsMax: 2))
            let latch = Latch()
            let ended = SharedValue(0)
            let calls = (0..<4).map { _ in
                loop.runInExecutor {
                    try expect(latch.wait(), "the latch was opened")
                    ended.update { $0 += 1 }
                }
            }
            let shutdown = loop.createTask(eager: true) {
                try await Loop.running.shutdownDefaultExecutor()
                return ended.value
            }
            try await expectAsyncError(.closed) { try await loop.runInExecutor {}.value }
            try expect(!shutdown.isDone, "it waits for the calls")
            latch.open()
            try expect(try await shutdown.value, equals: 4, "those that waited, too")
            _ = try await gather(calls).value
            try await loop.shutdownDefaultExecutor(timeout: .zero)
            try await expectAsyncError(.closed) { try await loop.runInExecutor {}.value }
            let own = LoopThreadPool(threadsMax: 1)
            try expect(try await loop.runInExecutor(own) { 1 }.value, equals: 1, "another pool")
            own.shutDown()
            try await expectAsyncError(.closed) { try await loop.runInExecutor(own) {}.value }
        }
    }

    static func theShutdownOfTheExecutorGivesUpInTime(_ kit: ConformanceKit) throws {
        let latch = Latch()
        try kit.runTask {
            let loop = Loop.running
            let warnings = SharedValue<[String]>([])
            loop.diagnosticSink = { line in warnings.update { $0.append(line) } }
            let call = loop.runInExecutor { latch.wait() }
            let start = loop.now
            try await loop.shutdownDefaultExecutor(timeout: .seconds(5))
            try expect(loop.seconds(since: start), equals: 5)
            try expect(warnings.value.count, equals: 1, "one warning")
            let text = warnings.value.first ?? ""
            try expect(text.contains("1 call left after 5.0 seconds"), "it says: \(text)")
            try expect(!call.isDone, "the call goes on")
            latch.open()
            try expect(try await call.value, "and its result arrives")
        }
    }

    static func aCallOutlivesItsLoop(_ kit: ConformanceKit) throws {
        let pool = LoopThreadPool(threadsMax: 1)
        let began = Latch()
        let latch = Latch()
        let ended = Latch()
        do {
            let loop = try kit.makeLoop()
            _ = loop.runInExecutor(pool) {
                began.open()
                return latch.wait()
            }
            try expect(began.wait(), "the call began")
            try loop.close()
        }
        latch.open()
        try pool.run { ended.open() }
        try expect(ended.wait(), "the thread goes on with the next call")
    }
}
