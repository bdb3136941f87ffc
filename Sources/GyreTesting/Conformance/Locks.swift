// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// Locks, events, conditions and semaphores.
enum Locks {
    static let behaviours: [Behaviour] = [
        Behaviour("aLockIsGrantedInOrder", [74], .locks, aLockIsGrantedInOrder),
        Behaviour("aLockThatIsPassedOnIsNotStolen", [74], .locks, aLockThatIsPassedOnIsNotStolen),
        Behaviour(
            "aLockWaiterCancelledAfterItWasChosenPassesTheLockOn", [75], .locks,
            aLockWaiterCancelledAfterItWasChosenPassesTheLockOn),
        Behaviour(
            "aLockWaiterCancelledBeforeItsTurnLeavesTheLine", [], .locks,
            aLockWaiterCancelledBeforeItsTurnLeavesTheLine),
        Behaviour("withLockGivesTheLockBack", [], .locks, withLockGivesTheLockBack),
        Behaviour("aFreeLockIsNotReleased", [], .locks, aFreeLockIsNotReleased),
        Behaviour("aLockOfAnotherLoopIsRefused", [], .locks, aLockOfAnotherLoopIsRefused),
        Behaviour("setThenClearWakesAll", [76], .locks, setThenClearWakesAll),
        Behaviour("anEventHoldsUntilItIsCleared", [], .locks, anEventHoldsUntilItIsCleared),
        Behaviour(
            "aCancelledWaitForAnEventLeavesTheOthers", [], .locks,
            aCancelledWaitForAnEventLeavesTheOthers),
        Behaviour("anEventIsSetFromThreads", [], .locks, anEventIsSetFromThreads),
        Behaviour("aConditionWaiterHasTheLockAgain", [77], .locks, aConditionWaiterHasTheLockAgain),
        Behaviour(
            "aCancelledConditionWaiterHasTheLockAgain", [77], .locks,
            aCancelledConditionWaiterHasTheLockAgain),
        Behaviour(
            "aCancelledConditionWaiterPassesTheNotificationOn", [77], .locks,
            aCancelledConditionWaiterPassesTheNotificationOn),
        Behaviour(
            "aConditionWaiterIsCancelledWhileItWaitsForTheLock", [77], .locks,
            aConditionWaiterIsCancelledWhileItWaitsForTheLock),
        Behaviour(
            "aCancelledChildWaitsForTheLockQuietly", [77], .locks,
            aCancelledChildWaitsForTheLockQuietly),
        Behaviour("aConditionIsAskedUntilItHolds", [], .locks, aConditionIsAskedUntilItHolds),
        Behaviour("notifyWakesAsManyAsAsked", [], .locks, notifyWakesAsManyAsAsked),
        Behaviour("aConditionNeedsItsLock", [], .locks, aConditionNeedsItsLock),
        Behaviour("aSemaphoreBoundsHowManyRun", [], .locks, aSemaphoreBoundsHowManyRun),
        Behaviour(
            "aPermitOfACancelledWaiterIsPassedOn", [75], .locks, aPermitOfACancelledWaiterIsPassedOn
        ),
        Behaviour(
            "aBoundedSemaphoreRefusesOneTooMany", [78], .locks, aBoundedSemaphoreRefusesOneTooMany),
    ]

    private struct Failure: Error {}
    private typealias Notes = SharedValue<[String]>

    // MARK: Lock

    static func aLockIsGrantedInOrder(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let lock = LoopLock(on: loop)
        let order = Notes([])
        for name in ["a", "b", "c"] {
            loop.createTask {
                try await lock.withLock {
                    order.update { $0.append("\(name) in") }
                    try await sleep(.zero)
                    order.update { $0.append("\(name) out") }
                }
            }
        }
        try kit.drain(loop)
        try expect(order.value, equals: ["a in", "a out", "b in", "b out", "c in", "c out"])
        try expect(!lock.isLocked, "it is free at the end")
    }

    static func aLockThatIsPassedOnIsNotStolen(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let lock = LoopLock(on: loop)
        let order = Notes([])
        loop.createTask {
            try await lock.acquire()
            try await sleep(.zero)
            try lock.release()
            // The lock is the waiter's by now, although that did not go on yet.
            try expect(lock.isLocked, "it was passed on")
            try await lock.withLock { order.update { $0.append("first again") } }
        }
        loop.createTask { try await lock.withLock { order.update { $0.append("waiter") } } }
        try kit.drain(loop)
        try expect(order.value, equals: ["waiter", "first again"])
    }

    static func aLockWaiterCancelledAfterItWasChosenPassesTheLockOn(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let lock = LoopLock(on: loop)
        let order = Notes([])
        loop.createTask { try await lock.acquire() }
        let chosen = loop.createTask {
            try await lock.withLock { order.update { $0.append("chosen") } }
        }
        let next = loop.createTask {
            try await lock.withLock { order.update { $0.append("next") } }
        }
        try kit.drain(loop)
        loop.callSoon {
            try lock.release()
            chosen.cancel()
        }
        try kit.drain(loop)
        try expect(order.value, equals: ["next"])
        try expect(chosen.isCancelled && next.isDone && !lock.isLocked, "nobody hangs")
    }

    static func aLockWaiterCancelledBeforeItsTurnLeavesTheLine(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let lock = LoopLock(on: loop)
        let order = Notes([])
        loop.createTask { try await lock.acquire() }
        let waiters = ["a", "b", "c", "d"].map { name in
            loop.createTask { try await lock.withLock { order.update { $0.append(name) } } }
        }
        try kit.drain(loop)
        // The first, one in the middle and the last.
        for index in [0, 2, 3] { waiters[index].cancel() }
        loop.callSoon { try lock.release() }
        try kit.drain(loop)
        try expect(order.value, equals: ["b"])
        try expect(waiters.map(\.isCancelled), equals: [true, false, true, true])
        try expect(!lock.isLocked, "it is free at the end")
    }

    static func withLockGivesTheLockBack(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        let lock = LoopLock(on: loop)
        let failing = loop.createTask { try await lock.withLock { throw Failure() } }
        try expectError(Failure.self) { try kit.complete(failing, on: loop) }
        try expect(!lock.isLocked, "after an error")
        let cancelled = loop.createTask { try await lock.withLock { try await sleep(.seconds(9)) } }
        loop.callLater(.seconds(1)) { cancelled.cancel() }
        try expectError(CancellationError.self) { try kit.complete(cancelled, on: loop) }
        try expect(!lock.isLocked, "after a cancellation")
        let value = loop.createTask { try await lock.withLock { 5 } }
        try expect(try kit.complete(value, on: loop), equals: 5)
        try expect(!lock.isLocked, "after a value")
    }

    static func aFreeLockIsNotReleased(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let lock = LoopLock(on: loop)
        try expectError(.invalidState) { try lock.release() }
        try expect(!lock.isLocked, "it stays free")
    }

    static func aLockOfAnotherLoopIsRefused(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let other = try kit.makeLoop()
        let lock = LoopLock(on: other)
        let event = LoopEvent(on: other)
        let acquires = loop.createTask { try await lock.acquire() }
        try expectError(.loopMismatch) { try kit.complete(acquires, on: loop) }
        let waits = loop.createTask { try await event.wait() }
        try expectError(.loopMismatch) { try kit.complete(waits, on: loop) }
    }

    // MARK: Event

    static func setThenClearWakesAll(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let event = LoopEvent(on: loop)
        let order = Notes([])
        for name in ["a", "b", "c"] {
            loop.createTask {
                try await event.wait()
                order.update { $0.append(name) }
            }
        }
        try kit.drain(loop)
        event.set()
        event.clear()
        try kit.drain(loop)
        try expect(order.value, equals: ["a", "b", "c"])
        try expect(!event.isSet, "it is clear")
    }

    static func anEventHoldsUntilItIsCleared(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let event = LoopEvent(on: loop)
        event.set()
        let through = loop.createTask(eager: true) { try await event.wait() }
        try kit.complete(through, on: loop)
        event.set()
        try expect(event.isSet, "it stays set")
        event.clear()
        let waits = loop.createTask { try await event.wait() }
        try kit.drain(loop)
        try expect(!waits.isDone, "who comes after clear waits")
        try expect(waits.waitsFor?.contains("event made at") == true, "it says what for")
        event.set()
        try kit.complete(waits, on: loop)
    }

    static func aCancelledWaitForAnEventLeavesTheOthers(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let event = LoopEvent(on: loop)
        let before = loop.createTask { try await event.wait() }
        let after = loop.createTask { try await event.wait() }
        let other = loop.createTask { try await event.wait() }
        try kit.drain(loop)
        before.cancel()
        event.set()
        after.cancel()
        try kit.drain(loop)
        try expect(before.isCancelled && after.isCancelled, "both are cancelled")
        try expect(other.isDone && !other.isCancelled, "the other goes on")
    }

    static func anEventIsSetFromThreads(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let event = LoopEvent(on: loop)
        let waits = loop.createTask { try await event.wait() }
        let thread = try TestThread { event.setThreadSafe() }
        try kit.complete(waits, on: loop)
        try thread.join()
        try expect(event.isSet, "it is set")
    }

    // MARK: Condition

    static func aConditionWaiterHasTheLockAgain(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let condition = LoopCondition(on: loop)
        let order = Notes([])
        loop.createTask {
            try await condition.withLock {
                try await condition.wait()
                order.update { $0.append("waiter") }
            }
        }
        loop.createTask {
            try await condition.withLock {
                try condition.notify()
                try await sleep(.zero)
                try await sleep(.zero)
                order.update { $0.append("notifier") }
            }
        }
        try kit.drain(loop)
        try expect(order.value, equals: ["notifier", "waiter"])
        try expect(!condition.isLocked, "the lock is free at the end")
    }

    static func aCancelledConditionWaiterHasTheLockAgain(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let condition = LoopCondition(on: loop)
        let order = Notes([])
        let waiter = loop.createTask {
            try await condition.acquire()
            do {
                try await condition.wait()
            } catch {
                order.update { $0.append("cancelled") }
                try condition.release()
                throw error
            }
        }
        try kit.drain(loop)
        try expect(!condition.isLocked, "who waits does not have the lock")
        loop.createTask {
            try await condition.withLock {
                waiter.cancel()
                try await sleep(.zero)
                try await sleep(.zero)
                order.update { $0.append("other") }
            }
        }
        try kit.drain(loop)
        try expect(order.value, equals: ["other", "cancelled"])
        try expect(waiter.isCancelled && !condition.isLocked, "it ended, and the lock is free")
    }

    static func aCancelledConditionWaiterPassesTheNotificationOn(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let condition = LoopCondition(on: loop)
        let tasks = (0..<3).map { _ in
            loop.createTask { try await condition.withLock { try await condition.wait() } }
        }
        try kit.drain(loop)
        loop.createTask {
            try await condition.withLock {
                try condition.notify()
                tasks[0].cancel()
            }
        }
        try kit.drain(loop)
        try expect(tasks.map(\.isDone), equals: [true, true, false])
        try expect(tasks.map(\.isCancelled), equals: [true, false, false])
        try expect(!condition.isLocked, "the lock is free")
        tasks[2].cancel()
        try kit.drain(loop)
    }

    static func aConditionWaiterIsCancelledWhileItWaitsForTheLock(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let condition = LoopCondition(on: loop)
        let tasks = (0..<2).map { _ in
            loop.createTask { try await condition.withLock { try await condition.wait() } }
        }
        try kit.drain(loop)
        let gate = LoopEvent(on: loop)
        loop.createTask {
            try await condition.withLock {
                try condition.notify()
                try await gate.wait()
            }
        }
        try kit.drain(loop)
        // It was notified, and now it waits for the lock that the notifier keeps.
        tasks[0].cancel()
        try kit.drain(loop)
        try expect(!tasks[0].isDone, "it does not go on without the lock")
        gate.set()
        try kit.drain(loop)
        try expect(tasks.map(\.isDone), equals: [true, true], "the notification was passed on")
        try expect(tasks.map(\.isCancelled), equals: [true, false])
        try expect(!condition.isLocked, "the lock is free")
    }

    static func aCancelledChildWaitsForTheLockQuietly(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let condition = LoopCondition(on: loop)
        let gate = LoopEvent(on: loop)
        let parent = loop.createTask {
            // Swift's flag stays set in a child, so every further wait is cancelled from the start.
            async let child: Void = condition.withLock { try await condition.wait() }
            try await child
        }
        try kit.drain(loop)
        loop.createTask { try await condition.withLock { try await gate.wait() } }
        try kit.drain(loop)
        parent.cancel()
        try kit.drain(loop)
        try expect(!parent.isDone, "it waits for the lock, and keeps no loop busy")
        gate.set()
        try kit.drain(loop)
        try expect(parent.isCancelled && !condition.isLocked, "it ended, and the lock is free")
    }

    static func aConditionIsAskedUntilItHolds(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let condition = LoopCondition(on: loop)
        let number = SharedValue(0)
        let waiter = loop.createTask { () async throws -> Int in
            try await condition.withLock {
                try await condition.wait { number.value >= 3 }
                return number.value
            }
        }
        loop.createTask {
            for _ in 0..<5 {
                try await condition.withLock {
                    number.update { $0 += 1 }
                    try condition.notifyAll()
                }
                try await sleep(.zero)
            }
        }
        try expect(try kit.complete(waiter, on: loop), equals: 3)
        try kit.drain(loop)
    }

    static func notifyWakesAsManyAsAsked(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let condition = LoopCondition(on: loop)
        let tasks = (0..<5).map { _ in
            loop.createTask { try await condition.withLock { try await condition.wait() } }
        }
        try kit.drain(loop)
        loop.createTask { try await condition.withLock { try condition.notify(2) } }
        try kit.drain(loop)
        try expect(tasks.map(\.isDone), equals: [true, true, false, false, false])
        loop.createTask { try await condition.withLock { try condition.notifyAll() } }
        try kit.drain(loop)
        try expect(tasks.count(where: \.isDone), equals: 5)
        try expect(!condition.isLocked, "the lock is free")
    }

    static func aConditionNeedsItsLock(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let condition = LoopCondition(lock: LoopLock(on: loop))
        try expectError(.invalidState) { try condition.notify() }
        try expectError(.invalidState) { try condition.notifyAll() }
        let waits = loop.createTask { try await condition.wait() }
        try expectError(.invalidState) { try kit.complete(waits, on: loop) }
    }

    // MARK: Semaphores

    static func aSemaphoreBoundsHowManyRun(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        let semaphore = LoopSemaphore(value: 2, on: loop)
        let running = SharedValue((now: 0, most: 0, order: [Int]()))
        let tasks = (0..<6).map { number in
            loop.createTask {
                try await semaphore.withPermit {
                    running.update {
                        $0.now += 1
                        $0.most = max($0.most, $0.now)
                        $0.order.append(number)
                    }
                    try await sleep(.milliseconds(number + 1))
                    running.update { $0.now -= 1 }
                }
            }
        }
        for task in tasks { try kit.complete(task, on: loop) }
        try expect(running.value.most, equals: 2)
        try expect(running.value.order, equals: [0, 1, 2, 3, 4, 5])
        try expect(semaphore.available, equals: 2)
        // Nobody counts what was taken.
        semaphore.release()
        try expect(semaphore.available, equals: 3)
        try expect(!semaphore.isLocked, "there are permits")
    }

    static func aPermitOfACancelledWaiterIsPassedOn(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let semaphore = LoopSemaphore(value: 0, on: loop)
        let tasks = (0..<3).map { _ in loop.createTask { try await semaphore.acquire() } }
        try kit.drain(loop)
        try expect(semaphore.isLocked, "there is none")
        loop.callSoon {
            semaphore.release()
            semaphore.release()
            tasks[0].cancel()
        }
        try kit.drain(loop)
        try expect(tasks.map(\.isCancelled), equals: [true, false, false])
        try expect(tasks.map(\.isDone), equals: [true, true, true])
        try expect(semaphore.available, equals: 0)
    }

    static func aBoundedSemaphoreRefusesOneTooMany(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let semaphore = LoopBoundedSemaphore(value: 1, on: loop)
        try expectError(.invalidState) { try semaphore.release() }
        let order = Notes([])
        for name in ["a", "b"] {
            loop.createTask {
                try await semaphore.withPermit {
                    order.update { $0.append(name) }
                    try await sleep(.zero)
                }
            }
        }
        try kit.drain(loop)
        try expect(order.value, equals: ["a", "b"])
        try expectError(.invalidState) { try semaphore.release() }
        try expect(semaphore.available, equals: 1)
        try expect(semaphore.bound, equals: 1)
    }
}
