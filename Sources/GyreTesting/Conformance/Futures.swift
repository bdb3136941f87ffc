// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// Futures.
enum Futures {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "runUntilCompleteReturnsOrRethrows", [6], .futures, runUntilCompleteReturnsOrRethrows),
        Behaviour("aNewFutureIsPending", [34], .futures, aNewFutureIsPending),
        Behaviour("aFutureIsCompletedOnce", [35], .futures, aFutureIsCompletedOnce),
        Behaviour("aFutureHoldsAnyValue", [], .futures, aFutureHoldsAnyValue),
        Behaviour("doneTellsNoEndFromAnother", [36], .futures, doneTellsNoEndFromAnother),
        Behaviour(
            "cancelWorksOnPendingFuturesOnly", [37], .futures, cancelWorksOnPendingFuturesOnly),
        Behaviour(
            "doneCallbacksRunLaterInOrder", [38, 39], .futures, doneCallbacksRunLaterInOrder),
        Behaviour(
            "removingADoneCallbackRemovesAll", [40], .futures, removingADoneCallbackRemovesAll),
        Behaviour("anUnseenErrorIsReportedOnce", [41], .futures, anUnseenErrorIsReportedOnce),
        Behaviour(
            "anUnseenErrorIsReportedWhenTheLoopCloses", [41], .futures,
            anUnseenErrorIsReportedWhenTheLoopCloses),
        Behaviour(
            "aFatalErrorOfADoneCallbackLeavesTheRunAtOnce", [12], .futures,
            aFatalErrorOfADoneCallbackLeavesTheRunAtOnce),
        Behaviour("aSeenErrorIsNotReported", [41, 42], .futures, aSeenErrorIsNotReported),
        Behaviour(
            "completingFromAThreadCrossesTheLoop", [43], .futures,
            completingFromAThreadCrossesTheLoop),
        Behaviour(
            "cancellingWhoAwaitsCancelsTheFuture", [46], .futures,
            cancellingWhoAwaitsCancelsTheFuture),
        Behaviour("aFutureIsAwaitedFromAnywhere", [], .futures, aFutureIsAwaitedFromAnywhere),
    ]

    private struct Failure: Error, Equatable {
        let number: Int
    }

    static func runUntilCompleteReturnsOrRethrows(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let future = LoopFuture<Int>(on: loop)
        loop.callSoon { try future.setResult(42) }
        try expect(try loop.runUntilComplete(future), equals: 42)
        try expect(try loop.runUntilComplete { 43 }, equals: 43)
        let error = try expectError(Failure.self) {
            _ = try loop.runUntilComplete { () async throws -> Int in throw Failure(number: 1) }
        }
        try expect(error, equals: Failure(number: 1))
        try expectError(.invalidState) {
            loop.callSoon { loop.stop() }
            _ = try loop.runUntilComplete(LoopFuture<Int>(on: loop))
        }
        let other = try kit.makeLoop()
        try expectError(.loopMismatch) { _ = try other.runUntilComplete(LoopFuture<Int>(on: loop)) }
    }

    static func aNewFutureIsPending(_ kit: ConformanceKit) throws {
        let future = LoopFuture<Int>(on: try kit.makeLoop())
        try expect(!future.isDone && !future.isCancelled, "neither done nor cancelled")
        try expectError(.invalidState) { _ = try future.result() }
        try expectError(.invalidState) { _ = try future.error() }
    }

    static func aFutureIsCompletedOnce(_ kit: ConformanceKit) throws {
        let future = LoopFuture<Int>(on: try kit.makeLoop())
        try future.setResult(1)
        try expectError(.invalidState) { try future.setResult(2) }
        try expectError(.invalidState) { try future.setError(Failure(number: 3)) }
        try expect(try future.result(), equals: 1)
    }

    /// Small and large, trivial and not, and each released once.
    static func aFutureHoldsAnyValue(_ kit: ConformanceKit) throws {
        struct Large: Sendable {
            let words: (Int, Int, Int)
            let content: @Sendable () -> Void
        }
        let loop = try kit.makeLoop()
        func hold<Value: Sendable>(_ value: Value, _ isRight: (Value) -> Bool) throws {
            let future = LoopFuture<Value>(on: loop)
            try future.setResult(value)
            for _ in 0..<2 {
                try expect(isRight(try future.result()), "the result is \(value)")
                guard case .value(let value) = future.outcome else {
                    throw ConformanceFailure("the outcome is not \(value)")
                }
                try expect(isRight(value), "the outcome is \(value)")
            }
            let awaited = try loop.runUntilComplete { try await future.value }
            try expect(isRight(awaited), "what is awaited is \(value)")
        }
        try hold(()) { _ in true }
        try hold(UInt8(7)) { $0 == 7 }
        try hold((1, true)) { $0 == (1, true) }
        try hold(SIMD4<Float>(1, 2, 3, 4)) { $0 == SIMD4(1, 2, 3, 4) }
        try hold("a text that does not fit into one word") { $0.hasPrefix("a text that") }
        try hold(Int?.none) { $0 == nil }
        try hold(["one", "two"]) { $0 == ["one", "two"] }
        let live = LiveObjects()
        do {
            let small = live.sendableClosure()
            try hold(small) { _ in live.count == 1 }
        }
        try expect(live.count, equals: 0, "small values alive")
        do {
            let large = Large(words: (1, 2, 3), content: live.sendableClosure())
            try hold(large) { $0.words.2 == 3 && live.count == 1 }
        }
        try expect(live.count, equals: 0, "large values alive")
    }

    static func doneTellsNoEndFromAnother(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let futures = (0..<3).map { _ in LoopFuture<Int>(on: loop) }
        try futures[0].setResult(1)
        try futures[1].setError(Failure(number: 1))
        futures[2].cancel()
        try expect(futures.allSatisfy(\.isDone), "all are done")
        try expect(futures.map(\.isCancelled), equals: [false, false, true])
        try expect(try futures[0].error() == nil, "no error after a result")
        try expect(try futures[1].error() as? Failure, equals: Failure(number: 1))
        try expectError(CancellationError.self) { _ = try futures[2].error() }
    }

    static func cancelWorksOnPendingFuturesOnly(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pending = LoopFuture<Int>(on: loop)
        try expect(pending.cancel(), "a pending future is cancelled")
        try expect(!pending.cancel(), "once")
        try expectError(CancellationError.self) { _ = try pending.result() }
        let done = LoopFuture<Int>(on: loop)
        try done.setResult(1)
        try expect(!done.cancel(), "a done future is not")
        try expect(try done.result(), equals: 1)
    }

    static func doneCallbacksRunLaterInOrder(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let future = LoopFuture<Int>(on: loop)
        var order: [Int] = []
        for number in 0..<5 { future.addDoneCallback { _ in order.append(number) } }
        loop.callSoon {
            try future.setResult(1)
            try expect(order, equals: [], "none ran inside the call")
        }
        try kit.run(loop, .noWait)
        try kit.drain(loop)
        try expect(order, equals: [0, 1, 2, 3, 4])
        future.addDoneCallback { _ in order.append(5) }
        try expect(order.count, equals: 5, "a late one waits for its turn too")
        try kit.drain(loop)
        try expect(order, equals: [0, 1, 2, 3, 4, 5])
    }

    static func removingADoneCallbackRemovesAll(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let future = LoopFuture<Int>(on: loop)
        var order: [String] = []
        let twice = LoopDoneCallback<Int> { _ in order.append("twice") }
        let late = LoopDoneCallback<Int> { _ in order.append("late") }
        future.addDoneCallback(twice)
        future.addDoneCallback { future in
            order.append("first")
            try expect(future.removeDoneCallback(late), equals: 1, "removed during delivery")
        }
        future.addDoneCallback(twice)
        future.addDoneCallback(late)
        future.addDoneCallback { _ in order.append("last") }
        try expect(future.removeDoneCallback(twice), equals: 2)
        try expect(future.removeDoneCallback(twice), equals: 0)
        try future.setResult(1)
        try kit.drain(loop)
        try expect(order, equals: ["first", "last"])
    }

    /// The messages and sites that `body` makes the exception handler see.
    private static func reports(
        _ kit: ConformanceKit, _ body: (Loop) throws -> Void
    ) throws -> [LoopExceptionContext] {
        let loop = try kit.makeLoop()
        var reports: [LoopExceptionContext] = []
        loop.exceptionHandler = { _, context in reports.append(context) }
        try body(loop)
        try kit.drain(loop)
        try kit.run(loop, .noWait)
        return reports
    }

    static func anUnseenErrorIsReportedOnce(_ kit: ConformanceKit) throws {
        let reports = try reports(kit) { loop in
            try LoopFuture<Int>(on: loop).setError(Failure(number: 7))
        }
        try expect(reports.count, equals: 1)
        try expect(reports.first?.error as? Failure, equals: Failure(number: 7))
        let place = reports.first?.site?.description ?? ""
        try expect(place.contains("Futures.swift:"), "the place is named: \(place)")
    }

    static func anUnseenErrorIsReportedWhenTheLoopCloses(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var numbers: [Int] = []
        loop.exceptionHandler = { _, context in
            if let failure = context.error as? Failure { numbers.append(failure.number) }
        }
        func fail(_ number: Int) throws -> LoopFuture<Int> {
            let future = LoopFuture<Int>(on: loop)
            try future.setError(Failure(number: number))
            return future
        }
        // Released in the last turn, after it, and with what is queued.
        loop.callSoon { _ = try fail(1) }
        try kit.run(loop, .noWait)
        _ = try fail(2)
        loop.callSoon { [future = try fail(3)] in _ = future.isDone }
        try loop.close()
        try expect(numbers, equals: [1, 2, 3])
    }

    static func aFatalErrorOfADoneCallbackLeavesTheRunAtOnce(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let future = LoopFuture<Int>(on: loop)
        var ran: [Int] = []
        future.addDoneCallback { _ in
            ran.append(1)
            throw LoopInterrupt()
        }
        future.addDoneCallback { _ in
            ran.append(2)
            loop.stop()
        }
        try future.setResult(5)
        try expectError(LoopInterrupt.self) { try kit.run(loop) }
        try expect(ran, equals: [1], "what ran before the interrupt")
        try kit.run(loop)
        try expect(ran, equals: [1, 2], "the other is told in the next run")
        try loop.close()
    }

    static func aSeenErrorIsNotReported(_ kit: ConformanceKit) throws {
        let reports = try reports(kit) { loop in
            let read = LoopFuture<Int>(on: loop)
            try read.setError(Failure(number: 1))
            _ = try read.error()
            let one = LoopFuture<Int>(on: loop)
            // Two observers, one of which looks.
            one.addDoneCallback { _ in }
            one.addDoneCallback { future in _ = try future.error() }
            try one.setError(Failure(number: 2))
            let cancelled = LoopFuture<Int>(on: loop)
            cancelled.cancel()
        }
        try expect(reports.map(\.message), equals: [])
    }

    static func completingFromAThreadCrossesTheLoop(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let future = LoopFuture<Int>(on: loop)
        var calledOnLoop = false
        future.addDoneCallback { [handle = loop.handle] _ in calledOnLoop = handle.isOnLoop }
        let thread = try TestThread {
            try future.completeThreadSafe(with: .success(5))
            // The second changes nothing.
            try future.completeThreadSafe(with: .failure(Failure(number: 1)))
        }
        try expect(try kit.complete(future, on: loop), equals: 5)
        try thread.join()
        try expect(calledOnLoop, "the callback ran on the loop's thread")
    }

    static func cancellingWhoAwaitsCancelsTheFuture(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let future = LoopFuture<Int>(on: loop)
        let ended = LoopFuture<Bool>(on: loop)
        let task = Task(executorPreference: loop.handle) {
            do {
                _ = try await future.value
                try ended.setResult(false)
            } catch {
                try ended.setResult(error is CancellationError)
            }
        }
        try kit.drain(loop)
        loop.callLater(.milliseconds(1)) { task.cancel() }
        try expect(try kit.complete(ended, on: loop), "the task saw the cancellation")
        try expect(future.isCancelled, "the future is cancelled")
    }

    static func aFutureIsAwaitedFromAnywhere(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let future = LoopFuture<Int>(on: loop)
        let sum = LoopFuture<Int>(on: loop)
        // One task of the loop, one of another thread.
        let inside = Task(executorPreference: loop.handle) { try await future.value }
        Task(executorPreference: ThreadExecutor()) {
            let outside = try await future.value
            try sum.completeThreadSafe(with: .success(outside + (try await inside.value)))
        }
        loop.callLater(.milliseconds(1)) { try future.setResult(20) }
        try expect(try kit.complete(sum, on: loop), equals: 40)
    }
}
