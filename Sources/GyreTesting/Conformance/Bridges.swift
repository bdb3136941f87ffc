// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// Between futures and what Swift has: tasks and continuations.
enum Bridges {
    static let behaviours: [Behaviour] = [
        Behaviour("aTaskOfSwiftBecomesAFuture", [43], .futures, aTaskOfSwiftBecomesAFuture),
        Behaviour(
            "aWrappedTaskAndItsFutureAreCancelledTogether", [], .futures,
            aWrappedTaskAndItsFutureAreCancelledTogether),
        Behaviour("aFutureBecomesATaskOfSwift", [], .futures, aFutureBecomesATaskOfSwift),
        Behaviour("aFutureResumesAContinuation", [], .futures, aFutureResumesAContinuation),
    ]

    static func aTaskOfSwiftBecomesAFuture(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let handle = Loop.running.handle
            let elsewhere = ThreadExecutor()
            let task = Task(executorPreference: elsewhere) { () async -> Int in
                handle.isOnLoop ? 0 : 4
            }
            let future = LoopFuture(wrapping: task, on: Loop.running)
            let told = LoopFuture<Bool>(on: Loop.running)
            future.addDoneCallback { _ in try told.setResult(handle.isOnLoop) }
            try expect(try await future.value, equals: 4, "it ran on another thread")
            try expect(try await told.value, "and its callback on the loop's")
            let failing = Task(executorPreference: elsewhere) { () async throws -> Int in
                throw TimedFailure(number: 2)
            }
            try await expectAsyncError(TimedFailure.self) {
                _ = try await LoopFuture(wrapping: failing, on: Loop.running).value
            }
        }
    }

    static func aWrappedTaskAndItsFutureAreCancelledTogether(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let handle = Loop.running.handle
            let first = Task(executorPreference: handle) { try await sleep(.seconds(99)) }
            let future = LoopFuture(wrapping: first, on: Loop.running)
            try await sleep(.seconds(1))
            future.cancel()
            try await sleep(.zero)
            try expect(first.isCancelled, "cancelling the future cancels the task")
            let second = Task(executorPreference: handle) { try await sleep(.seconds(99)) }
            let other = LoopFuture(wrapping: second, on: Loop.running)
            Loop.running.callLater(.seconds(1)) { second.cancel() }
            try await expectAsyncError(CancellationError.self) { try await other.value }
            try expect(other.isCancelled, "cancelling the task cancels the future")
        }
    }

    static func aFutureBecomesATaskOfSwift(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let future = LoopFuture<Int>(on: Loop.running)
            let task = future.asTask()
            Loop.running.callLater(.seconds(1)) { try future.setResult(6) }
            try expect(try await task.value, equals: 6)
            let pending = LoopFuture<Int>(on: Loop.running)
            let waiting = pending.asTask()
            Loop.running.callLater(.seconds(1)) { waiting.cancel() }
            try await expectAsyncError(CancellationError.self) { _ = try await waiting.value }
            try expect(pending.isCancelled, "cancelling the task cancels the future")
        }
    }

    static func aFutureResumesAContinuation(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let value = try await withCheckedThrowingContinuation { continuation in
                returning(7, after: 1).resume(continuation)
            }
            try expect(value, equals: 7)
            try await expectAsyncError(TimedFailure.self) {
                _ = try await withCheckedThrowingContinuation { continuation in
                    failing(after: 1).resume(continuation)
                }
            }
            // And a future as the continuation of a callback on any thread.
            let future = LoopFuture<Int>(on: Loop.running)
            let thread = try TestThread { try future.completeThreadSafe(with: .success(8)) }
            try expect(try await future.value, equals: 8)
            try thread.join()
        }
    }
}
