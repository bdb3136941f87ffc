// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

// Operations made of others, which the combinators put together.
extension FuzzRound {
    /// Makes tasks that each do one thing and return their index.
    private func makeTasks(
        _ count: Int, _ random: inout SeededRandom, _ depth: Int
    ) -> [LoopTask<Int>] {
        (0..<count).map { index in
            let generator = random.fork()
            return Loop.running.createTask(eager: random.next(below: 2) == 0) {
                try await self.performInChild(generator, depth: depth)
                return index
            }
        }
    }

    private func someTime(_ random: inout SeededRandom) -> Duration? {
        random.next(below: 3) == 0 ? nil : .milliseconds(random.next(below: 5))
    }

    // MARK: Several tasks

    func combineSeveral(
        _ operation: FuzzOperation, _ random: inout SeededRandom, _ depth: Int
    ) async throws {
        let tasks = makeTasks(1 + random.next(below: 3), &random, depth)
        let indices = Array(tasks.indices)
        switch operation {
        case .gather:
            try expect(try await gather(tasks).value, equals: indices, "what gather gave")
        case .gatherResults:
            let results = try await gather(errorsAsResults: tasks).value
            try expect(results.count, equals: tasks.count, "the results of gather")
            for (index, result) in results.enumerated() {
                try expect(tasks[index].isDone, "gather did not wait for its task \(index)")
                if case .success(let value) = result { try expect(value, equals: index) }
            }
        case .waitForSome: try await waitForSome(tasks, &random)
        case .asCompleted: try await takeCompleted(tasks, someTime(&random))
        default:
            do {
                let winner = try await race(tasks).value
                try expect(indices.contains(winner), "\(winner) won the race")
            } catch is CancellationError {
                try expect(tasks.allSatisfy(\.isDone), "a race left a task behind")
                throw CancellationError()
            }
            try expect(tasks.allSatisfy(\.isDone), "a race left a task behind")
        }
    }

    private func waitForSome(
        _ tasks: [LoopTask<Int>], _ random: inout SeededRandom
    ) async throws {
        let conditions: [LoopWaitCondition] = [.allCompleted, .firstCompleted, .firstError]
        let condition = conditions[random.next(below: conditions.count)]
        let limit = someTime(&random)
        let (done, pending) = try await wait(tasks, timeout: limit, returnWhen: condition)
        try expect(done.count + pending.count, equals: tasks.count, "what wait gave")
        try expect(
            done.allSatisfy(\.isDone) && !pending.contains { $0.isDone }, "wait mixed them up")
        try expect(limit != nil || !done.isEmpty, "wait gave none")
        update { $0.note(done.count) }
        guard random.next(below: 2) == 0 else { return }
        for task in pending { task.cancel() }
        if !pending.isEmpty { _ = try await wait(pending) }
    }

    private func takeCompleted(_ tasks: [LoopTask<Int>], _ limit: Duration?) async throws {
        var count = 0
        do {
            for try await task in asCompleted(tasks, timeout: limit) {
                try expect(task.isDone, "asCompleted gave a task that runs")
                count += 1
            }
            try expect(count, equals: tasks.count, "what asCompleted gave")
        } catch let error as LoopError where error.code == .timedOut {
            try expect(count < tasks.count, "asCompleted gave all, and timed out")
        }
    }

    // MARK: One task

    func combine(
        _ operation: FuzzOperation, _ random: inout SeededRandom, _ depth: Int
    ) async throws {
        switch operation {
        case .waitFor:
            let task = makeTasks(1, &random, depth)[0]
            do {
                let value = try await waitFor(task, timeout: someTime(&random))
                try expect(value, equals: 0, "what waitFor gave")
            } catch let error as LoopError where error.code == .timedOut {
                try expect(task.isCancelled, "waitFor left its task")
            }
        case .limit: try await performWithin(someTime(&random), &random, depth)
        case .shield:
            let task = makeTasks(1, &random, depth)[0]
            do {
                try expect(try await shield(task).value, equals: 0, "what shield gave")
            } catch {
                if random.next(below: 2) == 0 { task.cancel() }
                throw error
            }
        default: try await performInGroup(&random, depth)
        }
    }

    private func performWithin(
        _ delay: Duration?, _ random: inout SeededRandom, _ depth: Int
    ) async throws {
        var inside = random.fork()
        do {
            try await timeout(delay) { limit in
                try await perform(&inside, depth: depth + 1)
                if let later = someTime(&inside), inside.next(below: 2) == 0 {
                    // Refused when the time is up, and the next wait will say so.
                    try? limit.reschedule(later)
                }
                try await perform(&inside, depth: depth + 1)
            }
        } catch let error as LoopError where error.code == .timedOut {
            update { $0.note(1) }
        }
    }

    private func performInGroup(_ random: inout SeededRandom, _ depth: Int) async throws {
        let (one, two) = (random.fork(), random.fork())
        var own = random.fork()
        var tasks: [LoopTask<Void>] = []
        defer { update { $0.note(tasks.count) } }
        do {
            try await withLoopTaskGroup { group in
                for generator in [one, two] {
                    tasks.append(
                        try group.createTask {
                            try await self.performInChild(generator, depth: depth)
                        })
                }
                try await perform(&own, depth: depth + 1)
            }
        } catch {
            try expect(tasks.allSatisfy(\.isDone), "a group left a task behind")
            throw error
        }
        try expect(tasks.allSatisfy(\.isDone), "a group left a task behind")
    }
}
