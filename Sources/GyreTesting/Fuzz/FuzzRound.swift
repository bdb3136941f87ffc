// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks
import Synchronization

/// One round of ``CancellationFuzz``: some tasks that do what the generator says, on a new loop.
///
/// Whenever nothing is ready and no timer runs, all tasks wait for each other. Then it is checked
/// that each waits for a reason, and one reason is taken away, until all tasks ended.
final class FuzzRound: Sendable {
    private let generator: SeededRandom
    let handle: LoopHandle
    let model = Mutex(FuzzModel())
    let operations: [FuzzOperation]

    let locks: [LoopLock]
    let semaphore: LoopSemaphore
    let bounded: LoopBoundedSemaphore
    let events: [LoopEvent]
    let condition: LoopCondition
    let queues: [LoopQueue<Int>]
    let barrier: LoopBarrier

    static let permits = 2
    static let parties = 3

    init(seed: UInt64, on loop: Loop) {
        var random = SeededRandom(seed: seed)
        operations = FuzzOperation.choose(&random)
        generator = random
        handle = loop.handle
        locks = (0..<3).map { _ in LoopLock(on: loop) }
        semaphore = LoopSemaphore(value: Self.permits, on: loop)
        bounded = LoopBoundedSemaphore(value: Self.permits, on: loop)
        events = (0..<2).map { _ in LoopEvent(on: loop) }
        condition = LoopCondition(on: loop)
        queues = FuzzQueues.make(on: loop)
        barrier = LoopBarrier(parties: Self.parties, on: loop)
    }

    func update<Result>(_ body: (inout FuzzModel) throws -> Result) rethrows -> Result {
        try model.withCheckedLock { try body(&$0) }
    }

    // MARK: Running

    /// Runs the round to its end, and checks that nothing was lost.
    func run(on loop: Loop) throws {
        var random = generator
        let taskCount = 4 + random.next(below: 20)
        let count = 10 + random.next(below: 60)
        // Rounds without cancellation, too: what fails there is not about cancelling.
        let oddsOfCancelling = [0, 3, 10, 50][random.next(below: 4)]
        for number in 0..<taskCount {
            let generator = random.fork()
            loop.createTask(name: "fuzz \(number)", eager: random.next(below: 2) == 0) {
                try await self.work(count, generator)
            }
        }
        while !loop.allTasks.isEmpty || loop.statistics.readyCount > 0 {
            try loop.run(.noWait)
            if oddsOfCancelling > 0, random.next(below: oddsOfCancelling) == 0 {
                cancelOne(of: loop, &random)
            } else if loop.statistics.readyCount > 0 {
                continue
            } else if loop.statistics.timerCount > 0 {
                try loop.run(.once)
            } else if !loop.allTasks.isEmpty {
                try checkWaits(on: loop)
                try unblock(on: loop, &random)
            }
        }
        try checkEnd(on: loop)
    }

    func cancelOne(of loop: Loop, _ random: inout SeededRandom) {
        let tasks = loop.allTasks
        guard !tasks.isEmpty else { return }
        cancel(tasks[random.next(below: tasks.count)])
    }

    /// Right behind what wakes those who wait for `wait`: sometimes cancels the first of them, who
    /// was woken and did not go on yet, and sometimes anybody.
    func cancelBehind(_ wait: FuzzWait, on loop: Loop = .running, _ random: inout SeededRandom) {
        switch random.next(below: 8) {
        case 0, 1:
            let waiters = update { $0.waiting(wait) }
            if let task = waiters.first?.task { cancel(task) }
        case 2: cancelOne(of: loop, &random)
        default: break
        }
    }

    private func cancel(_ task: any AnyLoopTask) {
        update {
            $0.note(task.cancelling)
            $0.cancelled(task)
        }
        task.cancel(nil)
    }

    // MARK: Checking

    /// Nothing runs any more: whoever waits must have a reason.
    private func checkWaits(on loop: Loop) throws {
        func check(_ wait: FuzzWait, _ reason: Bool) throws {
            let count = update { $0.waiting(wait).count }
            try expect(count == 0 || reason, "\(count) wait for \(wait), and it is there")
        }
        for index in locks.indices {
            let place = FuzzWait.numbered(.lock0, index)
            try check(place, update { $0.held[place.rawValue] } == 1)
        }
        for place in [FuzzWait.permit, .boundedPermit] {
            try check(place, update { $0.held[place.rawValue] } == Self.permits)
        }
        for (index, event) in events.enumerated() {
            try check(.numbered(.event0, index), !event.isSet)
        }
        try check(.token, update { $0.tokens } == 0 && !condition.isLocked)
        for (index, queue) in queues.enumerated() {
            try check(.numbered(.put0, index), queue.isFull)
            try check(.numbered(.get0, index), queue.isEmpty)
            try check(.numbered(.join0, index), update { $0.unfinished[index] } > 0)
        }
        let atBarrier = update { $0.waiting(.barrier).count }
        try expect(barrier.nWaiting, equals: atBarrier, "the tasks at the barrier")
        try expect(atBarrier < Self.parties, "\(atBarrier) wait at the barrier")
        let pending = update { $0.futures.count { !$0.future.isDone } }
        try check(.future, pending > 0)
        try expect(!waits.isEmpty, "tasks wait for nothing that is known")
    }

    /// What is waited for.
    private var waits: [FuzzWait] {
        update { model in FuzzWait.allCases.filter { !model.waiting($0).isEmpty } }
    }

    /// Takes away the reason of one of those who wait.
    private func unblock(on loop: Loop, _ random: inout SeededRandom) throws {
        let waits = waits
        let wait = waits[random.next(below: waits.count)]
        update { $0.note(wait.rawValue) }
        switch wait {
        case .lock0, .lock1, .lock2, .permit, .boundedPermit:
            // Who holds it waits for something else.
            break
        case .event0: events[0].set()
        case .event1: events[1].set()
        case .token:
            loop.createTask { try await self.addToken(sleeping: false) }
        case .put0, .put1, .put2, .put3:
            try takeNoWait(from: wait.rawValue - FuzzWait.put0.rawValue)
        case .get0, .get1, .get2, .get3:
            try putNoWait(into: wait.rawValue - FuzzWait.get0.rawValue, &random)
        case .join0, .join1, .join2, .join3:
            let queue = wait.rawValue - FuzzWait.join0.rawValue
            if queues[queue].isEmpty { cancelOne(of: loop, &random) }
            while !queues[queue].isEmpty { try takeNoWait(from: queue) }
        case .barrier: barrier.reset()
        case .future: completeOneFuture(&random)
        }
        cancelBehind(wait, on: loop, &random)
    }

    /// All tasks ended: everything must be back where it was.
    private func checkEnd(on loop: Loop) throws {
        try expect(loop.statistics.timerCount, equals: 0, "timers")
        try expect(locks.allSatisfy { !$0.isLocked } && !condition.isLocked, "a lock was lost")
        try expect(semaphore.available, equals: Self.permits, "permits")
        try expect(bounded.available, equals: Self.permits, "permits of the bounded semaphore")
        try expect(barrier.nWaiting, equals: 0, "tasks at the barrier")
        try expect(waits, equals: [], "waits are left")
        try expect(update { $0.held.allSatisfy { $0 == 0 } }, "holders are left")
        for index in queues.indices {
            while !queues[index].isEmpty { try takeNoWait(from: index) }
            try expect(update { $0.content[index] }, equals: [], "queue \(index) lost items")
            try expect(update { $0.unfinished[index] }, equals: 0, "items not done")
            try expectError(.invalidState) { try queues[index].taskDone() }
        }
        // On a loop with a task that nobody counted this would report it.
        try loop.close()
    }
}
