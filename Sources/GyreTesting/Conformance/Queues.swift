// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// Queues and barriers: what tasks hand to each other, and where they meet.
enum Queues {
    static let behaviours: [Behaviour] = [
        Behaviour("itemsComeInTheOrderTheyWerePut", [], .queues, itemsComeInTheOrderTheyWerePut),
        Behaviour("aFullQueueMakesPuttersWait", [], .queues, aFullQueueMakesPuttersWait),
        Behaviour(
            "aCancelledPutLeavesTheQueueAsItWas", [79], .queues,
            aCancelledPutLeavesTheQueueAsItWas),
        Behaviour(
            "aPutterCancelledAfterItWasChosenPassesTheRoomOn", [79], .queues,
            aPutterCancelledAfterItWasChosenPassesTheRoomOn),
        Behaviour(
            "aGetterCancelledAfterItWasChosenLosesNoItem", [80], .queues,
            aGetterCancelledAfterItWasChosenLosesNoItem),
        Behaviour(
            "gettersHaveTheirTurnBeforeNewcomers", [], .queues,
            gettersHaveTheirTurnBeforeNewcomers),
        Behaviour("whoLostToNoWaitKeepsItsPlace", [], .queues, whoLostToNoWaitKeepsItsPlace),
        Behaviour("joinWaitsForTheWork", [81], .queues, joinWaitsForTheWork),
        Behaviour("taskDoneOnceTooOftenIsAnError", [81], .queues, taskDoneOnceTooOftenIsAnError),
        Behaviour("shutdownLetsGettersDrain", [82], .queues, shutdownLetsGettersDrain),
        Behaviour("shutdownFailsPuttersAtOnce", [82], .queues, shutdownFailsPuttersAtOnce),
        Behaviour(
            "immediateShutdownEmptiesTheQueue", [82], .queues, immediateShutdownEmptiesTheQueue),
        Behaviour(
            "aLIFOQueueHandsOutTheNewestFirst", [83], .queues, aLIFOQueueHandsOutTheNewestFirst),
        Behaviour(
            "aPriorityQueueHandsOutTheSmallestFirst", [83], .queues,
            aPriorityQueueHandsOutTheSmallestFirst),
        Behaviour("everyOrderBlocksAlike", [83], .queues, everyOrderBlocksAlike),
        Behaviour("aQueueIsASequence", [], .queues, aQueueIsASequence),
        Behaviour("noWaitFailsInsteadOfWaiting", [], .queues, noWaitFailsInsteadOfWaiting),
        Behaviour("aBarrierLetsGoTogether", [], .queues, aBarrierLetsGoTogether),
        Behaviour("aCancelledTaskLeavesTheBarrier", [], .queues, aCancelledTaskLeavesTheBarrier),
        Behaviour("aBrokenBarrierFailsUntilReset", [], .queues, aBrokenBarrierFailsUntilReset),
    ]

    private typealias Notes = SharedValue<[String]>
    private typealias Numbers = SharedValue<[Int]>

    /// Makes a task that takes one item and notes it.
    private static func getter(
        _ queue: LoopQueue<Int>, on loop: Loop, _ numbers: Numbers
    ) -> LoopTask<Void> {
        loop.createTask {
            let number = try await queue.get()
            numbers.update { $0.append(number) }
        }
    }

    static func itemsComeInTheOrderTheyWerePut(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(on: loop)
        let numbers = Numbers([])
        for number in 0..<3 { try queue.putNoWait(number) }
        for _ in 0..<6 { _ = getter(queue, on: loop, numbers) }
        try kit.drain(loop)
        try expect(queue.isEmpty && queue.count == 0, "they were taken")
        for number in 3..<6 { try queue.putNoWait(number) }
        try expect(queue.count, equals: 3, "they stay until the getters go on")
        try kit.drain(loop)
        try expect(numbers.value, equals: Array(0..<6))
    }

    static func aFullQueueMakesPuttersWait(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(maxSize: 2, on: loop)
        let putters = (0..<4).map { number in loop.createTask { try await queue.put(number) } }
        try kit.drain(loop)
        try expect(putters.map(\.isDone), equals: [true, true, false, false])
        try expect(queue.isFull && queue.count == 2 && queue.maxSize == 2, "it is full")
        try expect(try queue.getNoWait(), equals: 0)
        try kit.drain(loop)
        try expect(putters.map(\.isDone), equals: [true, true, true, false])
        try expect(try (0..<2).map { _ in try queue.getNoWait() }, equals: [1, 2])
        try kit.drain(loop)
        try expect(try queue.getNoWait(), equals: 3)
    }

    static func aCancelledPutLeavesTheQueueAsItWas(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(maxSize: 1, on: loop)
        try queue.putNoWait(1)
        let cancelled = loop.createTask { try await queue.put(2) }
        let waiting = loop.createTask { try await queue.put(3) }
        try kit.drain(loop)
        cancelled.cancel()
        try kit.drain(loop)
        try expect(cancelled.isCancelled && queue.count == 1, "the queue is as it was")
        try expect(try queue.getNoWait(), equals: 1)
        try kit.complete(waiting, on: loop)
        try expect(try queue.getNoWait(), equals: 3)
        try expect(queue.isEmpty, "nothing of the cancelled put came")
    }

    static func aPutterCancelledAfterItWasChosenPassesTheRoomOn(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(maxSize: 1, on: loop)
        try queue.putNoWait(1)
        let chosen = loop.createTask { try await queue.put(2) }
        let next = loop.createTask { try await queue.put(3) }
        try kit.drain(loop)
        try expect(try queue.getNoWait(), equals: 1)
        chosen.cancel()
        try kit.drain(loop)
        try expect(chosen.isCancelled && next.isDone && !next.isCancelled, "the next one put")
        try expect(try queue.getNoWait(), equals: 3)
        try expect(queue.isEmpty, "and nobody else")
    }

    static func aGetterCancelledAfterItWasChosenLosesNoItem(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(on: loop)
        let numbers = Numbers([])
        let getters = (0..<3).map { _ in getter(queue, on: loop, numbers) }
        try kit.drain(loop)
        try queue.putNoWait(1)
        try queue.putNoWait(2)
        getters[0].cancel()
        try kit.drain(loop)
        try expect(getters.map(\.isCancelled), equals: [true, false, false])
        try expect(numbers.value, equals: [1, 2], "both arrived, in order")
        // With nobody left who waits, the item stays.
        let last = getter(queue, on: loop, numbers)
        try kit.drain(loop)
        try queue.putNoWait(3)
        last.cancel()
        try kit.drain(loop)
        try expect(last.isCancelled, "it is cancelled")
        try expect(try queue.getNoWait(), equals: 3)
    }

    static func gettersHaveTheirTurnBeforeNewcomers(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(on: loop)
        let order = Notes([])
        loop.createTask {
            let number = try await queue.get()
            order.update { $0.append("waiter \(number)") }
        }
        try kit.drain(loop)
        let newcomer = loop.createTask {
            try queue.putNoWait(1)
            // The item is there, but the waiter was woken for it.
            let number = try await queue.get()
            order.update { $0.append("newcomer \(number)") }
        }
        try kit.drain(loop)
        try expect(order.value, equals: ["waiter 1"])
        try queue.putNoWait(2)
        try kit.complete(newcomer, on: loop)
        try expect(order.value, equals: ["waiter 1", "newcomer 2"])
    }

    static func whoLostToNoWaitKeepsItsPlace(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(on: loop)
        let order = Notes([])
        for name in ["a", "b", "c"] {
            loop.createTask {
                let number = try await queue.get()
                order.update { $0.append("\(name)\(number)") }
            }
        }
        try kit.drain(loop)
        // Two are woken, and both find nothing.
        for number in 1...2 { try queue.putNoWait(number) }
        for number in 1...2 { try expect(try queue.getNoWait(), equals: number) }
        try kit.drain(loop)
        try expect(order.value, equals: [])
        for number in 3...5 { try queue.putNoWait(number) }
        try kit.drain(loop)
        try expect(order.value, equals: ["a3", "b4", "c5"])
    }

    // MARK: Joining and shutting down

    static func joinWaitsForTheWork(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(on: loop)
        let empty = loop.createTask { try await queue.join() }
        try kit.complete(empty, on: loop)
        for number in 0..<3 { try queue.putNoWait(number) }
        let joined = loop.createTask { try await queue.join() }
        for left in [2, 1, 0] {
            _ = try queue.getNoWait()
            try kit.drain(loop)
            try expect(!joined.isDone, "\(left) are left, and the last is not done")
            try queue.taskDone()
        }
        try kit.complete(joined, on: loop)
    }

    static func taskDoneOnceTooOftenIsAnError(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(on: loop)
        try expectError(.invalidState) { try queue.taskDone() }
        try queue.putNoWait(1)
        try queue.taskDone()
        try expectError(.invalidState) { try queue.taskDone() }
    }

    static func shutdownLetsGettersDrain(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(on: loop)
        let waits = loop.createTask { try await queue.get() }
        try kit.drain(loop)
        for number in 1...3 { try queue.putNoWait(number) }
        queue.shutdown()
        try expect(queue.isShutDown, "it says so")
        try expectError(.queueShutDown) { try queue.putNoWait(4) }
        // The first item is the waiter's; one of these finds nothing any more.
        let later = (0..<3).map { _ in loop.createTask { try await queue.get() } }
        try kit.drain(loop)
        try expect(try waits.result(), equals: 1)
        try expect(try later[0].result(), equals: 2)
        try expect(try later[1].result(), equals: 3)
        try expectError(.queueShutDown) { _ = try later[2].result() }
        try expectError(.queueShutDown) { _ = try queue.getNoWait() }
    }

    static func shutdownFailsPuttersAtOnce(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(maxSize: 1, on: loop)
        try queue.putNoWait(1)
        let putter = loop.createTask { try await queue.put(2) }
        try kit.drain(loop)
        queue.shutdown()
        try expectError(.queueShutDown) { try kit.complete(putter, on: loop) }
        let late = loop.createTask { try await queue.put(3) }
        try expectError(.queueShutDown) { try kit.complete(late, on: loop) }
        try expect(try queue.getNoWait(), equals: 1)
        // Getters that wait in an empty queue fail, too.
        let empty = LoopQueue<Int>(on: loop)
        let getters = (0..<2).map { _ in loop.createTask { try await empty.get() } }
        try kit.drain(loop)
        empty.shutdown()
        for getter in getters {
            try expectError(.queueShutDown) { _ = try kit.complete(getter, on: loop) }
        }
    }

    static func immediateShutdownEmptiesTheQueue(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(maxSize: 2, on: loop)
        for number in 1...2 { try queue.putNoWait(number) }
        let putter = loop.createTask { try await queue.put(3) }
        let joined = loop.createTask { try await queue.join() }
        try kit.drain(loop)
        queue.shutdown(immediate: true)
        try expect(queue.isEmpty, "it is empty")
        try kit.complete(joined, on: loop)
        try expectError(.queueShutDown) { try kit.complete(putter, on: loop) }
        let getter = loop.createTask { try await queue.get() }
        try expectError(.queueShutDown) { _ = try kit.complete(getter, on: loop) }
        try expectError(.invalidState) { try queue.taskDone() }
    }

    // MARK: Orders

    static func aLIFOQueueHandsOutTheNewestFirst(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(order: .lifo, on: loop)
        for number in [1, 2, 3] { try queue.putNoWait(number) }
        try expect(try queue.getNoWait(), equals: 3)
        try queue.putNoWait(4)
        try expect(try (0..<3).map { _ in try queue.getNoWait() }, equals: [4, 2, 1])
    }

    static func aPriorityQueueHandsOutTheSmallestFirst(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(order: .priority, on: loop)
        let numbers = (0..<100).map { ($0 * 37) % 100 }
        for number in numbers { try queue.putNoWait(number) }
        try expect(try numbers.map { _ in try queue.getNoWait() }, equals: Array(0..<100))
        // Those of equal priority come as they were put.
        let words = LoopQueue<String>(order: .priority { $0.count > $1.count }, on: loop)
        for word in ["a", "bb", "b", "cc", "c", "aa", "dddd"] { try words.putNoWait(word) }
        try expect(
            try (0..<7).map { _ in try words.getNoWait() },
            equals: ["dddd", "bb", "cc", "aa", "a", "b", "c"])
    }

    static func everyOrderBlocksAlike(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        for order in [LoopQueue<Int>.Order.fifo, .lifo, .priority] {
            let queue = LoopQueue<Int>(maxSize: 1, order: order, on: loop)
            let numbers = Numbers([])
            let getters = (0..<2).map { _ in getter(queue, on: loop, numbers) }
            try kit.drain(loop)
            try queue.putNoWait(7)
            try expectError(.queueFull) { try queue.putNoWait(8) }
            let putter = loop.createTask { try await queue.put(9) }
            getters[0].cancel()
            try kit.drain(loop)
            try expect(numbers.value, equals: [7], "the item went to the other getter")
            try expect(putter.isDone && queue.count == 1, "and the putter had its turn")
            try expect(try queue.getNoWait(), equals: 9)
        }
    }

    static func aQueueIsASequence(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(maxSize: 2, on: loop)
        let reader = loop.createTask { () async throws -> [Int] in
            var numbers: [Int] = []
            for try await number in queue { numbers.append(number) }
            return numbers
        }
        loop.createTask {
            for number in 0..<10 { try await queue.put(number) }
            queue.shutdown()
        }
        try expect(try kit.complete(reader, on: loop), equals: Array(0..<10))
        let endless = LoopQueue<Int>(on: loop)
        let cancelled = loop.createTask { for try await _ in endless {} }
        try kit.drain(loop)
        cancelled.cancel()
        try expectError(CancellationError.self) { try kit.complete(cancelled, on: loop) }
    }

    static func noWaitFailsInsteadOfWaiting(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let queue = LoopQueue<Int>(maxSize: 1, on: loop)
        try expectError(.queueEmpty) { _ = try queue.getNoWait() }
        try queue.putNoWait(1)
        try expectError(.queueFull) { try queue.putNoWait(2) }
        try expect(try queue.getNoWait(), equals: 1)
        let unbounded = LoopQueue<Int>(on: loop)
        for number in 0..<1000 { try unbounded.putNoWait(number) }
        try expect(!unbounded.isFull, "it has no limit")
    }

    // MARK: Barriers

    /// Makes tasks that wait at `barrier`, and tell the number they were given.
    private static func waiters(
        _ count: Int, at barrier: LoopBarrier, on loop: Loop
    ) -> [LoopTask<Int>] {
        (0..<count).map { _ in loop.createTask { try await barrier.wait() } }
    }

    static func aBarrierLetsGoTogether(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let barrier = LoopBarrier(parties: 3, on: loop)
        for _ in 0..<2 {
            let first = waiters(2, at: barrier, on: loop)
            try kit.drain(loop)
            try expect(barrier.nWaiting, equals: 2)
            try expect(!first.contains(where: \.isDone), "they wait for the third")
            let last = waiters(1, at: barrier, on: loop)
            try kit.drain(loop)
            try expect(try (first + last).map { try $0.result() }, equals: [0, 1, 2])
            try expect(barrier.nWaiting, equals: 0, "it is empty again")
        }
        // Seven come at once: two groups go, and one waits.
        let many = waiters(7, at: barrier, on: loop)
        try kit.drain(loop)
        try expect(
            try many.filter(\.isDone).map { try $0.result() }, equals: [0, 1, 2, 0, 1, 2])
        many[6].cancel()
        try kit.drain(loop)
        try expect(barrier.nWaiting, equals: 0)
        try expect(barrier.parties, equals: 3)
    }

    static func aCancelledTaskLeavesTheBarrier(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let barrier = LoopBarrier(parties: 3, on: loop)
        var tasks = waiters(2, at: barrier, on: loop)
        try kit.drain(loop)
        tasks[0].cancel()
        tasks += waiters(1, at: barrier, on: loop)
        try kit.drain(loop)
        try expect(barrier.nWaiting, equals: 2)
        tasks += waiters(1, at: barrier, on: loop)
        try kit.drain(loop)
        try expect(try tasks.dropFirst().map { try $0.result() }, equals: [0, 1, 2])
        try expect(tasks[0].isCancelled, "it was cancelled")
    }

    static func aBrokenBarrierFailsUntilReset(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let barrier = LoopBarrier(parties: 2, on: loop)
        let aborted = waiters(1, at: barrier, on: loop)
        try kit.drain(loop)
        barrier.abort()
        let late = waiters(2, at: barrier, on: loop)
        try kit.drain(loop)
        try expect(barrier.isBroken, "it says so")
        for task in aborted + late { try expectError(.barrierBroken) { _ = try task.result() } }
        barrier.reset()
        let reset = waiters(1, at: barrier, on: loop)
        try kit.drain(loop)
        try expect(!barrier.isBroken && !reset[0].isDone, "it works again")
        barrier.reset()
        try kit.drain(loop)
        try expectError(.barrierBroken) { _ = try reset[0].result() }
        let passed = waiters(2, at: barrier, on: loop)
        // Those who were let go go, whatever comes then.
        loop.createTask { barrier.abort() }
        try kit.drain(loop)
        try expect(try passed.map { try $0.result() }, equals: [0, 1])
    }
}
