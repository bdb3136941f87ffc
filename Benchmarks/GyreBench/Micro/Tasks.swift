// SPDX-License-Identifier: Apache-2.0

import Gyre

// Futures and tasks. What Swift's runtime costs by itself is measured beside each, with the
// smallest executor that can be written by hand; the ratio is what a loop adds.

extension MicroCase {
    /// Batches of a hundred, as in a busy loop.
    static let futureComplete = MicroCase(
        name: "future_complete", about: "create a future, complete it, run one callback"
    ) { policy in
        let loop = try policy.makeLoop()
        defer { try? loop.close() }
        let (batches, batchSize) = (1000, 100)
        let counter = Counter()
        func repetition() throws -> Double {
            counter.value = 0
            let cost = try cpuNanoseconds(per: batches * batchSize) {
                for _ in 0..<batches {
                    loop.callSoon {
                        for _ in 0..<batchSize {
                            let future = LoopFuture<Int>(on: loop)
                            future.addDoneCallback { counter.value &+= try $0.result() }
                            try future.setResult(1)
                        }
                    }
                    try loop.run(.noWait)
                    try loop.run(.noWait)
                }
            }
            guard counter.value == batches * batchSize else {
                throw BenchError("not every callback ran once")
            }
            return cost
        }
        _ = try repetition()
        return [
            try MicroResult("future_complete", unit: "ns", (0..<15).map { _ in try repetition() })
        ]
    }

    static let taskYield = MicroCase(
        name: "task_yield", about: "Task.yield() of a task on the loop"
    ) { policy in
        try beside("task_yield", policy, count: 100_000) { count in
            for _ in 0..<count { await Task.yield() }
        }
    }

    static let continuationResume = MicroCase(
        name: "continuation_resume", about: "a task waits for another, which wakes it, in turns"
    ) { policy in
        try beside("continuation_resume", policy, count: 100_000) { count in
            await takeTurns(count)
        }
    }

    static let taskSpawnAwait = MicroCase(
        name: "task_spawn_await", about: "make a task and wait for its value"
    ) { policy in
        let count = 50_000
        let loop = try policy.makeLoop()
        defer { try? loop.close() }
        let smallest = SmallestExecutor()
        var (gyre, limit): ([Double], [Double]) = ([], [])
        for _ in 0..<15 {
            limit.append(
                try smallestCost(smallest, count) { count in
                    for step in 0..<count {
                        let task = Task(executorPreference: smallest) { step }
                        guard await task.value == step else { return }
                    }
                })
            gyre.append(
                try loopCost(loop, count) { count in
                    for step in 0..<count {
                        let task = Loop.running.createTask { step }
                        guard try await task.value == step else { return }
                    }
                })
        }
        return try results("task_spawn_await", gyre, limit)
    }

    // MARK: Beside the limit

    private static func beside(
        _ name: String, _ policy: LoopPolicy, count: Int,
        _ body: @escaping @Sendable (Int) async throws -> Void
    ) throws -> [MicroResult] {
        let loop = try policy.makeLoop()
        defer { try? loop.close() }
        let smallest = SmallestExecutor()
        var (gyre, limit): ([Double], [Double]) = ([], [])
        for _ in 0..<15 {
            limit.append(try smallestCost(smallest, count, body))
            gyre.append(try loopCost(loop, count, body))
        }
        return try results(name, gyre, limit)
    }

    private static func results(
        _ name: String, _ gyre: [Double], _ limit: [Double]
    ) throws -> [MicroResult] {
        [
            try MicroResult(name, unit: "ns", gyre),
            try MicroResult("\(name)_limit", unit: "ns", limit),
            try MicroResult("\(name)_ratio", unit: "times", zip(gyre, limit).map { $0 / $1 }),
        ]
    }

    private static func loopCost(
        _ loop: Loop, _ count: Int, _ body: @escaping @Sendable (Int) async throws -> Void
    ) throws -> Double {
        try cpuNanoseconds(per: count) { try loop.runUntilComplete { try await body(count) } }
    }

    private static func smallestCost(
        _ executor: SmallestExecutor, _ count: Int,
        _ body: @escaping @Sendable (Int) async throws -> Void
    ) throws -> Double {
        let ended = Ended()
        let cost = cpuNanoseconds(per: count) {
            Task(executorPreference: executor) {
                try await body(count)
                ended.isTrue = true
            }
            executor.run()
        }
        guard ended.isTrue else { throw BenchError("the task did not end") }
        return cost
    }
}

/// Whether a task ended.
private final class Ended: @unchecked Sendable {
    // SAFETY: used by one thread.
    var isTrue = false
}

/// Two tasks wake each other in turns, `count` times in all.
func takeTurns(_ count: Int) async {
    let pair = Pair()
    async let other: Void = pair.play(count / 2)
    await pair.play(count / 2)
    await other
}

/// Two tasks that wake each other in turns.
private final class Pair: @unchecked Sendable {
    // SAFETY: used by one thread.
    private var waiting: UnsafeContinuation<Void, Never>?

    func play(_ turns: Int) async {
        for _ in 0..<turns {
            let other = waiting.take()
            await withUnsafeContinuation { continuation in
                waiting = continuation
                other?.resume()
            }
        }
        waiting.take()?.resume()
    }
}
