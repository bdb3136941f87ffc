// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// Groups of tasks.
enum TaskGroups {
    static let behaviours: [Behaviour] = [
        Behaviour("aGroupWaitsForItsTasks", [], .taskGroups, aGroupWaitsForItsTasks),
        Behaviour(
            "theFirstErrorOfAGroupCancelsTheRest", [71], .taskGroups,
            theFirstErrorOfAGroupCancelsTheRest),
        Behaviour(
            "aGroupDeliversAllErrorsTogether", [71], .taskGroups, aGroupDeliversAllErrorsTogether),
        Behaviour(
            "anErrorOfTheBodyCancelsTheGroup", [71], .taskGroups, anErrorOfTheBodyCancelsTheGroup),
        Behaviour(
            "aGroupThatEndsTakesNoTasks", [72], .taskGroups, aGroupThatEndsTakesNoTasks),
        Behaviour(
            "aCancelledTaskDisturbsNoGroup", [], .taskGroups, aCancelledTaskDisturbsNoGroup),
        Behaviour("cancellingAGroupCancelsAll", [], .taskGroups, cancellingAGroupCancelsAll),
        Behaviour(
            "aGroupLeavesNothingBehindInTheTask", [], .taskGroups,
            aGroupLeavesNothingBehindInTheTask),
        Behaviour("groupsAreNested", [], .taskGroups, groupsAreNested),
        Behaviour("swiftsOwnGroupsWork", [], .taskGroups, swiftsOwnGroupsWork),
    ]

    static func aGroupWaitsForItsTasks(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let start = Loop.running.now
            let ended = SharedValue<[Int]>([])
            var count = 0
            let value = try await withLoopTaskGroup { group in
                for number in 1...3 {
                    count += 1
                    try group.createTask {
                        try await sleep(.seconds(number))
                        ended.update { $0.append(number) }
                        // A task of the group makes another.
                        guard number == 3 else { return }
                        try group.createTask {
                            try await sleep(.seconds(1))
                            ended.update { $0.append(4) }
                        }
                    }
                }
                try expect(group.count, equals: 3)
                return "value"
            }
            try expect(value, equals: "value")
            try expect(ended.value, equals: [1, 2, 3, 4])
            try expect(Loop.running.seconds(since: start), equals: 4)
            try expect(count, equals: 3)
            try expect(try await withLoopTaskGroup { _ in 5 }, equals: 5, "a group without tasks")
        }
    }

    static func theFirstErrorOfAGroupCancelsTheRest(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let start = Loop.running.now
            let cancelled = SharedValue<[String]>([])
            @Sendable func sleepLong(_ name: String, cleanUp: Duration = .zero) async throws {
                do {
                    try await sleep(.seconds(99))
                } catch {
                    cancelled.update { $0.append(name) }
                    try await sleep(cleanUp)
                    throw error
                }
            }
            let error = try await expectAsyncError(LoopTaskGroupError.self) {
                try await withLoopTaskGroup { group in
                    try group.createTask { try await sleepLong("first") }
                    try group.createTask { try await sleepLong("slow", cleanUp: .seconds(2)) }
                    try group.createTask {
                        try await sleep(.seconds(1))
                        throw TimedFailure(number: 4)
                    }
                    try await sleepLong("body")
                }
            }
            try expect(error.errors.map { $0 as? TimedFailure }, equals: [TimedFailure(number: 4)])
            try expect(cancelled.value.sorted(), equals: ["body", "first", "slow"])
            try expect(Loop.running.seconds(since: start), equals: 3, "when every task has ended")
        }
    }

    static func aGroupDeliversAllErrorsTogether(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let error = try await expectAsyncError(LoopTaskGroupError.self) {
                try await withLoopTaskGroup { group in
                    for number in 1...3 {
                        try group.createTask {
                            do { try await sleep(.seconds(number)) } catch {}
                            throw TimedFailure(number: number)
                        }
                    }
                    do { try await sleep(.seconds(99)) } catch { throw TimedFailure(number: 9) }
                }
            }
            let numbers = error.errors.map { ($0 as? TimedFailure)?.number }
            try expect(numbers, equals: [1, 2, 3, 9], "the body's last")
            try expect(error.description.hasPrefix("4 tasks of the group failed: "), "\(error)")
        }
    }

    static func anErrorOfTheBodyCancelsTheGroup(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let made = SharedValue<LoopTask<Void>?>(nil)
            let error = try await expectAsyncError(LoopTaskGroupError.self) {
                try await withLoopTaskGroup { group in
                    let task = try group.createTask { try await sleep(.seconds(99)) }
                    made.update { $0 = task }
                    try await sleep(.seconds(1))
                    throw TimedFailure(number: 1)
                }
            }
            try expect(error.errors.count, equals: 1)
            try expect(made.value?.isCancelled, equals: true)
        }
    }

    static func aGroupThatEndsTakesNoTasks(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let began = SharedValue(false)
            let refused = SharedValue(0)
            var kept: LoopTaskGroup?
            try await expectAsyncError(LoopTaskGroupError.self) {
                try await withLoopTaskGroup { group in
                    kept = group
                    try group.createTask { throw TimedFailure() }
                    try group.createTask {
                        do { try await sleep(.seconds(99)) } catch {
                            try expectError(.invalidState) {
                                try group.createTask { began.update { $0 = true } }
                            }
                            refused.update { $0 += 1 }
                        }
                    }
                    do { try await sleep(.seconds(99)) } catch {
                        try expectError(.invalidState) {
                            try group.createTask(eager: true) { began.update { $0 = true } }
                        }
                        refused.update { $0 += 1 }
                    }
                }
            }
            guard let group = kept else { throw ConformanceFailure("there was no group") }
            try expectError(.invalidState) {
                try group.createTask { began.update { $0 = true } }
            }
            try await sleep(.seconds(1))
            try expect(refused.value, equals: 2)
            try expect(!began.value, "no refused task began")
        }
    }

    static func aCancelledTaskDisturbsNoGroup(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let value = try await withLoopTaskGroup { group in
                let victim = try group.createTask { try await sleep(.seconds(99)) }
                let other = try group.createTask {
                    try await sleep(.seconds(2))
                    return 6
                }
                try await sleep(.seconds(1))
                victim.cancel()
                return try await other.value
            }
            try expect(value, equals: 6)
        }
    }

    static func cancellingAGroupCancelsAll(_ kit: ConformanceKit) throws {
        try kit.runTask {
            for bodyWaits in [true, false] {
                let cancelled = SharedValue(0)
                let task = Loop.running.createTask {
                    try await withLoopTaskGroup { group in
                        for _ in 0..<2 {
                            try group.createTask {
                                do { try await sleep(.seconds(99)) } catch {
                                    cancelled.update { $0 += 1 }
                                    throw error
                                }
                            }
                        }
                        if bodyWaits { try await sleep(.seconds(99)) }
                    }
                }
                try await sleep(.seconds(1))
                task.cancel()
                try await expectAsyncError(CancellationError.self) { try await task.value }
                try expect(task.isCancelled, "the task is cancelled")
                try expect(cancelled.value, equals: 2, "tasks of the group that were cancelled")
            }
            // An error goes first, and the cancellation comes at the next wait.
            let task = Loop.running.createTask {
                let error = try await expectAsyncError(LoopTaskGroupError.self) {
                    _ = try await withLoopTaskGroup { group in
                        try group.createTask {
                            do { try await sleep(.seconds(99)) } catch { throw TimedFailure() }
                        }
                    }
                }
                try expect(error.errors.count, equals: 1)
                try await sleep(.seconds(9))
            }
            try await sleep(.seconds(1))
            task.cancel()
            try await expectAsyncError(CancellationError.self) { try await task.value }
        }
    }

    static func aGroupLeavesNothingBehindInTheTask(_ kit: ConformanceKit) throws {
        try kit.runTask {
            try await expectAsyncError(LoopTaskGroupError.self) {
                try await withLoopTaskGroup { group in
                    try group.createTask { throw TimedFailure() }
                    try await sleep(.seconds(99))
                }
            }
            try expect(Loop.running.currentTask?.cancelling, equals: 0)
            try expect(!Task.isCancelled, "the task was not cancelled")
            try await sleep(.seconds(1))
        }
    }

    static func groupsAreNested(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let error = try await expectAsyncError(LoopTaskGroupError.self) {
                try await withLoopTaskGroup { outer in
                    try outer.createTask { try await sleep(.seconds(99)) }
                    try await withLoopTaskGroup { inner in
                        try inner.createTask { throw TimedFailure(number: 1) }
                    }
                }
            }
            let inner = error.errors.first as? LoopTaskGroupError
            try expect(error.errors.count, equals: 1)
            try expect(inner?.errors.first as? TimedFailure, equals: TimedFailure(number: 1))
            // A failing outer task ends the inner group, too.
            let other = try await expectAsyncError(LoopTaskGroupError.self) {
                try await withLoopTaskGroup { outer in
                    try outer.createTask {
                        try await sleep(.seconds(1))
                        throw TimedFailure(number: 2)
                    }
                    try await withLoopTaskGroup { inner in
                        try inner.createTask { try await sleep(.seconds(99)) }
                    }
                }
            }
            try expect(other.errors.map { $0 as? TimedFailure }, equals: [TimedFailure(number: 2)])
        }
    }

    static func swiftsOwnGroupsWork(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let handle = Loop.running.handle
            let sum = try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 1...4 {
                    group.addTask {
                        try expect(handle.isOnLoop, "children run on the loop")
                        try await sleep(.seconds(number))
                        return number
                    }
                }
                var sum = 0
                for try await number in group { sum = sum * 10 + number }
                return sum
            }
            try expect(sum, equals: 1234)
            try await expectAsyncError(TimedFailure.self) {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { try await sleep(.seconds(99)) }
                    group.addTask { throw TimedFailure() }
                    try await group.waitForAll()
                }
            }
        }
    }
}
