// SPDX-License-Identifier: Apache-2.0

import GyreTesting
import Synchronization
import Testing

@testable import GyreCore

@Suite("LoopHandle")
struct LoopHandleTests {
    private final class CountingWaker: LoopWaker {
        let wakeUps = Atomic(0)
        var count: Int { wakeUps.load(ordering: .relaxed) }
        func wake() { wakeUps.wrappingAdd(1, ordering: .relaxed) }
    }

    private func take(_ handle: LoopHandle) -> Int {
        var mail = RingBuffer<LoopHandle.Mail>()
        handle.takeMail(into: &mail)
        return mail.count
    }

    @Test("A call to a loop that is awake costs no wake-up")
    func noWakeUpWhenAwake() throws {
        let waker = CountingWaker()
        let handle = LoopHandle(waker: waker)
        for _ in 0..<10 { try handle.callSoonThreadSafe { _ in } }
        #expect(waker.count == 0)
        #expect(handle.hasMail)
        #expect(take(handle) == 10)
        #expect(!handle.hasMail)
    }

    @Test("Of many calls to a loop that sleeps, the first wakes it")
    func oneWakeUpForMany() throws {
        let waker = CountingWaker()
        let handle = LoopHandle(waker: waker)
        #expect(handle.prepareToSleep())
        for _ in 0..<10 { try handle.callSoonThreadSafe { _ in } }
        #expect(waker.count == 1)
        handle.wokeUp()
        #expect(take(handle) == 10)
        #expect(handle.counts.received == 10)
        #expect(handle.counts.wakeUps == 1)
    }

    @Test("A loop with mail does not go to sleep")
    func noSleepWithMail() throws {
        let waker = CountingWaker()
        let handle = LoopHandle(waker: waker)
        try handle.callSoonThreadSafe { _ in }
        #expect(!handle.prepareToSleep())
        // And is not taken to be asleep afterwards.
        #expect(take(handle) == 1)
        try handle.callSoonThreadSafe { _ in }
        #expect(waker.count == 0)
    }

    @Test("A closed handle refuses calls and releases what was sent")
    func closing() throws {
        let handle = LoopHandle(waker: CountingWaker())
        let live = SharedValue(0)
        for _ in 0..<5 {
            let token = LifeToken(live)
            try handle.callSoonThreadSafe { _ in token.touch() }
        }
        #expect(live.value == 5)
        handle.close()
        #expect(live.value == 0)
        #expect(!handle.hasMail)
        let error = #expect(throws: LoopError.self) { try handle.callSoonThreadSafe { _ in } }
        #expect(error?.code == .closed)
    }

    /// A loop that sleeps for real, and threads that call it in bursts: when a wake-up is lost, the
    /// scripted backend traps after ten seconds of sleep.
    @Test("No wake-up is lost among many threads", arguments: [1, 4, 16])
    func noWakeUpIsLost(_ threadCount: Int) throws {
        let (loop, backend) = try makeScriptedLoop()
        let handle = loop.handle
        let total = 48_000
        let received = SharedValue(0)
        let threads = try (0..<threadCount).map { number in
            try TestThread {
                var random = SeededRandom(seed: UInt64(number))
                for _ in 0..<total / threadCount {
                    try handle.callSoonThreadSafe { loop in
                        received.update { $0 += 1 }
                        if received.value == total { loop.stop() }
                    }
                    // Short pauses, so that the loop falls asleep in between.
                    for _ in 0..<random.next(below: 400) { _ = random.next() }
                }
            }
        }
        try loop.runForever()
        for thread in threads { try thread.join() }
        #expect(received.value == total)
        let statistics = loop.statistics
        #expect(statistics.threadSafeCalls == UInt64(total))
        #expect(statistics.wakeUpsSent == UInt64(backend.wakeUps))
        // An iteration announces its sleep once at most, and is woken once at most: also when it
        // found the call by itself meanwhile, and did not block.
        #expect(backend.wakeUps <= backend.waits.count)
        try loop.close()
    }
}
