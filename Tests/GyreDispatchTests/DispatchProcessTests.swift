// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreDispatch
import GyreTesting
import Testing

/// Open descriptors and the processor time belong to the whole process, so each of these gets a
/// process of its own.
@Suite("The dispatch backend, alone in a process")
struct DispatchProcessTests {
    @Test("1000 descriptors opened, served and closed leave no descriptor and no object")
    func cyclesLeakNothing() async {
        await #expect(processExitsWith: .success) { try Alone.run(Alone.cyclesLeakNothing) }
    }

    @Test("100 loops made, used and closed leave no descriptor")
    func loopsLeakNothing() async {
        await #expect(processExitsWith: .success) { try Alone.run(Alone.loopsLeakNothing) }
    }

    @Test("An idle loop takes no processor time, whatever waits that nobody wants")
    func idleLoopsDoNotSpin() async {
        await #expect(processExitsWith: .success) { try Alone.run(Alone.idleLoopsDoNotSpin) }
    }

    @Test(
        "A timer far away is waited for without processor time",
        arguments: [1, 100, 150, 200, 280])
    func farTimersAreWaitedFor(years: Int) async {
        await #expect(processExitsWith: .success) { [years] in
            try Alone.run { try Alone.waitFarAway(years: years) }
        }
    }

    @Test("The writer of a full pipe learns that the reader went away, and nothing spins")
    func aBrokenFullPipeIsReported() async {
        await #expect(processExitsWith: .success) { try Alone.run(Alone.aBrokenFullPipeIsReported) }
    }

    @Test("A refused datagram is reported to who receives, and nothing spins")
    func refusalsAreReported() async {
        await #expect(processExitsWith: .success) { try Alone.run(Alone.refusalsAreReported) }
    }
}

private enum Alone {
    /// Without the watchdog of the other tests, whose thread opens and closes descriptors too.
    static func run(_ body: () throws -> Void) throws {
        alarm(60)
        try body()
    }

    static func cyclesLeakNothing() throws {
        let loop = try dispatchKit.makeLoop()
        weak var gone: Recorder?
        func serveOne() throws {
            let pair = makePair()
            gone = try expectReceive(loop, pair)
            loop.closeDescriptor(pair.near)
            close(pair.far)
        }
        try serveOne()
        let before = OpenDescriptors()
        for _ in 0..<1000 {
            try serveOne()
            try expect(gone == nil, "a closed descriptor keeps its target alive")
        }
        try expect(newSockets(since: before), equals: [])
        try expect(loop.statistics.operationCount, equals: 0)
        try loop.close()
    }

    static func loopsLeakNothing() throws {
        func useOne() throws {
            let loop = try dispatchKit.makeLoop()
            let pair = makePair()
            _ = loop.submitReceive(on: pair.near, target: Recorder { _ in loop.stop() })
            try loop.addWriter(pair.far) {}
            try expect(send(pair.far, "x", 1, CInt(MSG_NOSIGNAL)) == 1, "send")
            try loop.runForever()
            try loop.close()
            close(pair.near)
            close(pair.far)
        }
        try useOne()
        let before = OpenDescriptors()
        for _ in 0..<100 { try useOne() }
        try expect(newSockets(since: before), equals: [])
    }

    static func idleLoopsDoNotSpin() throws {
        let loop = try dispatchKit.makeLoop()
        let pairs = (0..<20).map { _ in makePair() }
        for (index, pair) in pairs.enumerated() {
            let id = loop.submitReceive(on: pair.near, target: Recorder())
            guard index % 2 == 0 else { continue }
            // Nobody waits for what comes here.
            try loop.run(.noWait)
            loop.cancel(id)
            try expect(send(pair.far, "x", 1, CInt(MSG_NOSIGNAL)) == 1, "send")
        }
        try expectIdle(loop)
        try loop.close()
    }

    static func waitFarAway(years: Int) throws {
        let loop = try dispatchKit.makeLoop()
        loop.callLater(.seconds(years * 365 * 86_400)) {}
        let handle = loop.handle
        let thread = try TestThread {
            usleep(300_000)
            try handle.callSoonThreadSafe { $0.stop() }
        }
        let before = processorTime()
        try loop.runForever()
        let taken = processorTime() - before
        try thread.join()
        try expect(taken < .milliseconds(60), "waiting took \(taken) of processor time")
        try loop.close()
    }

    static func aBrokenFullPipeIsReported() throws {
        let loop = try dispatchKit.makeLoop()
        var ends: [CInt] = [-1, -1]
        try expect(pipe(&ends) == 0, "pipe")
        _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
        let bytes = [UInt8](repeating: 0, count: 4096)
        while write(ends[1], bytes, bytes.count) > 0 {}
        signal(SIGPIPE, SIG_IGN)
        var calls = 0
        try loop.addWriter(ends[1]) {
            calls += 1
            loop.stop()
        }
        loop.callLater(.milliseconds(2)) { close(ends[0]) }
        try loop.runForever()
        try expect(calls, equals: 1)
        let result = write(ends[1], bytes, 1)
        let error = errno
        try expect([CInt(result), error], equals: [-1, EPIPE])
        // For as long as it is watched it is reported; then nobody spins on it.
        loop.removeWriter(ends[1])
        try expectIdle(loop)
        close(ends[1])
        try loop.close()
    }

    static func refusalsAreReported() throws {
        let loop = try dispatchKit.makeLoop()
        let kind = CInt(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let receiver = socket(AF_INET, kind, 0)
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        var address = loopbackAddress(port: 0)
        try expect(withSocketAddress(&address) { bind(receiver, $0, length) } == 0, "bind")
        // A port that was free a moment ago, of a socket that is closed now.
        var known = length
        try expect(withSocketAddress(&address) { getsockname(receiver, $0, &known) } == 0, "name")
        close(receiver)
        let sender = socket(AF_INET, kind, 0)
        try expect(withSocketAddress(&address) { connect(sender, $0, length) } == 0, "connect")
        let recorder = Recorder { _ in loop.stop() }
        _ = loop.submitReceive(on: sender, target: recorder)
        loop.callLater(.milliseconds(2)) { _ = send(sender, "x", 1, CInt(MSG_NOSIGNAL)) }
        try loop.runForever()
        try expect(recorder.results, equals: [-ECONNREFUSED])
        try expectIdle(loop)
        loop.closeDescriptor(sender)
        try loop.close()
    }

    /// The sockets that were opened; a loop has nothing else.
    ///
    /// Whoever waits for time on Dispatch makes it keep a timer and more for the life of the
    /// process.
    private static func newSockets(since before: OpenDescriptors) -> [String] {
        OpenDescriptors().opened(since: before).filter { $0.contains("socket:") }
    }

    /// Receives a byte at the near end and ends the receive.
    ///
    /// Returns the recorder, which nobody else holds any more.
    @discardableResult
    private static func expectReceive(
        _ loop: Loop, _ pair: (near: CInt, far: CInt)
    ) throws -> Recorder {
        let recorder = Recorder { _ in loop.stop() }
        let id = loop.submitReceive(on: pair.near, target: recorder)
        try expect(send(pair.far, "x", 1, CInt(MSG_NOSIGNAL)) == 1, "send")
        try loop.runForever()
        try expect(recorder.byteCount, equals: 1)
        loop.cancel(id)
        try loop.runForever()
        try expect(recorder.results.last, equals: -ECANCELED)
        return recorder
    }

    /// Runs the loop for 300 ms, in which the process takes less than 60 ms of processor time: a
    /// thread that spins takes all of it.
    private static func expectIdle(_ loop: Loop) throws {
        let before = processorTime()
        loop.callLater(.milliseconds(300)) { loop.stop() }
        try loop.runForever()
        let taken = processorTime() - before
        try expect(taken < .milliseconds(60), "an idle loop took \(taken) of processor time")
    }
}
