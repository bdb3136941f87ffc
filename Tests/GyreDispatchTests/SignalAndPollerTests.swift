// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreDispatch
import GyreTesting
import Testing

@Suite("What ends the sleep of a loop on Dispatch")
struct LoopSignalTests {
    private let signal = LoopSignal()

    @Test("A wait without a signal is over at its deadline and not before")
    func waitsAreNeverEarly() {
        for nanoseconds in [1, 999, 50_000, 1_000_000, 1_000_001, 3_500_000, 20_000_000] {
            let deadline = LoopClock.systemNanoseconds() + Int64(nanoseconds)
            #expect(signal.wait(until: deadline) == .timedOut)
            #expect(LoopClock.systemNanoseconds() >= deadline)
        }
    }

    @Test("A wait with a deadline that has passed returns at once", arguments: [.min, -1, 0])
    func pastDeadlinesDoNotBlock(deadline: Int64) {
        #expect(signal.wait(until: deadline) == .timedOut)
    }

    @Test("Signals before a wait end that one, however many there were, and not the next")
    func signalsAreElided() {
        for _ in 0..<1000 { signal.wake() }
        signal.ready()
        #expect(signal.wait(until: .max) == .woken)
        #expect(signal.wait(until: LoopClock.systemNanoseconds() + 1_000_000) == .timedOut)
        // Collected without a wait they are gone as well.
        signal.ready()
        signal.ready()
        #expect(signal.wait(until: .min) == .ready)
        #expect(signal.wait(until: LoopClock.systemNanoseconds() + 1_000_000) == .timedOut)
    }

    @Test("No signal is lost, whenever it comes")
    func noSignalIsLost() throws {
        let signal = signal
        let latch = Latch(isReusable: true)
        let waker = try TestThread {
            for round in 0..<2000 {
                if round % 2 == 0 { signal.wake() } else { signal.ready() }
                try expect(latch.wait(), "signal \(round) was lost")
            }
        }
        for round in 0..<2000 {
            // A short deadline, so that some signals come in the moment in which the time is over.
            let span = Int64(round % 7) * 2000
            let isBounded = round % 3 != 0
            var cause = LoopSignal.Cause.timedOut
            while cause == .timedOut {
                let deadline = isBounded ? LoopClock.systemNanoseconds() + span : .max
                cause = signal.wait(until: deadline)
            }
            #expect(cause == (round % 2 == 0 ? .woken : .ready))
            latch.open()
        }
        try waker.join()
    }
}

@Suite("The thread that waits for descriptors")
struct DescriptorPollerTests {
    private let signal = LoopSignal()

    /// Twenty seconds from now: the wait of a test that would hang.
    private var soon: Int64 { LoopClock.systemNanoseconds() + 20_000_000_000 }

    private func entry(_ fd: CInt, _ events: CInt = POLLIN) -> pollfd {
        pollfd(fd: fd, events: Int16(events), revents: 0)
    }

    @Test("It tells once that a descriptor is ready, and polls no more")
    func readinessIsToldOnce() throws {
        let poller = try DescriptorPoller(signal: signal)
        let pair = SocketPair()
        defer { withExtendedLifetime(pair) {} }
        for _ in 0..<50 {
            poller.start([entry(pair.near)])
            #expect(poller.isPolling)
            pair.sendToNear()
            #expect(signal.wait(until: soon) == .ready)
            #expect(!poller.isPolling)
            pair.receiveAtNear()
        }
        #expect(signal.wait(until: LoopClock.systemNanoseconds() + 1_000_000) == .timedOut)
    }

    @Test("Errors and hang-ups are told, whatever was asked for")
    func hangUpsAreTold() throws {
        let poller = try DescriptorPoller(signal: signal)
        let pair = SocketPair()
        defer { withExtendedLifetime(pair) {} }
        poller.start([entry(pair.near, 0)])
        pair.closeFar()
        #expect(signal.wait(until: soon) == .ready)
    }

    @Test("A stopped poller polls nothing, tells nothing, and can be started again")
    func stoppingIsFinal() throws {
        let poller = try DescriptorPoller(signal: signal)
        let pair = SocketPair()
        defer { withExtendedLifetime(pair) {} }
        for _ in 0..<200 {
            poller.start([entry(pair.near)])
            poller.stop()
            #expect(!poller.isPolling)
            poller.stop()
        }
        pair.sendToNear()
        #expect(signal.wait(until: LoopClock.systemNanoseconds() + 2_000_000) == .timedOut)
        poller.start([entry(pair.near)])
        #expect(signal.wait(until: soon) == .ready)
    }

    @Test("Stopping meets readiness: nothing hangs, and the next start works")
    func stoppingMeetsReadiness() throws {
        let poller = try DescriptorPoller(signal: signal)
        let pair = SocketPair()
        defer { withExtendedLifetime(pair) {} }
        for round in 0..<1000 {
            poller.start([entry(pair.near)])
            pair.sendToNear()
            // Before, while and after the thread finds it.
            for _ in 0..<(round % 50) { sched_yield() }
            poller.stop()
            #expect(!poller.isPolling)
            pair.receiveAtNear()
            _ = signal.wait(until: .min)
        }
        // What the last round had on its way may still come; then comes what belongs to this.
        poller.start([entry(pair.near)])
        pair.sendToNear()
        while poller.isPolling { #expect(signal.wait(until: soon) == .ready) }
    }

    @Test("It goes, with its descriptors, when nobody holds it and nothing is polled")
    func pollersGo() throws {
        weak var gone: DescriptorPoller?
        do {
            let poller = try DescriptorPoller(signal: signal)
            gone = poller
            let pair = SocketPair()
            defer { withExtendedLifetime(pair) {} }
            poller.start([entry(pair.near)])
            poller.stop()
        }
        #expect(gone == nil)
    }
}
