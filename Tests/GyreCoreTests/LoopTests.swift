// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreTesting
import Testing

@testable import GyreCore

/// The decisions of the tick, seen by a backend without a kernel.
@Suite("Loop on a scripted backend")
struct LoopTests {
    private struct Complaint: Error {}

    // MARK: Waiting

    @Test("With nothing to do the loop waits for ever")
    func waitsForEver() throws {
        let (loop, backend) = try makeScriptedLoop()
        backend.steps = [{ _ in loop.stop() }]
        try loop.runForever()
        #expect(backend.waits == [-1])
    }

    @Test("With callbacks ready the loop does not wait, but polls")
    func pollsWhenReady() throws {
        let (loop, backend) = try makeScriptedLoop()
        loop.callSoon { loop.callSoon { loop.callSoon {} } }
        backend.steps = [{ _ in loop.stop() }]
        try loop.runForever()
        #expect(backend.waits == [0, 0, -1])
    }

    @Test("The wait is as long as the next timer is away")
    func waitsForTheNextTimer() throws {
        let (loop, backend) = try makeScriptedLoop()
        loop.callLater(.seconds(3000)) {}
        let earlier = loop.callLater(.seconds(2000)) {}
        let earliest = loop.callLater(.seconds(1000)) {}
        backend.steps = [
            { _ in earliest.cancel() }, { _ in earlier.cancel() }, { _ in loop.stop() },
        ]
        try loop.runForever()
        let seconds = backend.waits.map { Double($0) / 1e9 }
        for (wait, expected) in zip(seconds, [1000.0, 2000, 3000]) {
            #expect(wait <= expected && wait > expected - 100)
        }
        #expect(seconds.count == 3)
    }

    @Test("A wait that ends for nothing is followed by one for the rest of the time")
    func spuriousWakeUps() throws {
        let (loop, backend) = try makeScriptedLoop()
        loop.callLater(.seconds(1000)) {}
        backend.steps = (0..<5).map { _ in { _ in } } + [{ _ in loop.stop() }]
        try loop.runForever()
        #expect(backend.waits.count == 6)
        #expect(zip(backend.waits, backend.waits.dropFirst()).allSatisfy { $0 >= $1 })
        #expect(backend.waits.allSatisfy { $0 > 900_000_000_000 })
        #expect(loop.statistics.ticks == 6)
    }

    @Test("A clock that is moved by hand gives the wait no limit")
    func manualClockWaits() throws {
        let clock = ManualClock(.byHand)
        let (loop, backend) = try makeScriptedLoop(clock: clock.loopClock)
        var fired = false
        loop.callLater(.seconds(5)) {
            fired = true
            loop.stop()
        }
        backend.steps = [
            { _ in clock.advance(by: .seconds(4)) }, { _ in clock.advance(by: .seconds(1)) },
        ]
        try loop.runForever()
        #expect(fired)
        #expect(backend.waits == [-1, -1, 0])
    }

    @Test("A clock that jumps lets the loop poll instead of wait")
    func jumpingClockPolls() throws {
        let clock = ManualClock()
        let (loop, backend) = try makeScriptedLoop(clock: clock.loopClock)
        loop.callLater(.seconds(5)) { loop.callLater(.seconds(5)) { loop.stop() } }
        try loop.runForever()
        #expect(clock.jumpCount == 2)
        #expect(backend.waits.allSatisfy { $0 == 0 })
    }

    @Test("A step that may not block never waits")
    func noWaitNeverWaits() throws {
        let (loop, backend) = try makeScriptedLoop()
        for _ in 0..<3 { try loop.run(.noWait) }
        loop.callLater(.seconds(5)) {}
        try loop.run(.noWait)
        #expect(backend.waits == [0, 0, 0, 0])
    }

    @Test("A step that may block does so only with nothing to do")
    func onceWaitsOnlyIdle() throws {
        let (loop, backend) = try makeScriptedLoop()
        loop.callSoon {}
        try loop.run(.once)
        #expect(backend.waits == [0])
        backend.steps = [{ _ in }]
        try loop.run(.once)
        #expect(backend.waits == [0, -1])
    }

    // MARK: Wake-ups

    @Test("Calls from the loop's own thread wake nobody")
    func ownCallsWakeNobody() throws {
        let (loop, backend) = try makeScriptedLoop()
        let handle = loop.handle
        loop.callSoon { for _ in 0..<10 { try handle.callSoonThreadSafe { _ in } } }
        backend.steps = [{ _ in loop.stop() }]
        try loop.runForever()
        #expect(backend.wakeUps == 0)
        #expect(loop.statistics.threadSafeCalls == 0)
    }

    @Test("Calls while the loop is awake wake nobody, the first during a wait does")
    func callsDuringAWait() throws {
        let (loop, backend) = try makeScriptedLoop()
        let handle = loop.handle
        let call = { (count: Int) in
            try TestThread {
                for _ in 0..<count { try handle.callSoonThreadSafe { _ in } }
            }.join()
        }
        loop.callSoon { try call(3) }
        backend.steps = [
            { _ in #expect(throws: Never.self) { try call(5) } },
            { _ in loop.stop() },
        ]
        try loop.runForever()
        #expect(backend.wakeUps == 1)
        #expect(loop.statistics.threadSafeCalls == 8)
        #expect(loop.statistics.wakeUpsSent == 1)
        #expect(loop.statistics.wakeUpsElided == 7)
    }

    // MARK: Operations

    @Test("Watching submits an operation, removing asks to cancel it")
    func watching() throws {
        let (loop, backend) = try makeScriptedLoop()
        let pair = SocketPair()
        var calls = 0
        try loop.addReader(pair.near) { calls += 1 }
        #expect(backend.submissions.count == 1)
        let submission = try #require(backend.submissions.first)
        #expect(submission.operation.fd == pair.near)
        #expect(submission.operation.direction == .read)
        backend.complete(submission.id, 0, more: true)
        backend.complete(submission.id, 0, more: true)
        try loop.run(.noWait)
        #expect(calls == 2)
        #expect(loop.removeReader(pair.near))
        #expect(backend.cancellations == [submission.id])
        // It completed once more before the cancel took effect: nobody hears of it.
        backend.complete(submission.id, 0, more: true)
        backend.complete(submission.id, -ECANCELED)
        try loop.run(.noWait)
        #expect(calls == 2)
        #expect(loop.statistics.operationCount == 0)
        #expect(loop.statistics.completions == 4)
        try loop.close()
        #expect(backend.isClosed)
    }

    @Test("A watch that the kernel ends is reported once, and can be made again")
    func watchThatFails() throws {
        let (loop, backend) = try makeScriptedLoop()
        let pair = SocketPair()
        var errors: [LoopError] = []
        loop.exceptionHandler = { _, context in
            if let error = context.error as? LoopError { errors.append(error) }
        }
        try loop.addWriter(pair.near) {}
        backend.complete(try #require(backend.submissions.first).id, -EBADF)
        try loop.run(.noWait)
        #expect(errors.map(\.errno) == [EBADF])
        #expect(!loop.removeWriter(pair.near))
        try loop.addWriter(pair.near) {}
        #expect(backend.submissions.count == 2)
        try loop.close()
    }

    @Test("After a fatal error the rest of the completions wait for the next run")
    func interruptedDelivery() throws {
        let (loop, backend) = try makeScriptedLoop()
        let pairs = (0..<3).map { _ in SocketPair() }
        var calls: [Int] = []
        for (number, pair) in pairs.enumerated() {
            try loop.addReader(pair.near) {
                calls.append(number)
                if number == 0 { throw LoopInterrupt() }
            }
        }
        for submission in backend.submissions { backend.complete(submission.id, 0, more: true) }
        #expect(throws: LoopInterrupt.self) { try loop.run(.noWait) }
        #expect(calls == [0])
        #expect(!loop.isRunning)
        try loop.run(.noWait)
        #expect(calls == [0, 1, 2])
        try loop.close()
    }

    @Test("An error thrown by a callback does not stop the others, a fatal one does")
    func errorsAndFatalErrors() throws {
        let (loop, _) = try makeScriptedLoop()
        var ran: [Int] = []
        var reports = 0
        loop.exceptionHandler = { _, _ in reports += 1 }
        loop.callSoon { throw Complaint() }
        loop.callSoon { ran.append(1) }
        loop.callSoon { throw LoopInterrupt() }
        loop.callSoon { ran.append(2) }
        #expect(throws: LoopInterrupt.self) { try loop.run(.noWait) }
        #expect(ran == [1])
        #expect(reports == 1)
        #expect(Loop.current == nil)
        try loop.run(.noWait)
        #expect(ran == [1, 2])
        // A handler that throws a fatal error stops the run as well.
        loop.exceptionHandler = { _, _ in throw LoopInterrupt() }
        loop.callSoon { throw Complaint() }
        #expect(throws: LoopInterrupt.self) { try loop.run(.noWait) }
        try loop.close()
    }

    @Test("A loop that cannot have a backend is not made, and leaks nothing")
    func failingBackend() {
        let selection = LoopSelection(policy: "none", requested: "none", origin: "test")
        weak var table: OperationTable?
        #expect(throws: LoopError.self) {
            try Loop(selection: selection) { operations throws(LoopError) in
                table = operations
                throw LoopError(.policyUnavailable, operation: "none")
            }
        }
        #expect(table == nil)
    }
}
