// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore

// Timers in real time: what a wait in the kernel costs, and that it is long enough.

extension Timers {
    static func waitingForATimerSleepsInTheKernel(_ kit: ConformanceKit) throws {
        try onNewThread {
            let loop = try kit.makeLoop()
            let start = loop.now
            loop.callLater(.milliseconds(50)) { loop.stop() }
            let processorTime = ThreadState.current.processorTime
            try kit.run(loop)
            let used = ThreadState.current.processorTime - processorTime
            let passed = start.duration(to: loop.now)
            let ticks = loop.statistics.ticks
            try expect(passed >= .milliseconds(50), "fired after \(passed)")
            // A few, since whoever stops the process interrupts the wait; not thousands.
            try expect(ticks < 50, "\(ticks) iterations for one timer")
            try expect(used < .milliseconds(40), "used the processor for \(used) of \(passed)")
        }
    }

    static func anIdleLoopSleepsUntilAnotherThreadCalls(_ kit: ConformanceKit) throws {
        try onNewThread {
            let loop = try kit.makeLoop()
            try runUntilAnotherThreadCalls(loop, kit)
            let statistics = loop.statistics
            try expect(statistics.ticks < 50, "\(statistics.ticks) iterations for one call")
            try expect(statistics.wakeUpsSent, equals: 1, "wake-ups sent")
            try expect(statistics.threadSafeCalls, equals: 1, "calls from other threads")
        }
    }

    /// Where wake-ups are counted, the thread must not have run a ring before: the kernel takes a
    /// ring down after it was closed, and interrupts the waits of the thread that drove it.
    private static func onNewThread(_ body: @escaping @Sendable () throws -> Void) throws {
        try TestThread(body).join(within: .seconds(60))
    }

    /// Runs `loop`, which has nothing to do, until its thread blocks; then stops it from another
    /// thread, which must end the wait at once.
    static func runUntilAnotherThreadCalls(_ loop: Loop, _ kit: ConformanceKit) throws {
        let handle = loop.handle
        let state = ThreadState.current
        let latency = SharedValue<Duration?>(nil)
        let thread = try TestThread {
            try state.waitUntilAsleep(in: handle)
            let called = LoopClock.monotonic.now
            try handle.callSoonThreadSafe { loop in
                latency.value = called.duration(to: LoopClock.monotonic.now)
                loop.stop()
            }
        }
        let outcome = Result { try kit.run(loop) }
        try thread.join()
        try outcome.get()
        guard let latency = latency.value else { throw ConformanceFailure("never called") }
        try expect(latency < .seconds(5), "the loop needed \(latency) to wake up")
    }

    static func noTimerFiresEarly(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var early: [Duration] = []
        var fired = 0
        for number in 0..<200 {
            // Odd nanoseconds: a wait that is cut to coarser units would be over too early.
            let deadline = loop.now.advanced(by: .nanoseconds(number * 104_729))
            loop.callAt(deadline) {
                fired += 1
                let now = loop.now
                if now < deadline { early.append(now.duration(to: deadline)) }
                if fired == 200 { loop.stop() }
            }
        }
        try kit.run(loop)
        try expect(early.isEmpty, "early by \(early)")
    }
}
