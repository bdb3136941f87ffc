// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

// Servers on sockets of others, served for ever, and shut down.

extension Servers {
    static var servingSockets: [Behaviour] {
        [
            Behaviour("anExistingSocketIsServed", [], .servers, anExistingSocketIsServed),
            Behaviour(
                "aDescriptorThatIsNoSocketStaysItsOwners", [], .servers,
                aDescriptorThatIsNoSocketStaysItsOwners),
            Behaviour(
                "eachAddressIsListenedAtWithItsPort", [100, 102], .servers, isProcessWide: true,
                eachAddressIsListenedAtWithItsPort),
            Behaviour("theEndOfAServerIsAwaited", [101], .servers, theEndOfAServerIsAwaited),
            Behaviour(
                "servingForEverEndsWithTheTaskOrTheServer", [101], .servers,
                servingForEverEndsWithTheTaskOrTheServer),
            Behaviour(
                "theClientsOfAServerAreClosedOrAborted", [], .servers,
                theClientsOfAServerAreClosedOrAborted),
            Behaviour(
                "aShutdownEndsWithTheLastConnection", [101], .servers,
                aShutdownEndsWithTheLastConnection),
            Behaviour("aShutdownSaysWhatHeldItUp", [101], .servers, aShutdownSaysWhatHeldItUp),
            Behaviour(
                "aCancelledShutdownAbortsConnections", [101], .servers,
                aCancelledShutdownAbortsConnections),
            Behaviour(
                "aServerTriesAgainWhenItsConnectionEnds", [], .servers, isProcessWide: true,
                aServerTriesAgainWhenItsConnectionEnds),
        ]
    }

    // MARK: Sockets

    private static func boundSocket() throws -> (fd: CInt, port: Int) {
        let fd = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        return (fd, try boundPort(of: fd))
    }

    static func anExistingSocketIsServed(_ kit: ConformanceKit) throws {
        for isListening in [false, true] {
            let loop = try kit.makeLoop()
            let (fd, port) = try boundSocket()
            if isListening { try expect(listen(fd, 10), equals: 0) }
            // One that came before.
            let early = isListening ? try RawPeer(port: port) : nil
            var made = 0
            let server = try loop.createServer(descriptor: fd) {
                let recorder = Recorder()
                recorder.onMade = { transport in
                    made += 1
                    try transport.write([7])
                    transport.close()
                }
                return recorder
            }
            try expect(server.descriptors, equals: [fd])
            try expect(server.addresses.map(\.description), equals: ["127.0.0.1:\(port)"])
            try expect(fcntl(fd, F_GETFD) & FD_CLOEXEC != 0, "children inherit the socket")
            let peer = try RawPeer(port: port)
            while made < (isListening ? 2 : 1) { try kit.run(loop, .once) }
            try kit.drain(loop)
            for peer in [early, peer] { try expect(try peer?.receiveAll() ?? [7], equals: [7]) }
            server.close()
            try expect(server.descriptors, equals: [])
            while loop.resourceCount > 0 { try kit.run(loop, .once) }
            try loop.close()
        }
    }

    static func aDescriptorThatIsNoSocketStaysItsOwners(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var ends: [CInt] = [-1, -1]
        try expect(pipe(&ends), equals: 0)
        let datagrams = socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
        let connected = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        let peerServer = try loop.createServer(host: "127.0.0.1", port: 0) { Recorder() }
        try expect(RawPeer.connect(connected, port: try peerServer.port), equals: 0)
        for fd in [ends[0], datagrams, connected] {
            let flags = fcntl(fd, F_GETFL)
            try expectError(LoopError.self) {
                _ = try loop.createServer(descriptor: fd) { Recorder() }
            }
            try expect(fcntl(fd, F_GETFL), equals: flags, "the flags of \(fd)")
        }
        try expectError(LoopError.self) {
            _ = try loop.createServer(descriptor: 1 << 20) { Recorder() }
        }
        for fd in ends + [datagrams, connected] { try expect(close(fd), equals: 0, "it is open") }
        try loop.close()
    }

    static func eachAddressIsListenedAtWithItsPort(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let ports = (try freePort(), try freePort())
        let first = try loop.createServer(host: "127.0.0.1", port: ports.0) { Recorder() }
        let second = try loop.createServer(host: "127.0.0.2", port: ports.1) { Recorder() }
        let addresses = first.addresses + second.addresses
        // In use by these very servers: none of a list is bound then.
        try expectError(.addressInUse) {
            _ = try loop.createServer(addresses: addresses) { Recorder() }
        }
        first.close()
        second.close()
        while loop.resourceCount > 0 { try kit.run(loop, .once) }
        let both = try loop.createServer(addresses: addresses + addresses) { Recorder() }
        try expect(both.addresses, equals: addresses)
        try expect(both.descriptors.count, equals: 2)
        both.close()
        try expect(both.addresses, equals: [])
        try expect(both.descriptors, equals: [])
        try loop.close()
    }

    // MARK: Ends

    static func theEndOfAServerIsAwaited(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let server = pair.server
        let bound = LoopBound(server, on: pair.loop.handle)
        var isOver = false
        let waiting = pair.loop.createTask { try await bound.object.waitClosed() }
        let cancelled = pair.loop.createTask { try await bound.object.waitClosed() }
        try kit.drain(pair.loop)
        cancelled.cancel()
        try expectError(CancellationError.self) { try kit.complete(cancelled, on: pair.loop) }
        try expect(server.isServing, "a wait that is cancelled closes nothing")
        waiting.addDoneCallback { _ in isOver = true }
        server.close()
        try kit.drain(pair.loop)
        try expect(!isOver, "a connection is left")
        pair.nearTransport.close()
        try kit.complete(waiting, on: pair.loop)
        try expect(server.connectionCount, equals: 0)
        try pair.close()
    }

    static func servingForEverEndsWithTheTaskOrTheServer(_ kit: ConformanceKit) throws {
        var options = LoopServerOptions()
        options.startsServing = false
        for isCancelled in [true, false] {
            let loop = try kit.makeLoop()
            var made = 0
            let server = try loop.createServer(host: "127.0.0.1", port: 0, options: options) {
                made += 1
                return Recorder()
            }
            let port = try server.port
            let bound = LoopBound(server, on: loop.handle)
            let serving = loop.createTask { try await bound.object.serveForever() }
            try kit.drain(loop)
            try expect(server.isServing, "it begins by itself")
            let second = loop.createTask { try await bound.object.serveForever() }
            try expectError(.inUse) { try kit.complete(second, on: loop) }
            let peer = try RawPeer(port: port)
            while made == 0 { try kit.run(loop, .once) }
            if isCancelled { serving.cancel() } else { server.close() }
            try kit.drain(loop)
            try expect(server.isClosed, "it does not accept any more")
            try expect(!serving.isDone, "a connection is left")
            peer.close()
            do {
                try kit.complete(serving, on: loop)
                try expect(!isCancelled, "the cancellation was lost")
            } catch is CancellationError {
                try expect(isCancelled, "nobody cancelled it")
            }
            let late = loop.createTask { try await bound.object.serveForever() }
            try expectError(.closed) { try kit.complete(late, on: loop) }
            try loop.close()
        }
    }

    /// A server whose connections stay open, with peers that read nothing.
    private static func crowd(
        _ count: Int, on loop: Loop, _ kit: ConformanceKit, writing bytes: Int = 0
    ) throws -> (server: LoopServer, peers: [RawPeer], recorders: [Recorder]) {
        var recorders: [Recorder] = []
        let server = try loop.createServer(host: "127.0.0.1", port: 0) {
            let recorder = Recorder()
            if bytes > 0 { recorder.onMade = { try $0.write(pattern(bytes)) } }
            recorders.append(recorder)
            return recorder
        }
        let port = try server.port
        let peers = try (0..<count).map { _ in try RawPeer(port: port) }
        while recorders.count < count { try kit.run(loop, .once) }
        return (server, peers, recorders)
    }

    static func theClientsOfAServerAreClosedOrAborted(_ kit: ConformanceKit) throws {
        for isAborted in [false, true] {
            let loop = try kit.makeLoop()
            let size = 32 << 20
            let (server, peers, recorders) = try crowd(3, on: loop, kit, writing: size)
            let other = try crowd(1, on: loop, kit)
            if isAborted { server.abortClients() } else { server.closeClients() }
            try expect(recorders.allSatisfy { $0.count(of: .lost) == 0 }, "lost inside the call")
            let readers = try peers.map { peer in
                let fd = peer.fd
                return try TestThread { try expect(countAll(fd), equals: isAborted ? nil : size) }
            }
            while server.connectionCount > 0 { try kit.run(loop, .once) }
            for reader in readers { try reader.join() }
            try expect(recorders.map { $0.count(of: .lost) }, equals: [1, 1, 1])
            // The server goes on, and others are not touched.
            try expect(server.isServing, "the server serves on")
            try expect(other.server.connectionCount, equals: 1, "of another server")
            withExtendedLifetime((peers, other.peers)) {}
            try loop.close()
        }
    }

    /// How many bytes come until the end; nil when it is no orderly one, or less than everything.
    private static func countAll(_ fd: CInt) -> Int? {
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        var count = 0
        while true {
            let received = recv(fd, &bytes, bytes.count, 0)
            if received < 0, errno == EINTR { continue }
            guard received > 0 else { return received == 0 && count >= 32 << 20 ? count : nil }
            count += received
        }
    }

    // MARK: Shutdowns

    static func aShutdownEndsWithTheLastConnection(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock(.byHand).loopClock)
        let (server, peers, recorders) = try crowd(2, on: loop, kit)
        let bound = LoopBound(server, on: loop.handle)
        var outcome: LoopServerShutdown?
        server.shutDown(within: .seconds(5)) { outcome = $0 }
        try expect(server.isClosed, "it accepts no more")
        let task = loop.createTask {
            try await bound.object.shutDown(within: .seconds(9))
        }
        try kit.drain(loop)
        peers[0].close()
        while server.connectionCount > 1 { try kit.run(loop, .once) }
        try kit.drain(loop)
        try expect(outcome == nil, "a connection is left")
        peers[1].close()
        let awaited = try kit.complete(task, on: loop)
        try kit.drain(loop)
        try expect(outcome?.isClean, equals: true)
        try expect(awaited.isClean, "it says \(awaited)")
        try expect(recorders.map { $0.count(of: .end) }, equals: [1, 1], "ended by themselves")
        try expect(loop.statistics.timerCount, equals: 0, "timers are left")
        try loop.close()
    }

    static func aShutdownSaysWhatHeldItUp(_ kit: ConformanceKit) throws {
        // Nothing happens by itself, so the clock goes to the limit.
        let clock = ManualClock()
        let loop = try kit.makeLoop(clock: clock.loopClock)
        var lines: [String] = []
        loop.diagnosticSink = { lines.append($0) }
        // One that was told to close, and whose peer does not read; and idle ones.
        let size = 32 << 20
        let (server, peers, recorders) = try crowd(12, on: loop, kit)
        try recorders[0].transport?.write(pattern(size))
        recorders[0].transport?.close()
        let addresses = recorders.compactMap { $0.transport?.peerAddress }
        let start = clock.now
        let bound = LoopBound(server, on: loop.handle)
        let task = loop.createTask { try await bound.object.shutDown(within: .seconds(5)) }
        let outcome = try kit.complete(task, on: loop)
        try expect(start.duration(to: clock.now), equals: .seconds(5))
        try expect(!outcome.isClean, "it says \(outcome)")
        try expect(
            Set(outcome.heldUpBy.compactMap(\.peer)), equals: Set(addresses), "who held it up")
        let slow = outcome.heldUpBy.first { $0.peer == addresses[0] }
        try expect(slow?.isClosing, equals: true)
        try expect((slow?.unsentCount ?? 0) > 0, "\(outcome) says nothing of unsent bytes")
        try expect(outcome.heldUpBy.count { $0.unsentCount == 0 && !$0.isClosing }, equals: 11)
        try expect(lines.count, equals: 1, "lines: \(lines)")
        for part in ["12 connections were left after 5.0 seconds", "and 2 more"] {
            try expect(lines[0].contains(part), "it says \(lines[0])")
        }
        try expect(recorders.map { $0.count(of: .lost) }, equals: [Int](repeating: 1, count: 12))
        try expect(loop.resourceCount, equals: 0, "connections are left")
        withExtendedLifetime(peers) {}
        try loop.close()
    }

    static func aCancelledShutdownAbortsConnections(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock(.byHand).loopClock)
        loop.diagnosticSink = { _ in }
        let (server, peers, recorders) = try crowd(3, on: loop, kit)
        let bound = LoopBound(server, on: loop.handle)
        let task = loop.createTask {
            try await bound.object.shutDown(within: .seconds(5))
        }
        try kit.drain(loop)
        task.cancel()
        try expectError(CancellationError.self) { _ = try kit.complete(task, on: loop) }
        while loop.resourceCount > 0 { try kit.run(loop, .once) }
        try kit.drain(loop)
        try expect(recorders.map { $0.count(of: .lost) }, equals: [1, 1, 1])
        try expect(loop.statistics.timerCount, equals: 0, "timers are left")
        withExtendedLifetime(peers) {}
        try loop.close()
    }

    // MARK: Without descriptors

    /// A server that waits for descriptors does not wait longer once it got one back itself.
    static func aServerTriesAgainWhenItsConnectionEnds(_ kit: ConformanceKit) throws {
        // No time passes.
        let loop = try kit.makeLoop(clock: ManualClock(.byHand).loopClock)
        let shortage = DescriptorShortage()
        let (server, peers, recorders) = try crowd(1, on: loop, kit)
        let port = try server.port
        let waiting = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        var reports = 0
        loop.exceptionHandler = { _, _ in
            reports += 1
            loop.callSoon {
                try expect(loop.statistics.timerCount, equals: 1, "it waits")
                peers[0].close()
            }
        }
        recorders[0].onLost = { loop.callSoon { loop.stop() } }
        loop.callSoon {
            shortage.begin()
            try expect(RawPeer.connect(waiting, port: port), equals: 0)
        }
        let ticks = loop.statistics.ticks
        // What watches a run needs descriptors, too.
        try kit.watched(loop, "shortage") {
            try loop.runForever()
            try expect(loop.statistics.timerCount, equals: 0, "it waits on")
            while server.connectionCount == 0 { try loop.run(.once) }
        }
        shortage.end()
        try expect(loop.statistics.ticks - ticks < 50, "it spins")
        try expect(reports, equals: 1)
        close(waiting)
        loop.exceptionHandler = nil
        try loop.close()
    }
}

/// A time in which no descriptor is left.
///
/// The limit is lowered from the start, since a ring remembers the one from when it was told to
/// accept; but there is room until it begins.
private final class DescriptorShortage {
    private static let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    private var limit = rlimit()
    private var fillers: [CInt] = []

    init() {
        getrlimit(Self.kind, &limit)
        var lowered = limit
        lowered.rlim_cur = rlim_t((OpenDescriptors().targets.keys.max() ?? 0) + 32)
        setrlimit(Self.kind, &lowered)
    }

    deinit {
        end()
        setrlimit(Self.kind, &limit)
    }

    func begin() {
        while true {
            let fd = dup(STDERR_FILENO)
            guard fd >= 0 else { return }
            fillers.append(fd)
        }
    }

    func end() {
        for fd in fillers { close(fd) }
        fillers = []
    }
}
