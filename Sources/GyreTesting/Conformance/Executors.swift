// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// The loop as an executor of Swift tasks and actors.
enum Executors {
    static let behaviours: [Behaviour] = [
        Behaviour("tasksRunOnTheLoopsThread", [], .executors, tasksRunOnTheLoopsThread),
        Behaviour("aPinnedActorIsIsolated", [], .executors, aPinnedActorIsIsolated),
        Behaviour("jobsAndCallbacksTakeTurns", [], .executors, jobsAndCallbacksTakeTurns),
        Behaviour(
            "aTaskResumedElsewhereWakesTheLoop", [], .executors,
            aTaskResumedElsewhereWakesTheLoop),
        Behaviour(
            "aJobThatYieldsDoesNotStarveTimers", [], .executors,
            aJobThatYieldsDoesNotStarveTimers),
    ]

    /// Starts a task on the loop that stops it at its end.
    private static func start(
        on loop: Loop, _ body: @escaping @Sendable (LoopHandle) async throws -> Void
    ) {
        let handle = loop.handle
        Task(executorPreference: handle) {
            do {
                try await body(handle)
                try handle.callSoonThreadSafe { $0.stop() }
            } catch {
                try handle.callSoonThreadSafe { _ in throw Ended(by: error) }
            }
        }
    }

    /// Leaves the run with the failure of a task.
    private struct Ended: LoopFatalError {
        let error: any Error

        init(by error: any Error) { self.error = error }
    }

    private actor Counter {
        nonisolated let handle: LoopHandle
        private(set) var count = 0

        init(on handle: LoopHandle) { self.handle = handle }

        nonisolated var unownedExecutor: UnownedSerialExecutor {
            handle.asUnownedSerialExecutor()
        }

        func add() { count += 1 }
    }

    static func tasksRunOnTheLoopsThread(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        start(on: loop) { handle in
            try expect(handle.isOnLoop, "the task began on the loop's thread")
            await Task.yield()
            try expect(handle.isOnLoop, "it went on there")
            async let child = handle.isOnLoop
            try expect(await child, "a child task runs there")
            let inGroup = await withTaskGroup(of: Bool.self) { group in
                for _ in 0..<10 { group.addTask { handle.isOnLoop } }
                return await group.allSatisfy { $0 }
            }
            try expect(inGroup, "the tasks of a group run there")
        }
        try kit.run(loop)
    }

    static func aPinnedActorIsIsolated(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let counter = Counter(on: loop.handle)
        let atOnce = SharedValue<Int>(-1)
        start(on: loop) { _ in
            for _ in 0..<100 { await counter.add() }
            try expect(await counter.count, equals: 101)
        }
        // Synchronous code of the loop is inside the actor.
        loop.callSoon {
            counter.preconditionIsolated()
            counter.assumeIsolated { $0.add() }
            let count = counter.assumeIsolated { $0.count }
            atOnce.update { $0 = count }
        }
        try kit.run(loop)
        try expect(atOnce.value >= 1, "the callback saw its own addition")
    }

    static func jobsAndCallbacksTakeTurns(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let order = SharedValue<[String]>([])
        start(on: loop) { handle in
            for number in 0..<3 {
                order.update { $0.append("task \(number)") }
                try handle.callSoonThreadSafe { _ in
                    order.update { $0.append("callback \(number)") }
                }
                await Task.yield()
            }
        }
        try kit.run(loop)
        try expect(
            order.value,
            equals: ["task 0", "callback 0", "task 1", "callback 1", "task 2", "callback 2"])
    }

    static func aTaskResumedElsewhereWakesTheLoop(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let loopThread = ThreadState.current
        let continuation = SharedValue<CheckedContinuation<Int, Never>?>(nil)
        let waits = Latch()
        let thread = try TestThread {
            guard waits.wait() else { return }
            try loopThread.waitUntilBlocked()
            continuation.value?.resume(returning: 42)
        }
        start(on: loop) { handle in
            let answer = await withCheckedContinuation { waiting in
                continuation.update { $0 = waiting }
                waits.open()
            }
            try expect(answer, equals: 42)
            try expect(handle.isOnLoop, "the task went on on the loop's thread")
        }
        try kit.run(loop)
        try thread.join()
    }

    static func aJobThatYieldsDoesNotStarveTimers(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let fired = SharedValue(false)
        loop.callLater(.milliseconds(5)) { fired.update { $0 = true } }
        start(on: loop) { _ in
            while !fired.value { await Task.yield() }
        }
        try kit.run(loop)
        try expect(fired.value, "the timer fired")
    }
}
