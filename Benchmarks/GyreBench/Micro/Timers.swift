// SPDX-License-Identifier: Apache-2.0

import Gyre

extension MicroCase {
    private static let timerCount = 100_000
    private static let repetitions = 11

    /// All are pending at once: 100,000 timeouts of which none is reached.
    static let timerScheduleCancel = MicroCase(
        name: "timer_schedule_cancel",
        about: "schedule and cancel a timer, with 100,000 pending"
    ) { policy in
        let loop = try policy.makeLoop()
        defer { try? loop.close() }
        var random = RandomNumbers()
        let counter = Counter()
        var timers: [LoopTimer] = []
        timers.reserveCapacity(timerCount)
        // Handed in: a captured variable would be checked for overlapping accesses at every timer.
        func repetition(_ timers: inout [LoopTimer]) throws -> Double {
            let delays = (0..<timerCount).map { step in
                Duration.nanoseconds(60_000_000_000 + random.next(below: 1_000_000_000))
            }
            let cost = try cpuNanoseconds(per: timerCount) {
                for delay in delays {
                    timers.append(loop.callLater(delay) { counter.value += 1 })
                }
                for timer in timers { timer.cancel() }
                // What a loop puts off when a timer is cancelled, it does in its next iteration.
                try loop.run(.noWait)
            }
            timers.removeAll(keepingCapacity: true)
            guard loop.statistics.timerCount == 0, counter.value == 0 else {
                throw BenchError("a cancelled timer is still there")
            }
            return cost
        }
        _ = try repetition(&timers)
        let costs = try (0..<repetitions).map { _ in try repetition(&timers) }
        return [try MicroResult("timer_schedule_cancel", unit: "ns", costs)]
    }

    /// Scheduled with random deadlines in the next millisecond, which all have passed when the last
    /// is scheduled, so the loop need not wait.
    static let timerFire = MicroCase(
        name: "timer_fire", about: "schedule a timer and fire it, with 100,000 pending"
    ) { policy in
        let loop = try policy.makeLoop()
        defer { try? loop.close() }
        var random = RandomNumbers()
        let counter = Counter()
        func repetition() throws -> Double {
            let delays = (0..<timerCount).map { step in
                Duration.nanoseconds(random.next(below: 1_000_000))
            }
            counter.value = 0
            return try cpuNanoseconds(per: timerCount) {
                for delay in delays {
                    loop.callLater(delay) { counter.value += 1 }
                }
                while counter.value < timerCount { try loop.run(.once) }
            }
        }
        _ = try repetition()
        let costs = try (0..<repetitions).map { _ in try repetition() }
        return [try MicroResult("timer_fire", unit: "ns", costs)]
    }
}
