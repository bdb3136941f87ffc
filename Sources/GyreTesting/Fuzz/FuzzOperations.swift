// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// What a task of a ``FuzzRound`` can do.
///
/// What is added here takes part in the rounds.
enum FuzzOperation: Int, CaseIterable {
    case lock, permit, boundedPermit
    case waitForEvent, setEvent, pulseEvent
    case takeToken, addToken
    case put, get, putNoWait, getNoWait, iterate, join
    case meet
    case sleep
    case cancelSomebody
    case awaitFuture, completeFuture
    // From here on operations whose parts are operations.
    case awaitTask, childTasks, taskGroup
    case gather, gatherResults, waitForSome, asCompleted, race
    case waitFor, limit, shield, loopTaskGroup
}

extension FuzzOperation {
    var makesChildren: Bool { rawValue >= FuzzOperation.awaitTask.rawValue }

    /// What the tasks of a round do: everything, or a few things, which they then do so often that
    /// nobody else comes to wake whom they forgot.
    static func choose(_ random: inout SeededRandom) -> [FuzzOperation] {
        guard random.next(below: 3) > 0 else { return allCases }
        let count = 2 + random.next(below: 5)
        return Array(allCases.shuffled(using: &random).prefix(count))
    }
}

/// The error with which futures fail here.
struct FuzzFailure: Error {}

extension FuzzRound {
    /// The body of a task: as many operations, most of which go on after a cancellation.
    func work(_ count: Int, _ generator: SeededRandom) async throws {
        var random = generator
        for _ in 0..<count {
            do {
                try await perform(&random, depth: 0)
            } catch is CancellationError {
                update { $0.cancellations += 1 }
                if random.next(below: 8) == 0 { throw CancellationError() }
            }
        }
    }

    /// One operation, in a child.
    func performInChild(_ generator: SeededRandom, depth: Int) async throws {
        var random = generator
        try await perform(&random, depth: depth + 1)
    }

    func perform(_ random: inout SeededRandom, depth: Int) async throws {
        var operation = operations[random.next(below: operations.count)]
        // No children of children of children.
        if depth == 2, operation.makesChildren { operation = .sleep }
        update {
            $0.operations += 1
            $0.note(operation.rawValue)
        }
        switch operation {
        case .lock: try await lock(&random, from: 0)
        case .permit:
            try await hold(.permit, Self.permits, &random) { try await semaphore.withPermit($0) }
        case .boundedPermit:
            try await hold(.boundedPermit, Self.permits, &random) {
                try await bounded.withPermit($0)
            }
        case .waitForEvent:
            let index = random.next(below: events.count)
            try await waiting(.numbered(.event0, index)) { try await events[index].wait() }
        case .setEvent, .pulseEvent:
            let index = random.next(below: events.count)
            events[index].set()
            if operation == .pulseEvent { events[index].clear() }
            cancelBehind(.numbered(.event0, index), &random)
        case .takeToken: try await takeToken()
        case .addToken:
            try await addToken(sleeping: random.next(below: 4) == 0)
            cancelBehind(.token, &random)
        case .put: try await put(&random)
        case .get: try await get(&random)
        case .putNoWait:
            let index = random.next(below: queues.count)
            try putNoWait(into: index, &random)
            cancelBehind(.numbered(.get0, index), &random)
        case .getNoWait:
            let index = random.next(below: queues.count)
            try takeNoWait(from: index)
            cancelBehind(.numbered(.put0, index), &random)
        case .iterate: try await iterate(&random)
        case .join:
            let index = random.next(below: queues.count)
            try await waiting(.numbered(.join0, index)) { try await queues[index].join() }
        case .meet:
            try await meet()
            cancelBehind(.barrier, &random)
        case .sleep: try await GyreTasks.sleep(.milliseconds(random.next(below: 5)))
        case .cancelSomebody: cancelOne(of: Loop.running, &random)
        case .awaitFuture: try await awaitFuture(&random)
        case .completeFuture:
            completeOneFuture(&random)
            cancelBehind(.future, &random)
        case .awaitTask, .childTasks, .taskGroup:
            try await performInChildren(operation, &random, depth)
        case .gather, .gatherResults, .waitForSome, .asCompleted, .race:
            try await combineSeveral(operation, &random, depth)
        case .waitFor, .limit, .shield, .loopTaskGroup:
            try await combine(operation, &random, depth)
        }
    }

    private func waiting<Result>(
        _ wait: FuzzWait, _ body: () async throws -> Result
    ) async throws -> Result {
        let number = update { $0.begin(wait, Loop.running.currentTask) }
        let result: Result
        do {
            result = try await body()
        } catch {
            try update { try $0.end(wait, number, with: error) }
            throw error
        }
        try update { try $0.end(wait, number) }
        return result
    }

    // MARK: Locks and semaphores

    /// Takes one of the locks from `lowest` on: always in this order, so that no two tasks wait for
    /// each other's.
    private func lock(_ random: inout SeededRandom, from lowest: Int) async throws {
        let index = lowest + random.next(below: locks.count - lowest)
        let lock = locks[index]
        let next = index + 1 < locks.count ? index + 1 : nil
        let byHand = random.next(below: 2) == 0
        try await hold(.numbered(.lock0, index), 1, &random, next) { body in
            guard byHand else { return try await lock.withLock(body) }
            try await lock.acquire()
            do {
                try await body()
            } catch {
                try lock.release()
                throw error
            }
            try lock.release()
        }
    }

    private func hold(
        _ place: FuzzWait, _ limit: Int, _ random: inout SeededRandom, _ nextLock: Int? = nil,
        _ enter: (_ body: () async throws -> Void) async throws -> Void
    ) async throws {
        let number = update { $0.begin(place, Loop.running.currentTask) }
        var inside = random.fork()
        do {
            try await enter {
                try update {
                    try $0.end(place, number)
                    try $0.enter(place, limit: limit)
                }
                defer { update { $0.leave(place) } }
                switch inside.next(below: 6) {
                case 0: try await GyreTasks.sleep(.zero)
                case 1: try await GyreTasks.sleep(.milliseconds(inside.next(below: 4)))
                case 2: cancelOne(of: Loop.running, &inside)
                case 3: if let nextLock { try await lock(&inside, from: nextLock) }
                default: break
                }
            }
        } catch {
            // Nothing to end when it failed inside.
            try update { try $0.end(place, number, with: error) }
            cancelBehind(place, &random)
            throw error
        }
        cancelBehind(place, &random)
    }

    // MARK: Condition and barrier

    private func takeToken() async throws {
        try await waiting(.token) {
            try await condition.withLock {
                try await condition.wait { update { $0.tokens > 0 } }
                update { $0.tokens -= 1 }
            }
        }
    }

    func addToken(sleeping: Bool) async throws {
        try await waiting(.token) {
            try await condition.withLock {
                update { $0.tokens += 1 }
                try condition.notify()
                // Who was notified waits for the lock meanwhile.
                if sleeping { try await GyreTasks.sleep(.milliseconds(1)) }
            }
        }
    }

    private func meet() async throws {
        do {
            let number = try await waiting(.barrier) { try await barrier.wait() }
            try expect(number < Self.parties, "the number \(number) at the barrier")
        } catch let error as LoopError where error.code == .barrierBroken {
            // The round resets it when nobody else comes.
        }
    }

    // MARK: Queues

    private func makeItem(_ random: inout SeededRandom) -> Int {
        let priority = random.next(below: 10)
        return update {
            $0.itemsMade += 1
            return priority * 1_000_000 + $0.itemsMade
        }
    }

    private func put(_ random: inout SeededRandom) async throws {
        let index = random.next(below: queues.count)
        let item = makeItem(&random)
        try await waiting(.numbered(.put0, index)) { try await queues[index].put(item) }
        try update { try $0.put(item, into: index, count: queues[index].count) }
        cancelBehind(.numbered(.get0, index), &random)
    }

    private func get(_ random: inout SeededRandom) async throws {
        let index = random.next(below: queues.count)
        let item = try await waiting(.numbered(.get0, index)) { try await queues[index].get() }
        try taken(item, from: index)
        cancelBehind(.numbered(random.next(below: 2) == 0 ? .put0 : .join0, index), &random)
    }

    private func iterate(_ random: inout SeededRandom) async throws {
        let index = random.next(below: queues.count)
        try await waiting(.numbered(.get0, index)) {
            for try await item in queues[index] {
                try taken(item, from: index)
                if random.next(below: 3) == 0 { break }
            }
        }
    }

    private func taken(_ item: Int, from index: Int) throws {
        try update {
            try $0.take(item, from: index, count: queues[index].count)
            $0.unfinished[index] -= 1
        }
        try queues[index].taskDone()
    }

    func putNoWait(into index: Int, _ random: inout SeededRandom) throws {
        let item = makeItem(&random)
        if queues[index].isFull {
            return try expectError(.queueFull) { try queues[index].putNoWait(item) }
        }
        try queues[index].putNoWait(item)
        try update { try $0.put(item, into: index, count: queues[index].count) }
    }

    func takeNoWait(from index: Int) throws {
        if queues[index].isEmpty {
            return try expectError(.queueEmpty) { _ = try queues[index].getNoWait() }
        }
        try taken(try queues[index].getNoWait(), from: index)
    }

    // MARK: Futures

    private func awaitFuture(_ random: inout SeededRandom) async throws {
        let value = random.next(below: 1000)
        var future = LoopFuture<Int>(on: handle)
        var expected = value
        update { model in
            // Sometimes one for which somebody else waits already.
            if let other = model.futures.first(where: { !$0.future.isDone }), value % 4 == 0 {
                (future, expected) = other
            }
            model.futures.append((future, expected))
        }
        defer {
            // Looked at, so that it is not reported when the task was cancelled meanwhile.
            _ = try? future.error()
            update { model in
                if let index = model.futures.firstIndex(where: { $0.future === future }) {
                    model.futures.remove(at: index)
                }
            }
        }
        do {
            let result = try await waiting(.future) { try await future.value }
            try expect(result, equals: expected, "the value of a future")
        } catch is FuzzFailure {}
    }

    func completeOneFuture(_ random: inout SeededRandom) {
        let pending = update { $0.futures.filter { !$0.future.isDone } }
        guard !pending.isEmpty else { return }
        let (future, value) = pending[random.next(below: pending.count)]
        switch random.next(below: 3) {
        case 0: try? future.setResult(value)
        case 1: try? future.setError(FuzzFailure())
        default: future.cancel()
        }
    }

    // MARK: Children

    private func performInChildren(
        _ operation: FuzzOperation, _ random: inout SeededRandom, _ depth: Int
    ) async throws {
        let (one, two) = (random.fork(), random.fork())
        switch operation {
        case .awaitTask:
            let task = Loop.running.createTask(eager: random.next(below: 2) == 0) {
                try await self.performInChild(one, depth: depth)
            }
            try await task.value
        case .childTasks:
            async let first: Void = performInChild(one, depth: depth)
            async let second: Void = performInChild(two, depth: depth)
            _ = try await (first, second)
        default:
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await self.performInChild(one, depth: depth) }
                group.addTask { try await self.performInChild(two, depth: depth) }
                try await group.next()
                group.cancelAll()
            }
        }
    }
}
