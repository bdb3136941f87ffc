// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Connections over sockets that were accepted or connected elsewhere.
enum ConnectedSockets {
    static let behaviours: [Behaviour] = [
        Behaviour("anAcceptedSocketIsServed", [], .streams, anAcceptedSocketIsServed),
        Behaviour("aSocketPairIsTwoConnections", [], .streams, aSocketPairIsTwoConnections),
        Behaviour("aConnectedSocketIsTwoStreams", [], .streams, aConnectedSocketIsTwoStreams),
        Behaviour(
            "aConnectedSocketIsAnAsyncConnection", [], .streams,
            aConnectedSocketIsAnAsyncConnection),
        Behaviour(
            "aSocketThatCannotBeServedStaysItsOwners", [], .streams,
            aSocketThatCannotBeServedStaysItsOwners),
    ]

    /// A socket that a thread accepted, and its peer.
    private static func accepted() throws -> (fd: CInt, peer: RawPeer) {
        let listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(listener) }
        let port = try boundPort(of: listener)
        try expect(listen(listener, 1), equals: 0)
        let peer = try RawPeer(port: port)
        let fd = accept(listener, nil, nil)
        try expect(fd >= 0, "cannot accept: errno \(errno)")
        return (fd, peer)
    }

    private static func pair(_ kind: __socket_type = SOCK_STREAM) throws -> (CInt, CInt) {
        var ends: [CInt] = [-1, -1]
        try expect(socketpair(AF_UNIX, CInt(kind.rawValue), 0, &ends), equals: 0)
        return (ends[0], ends[1])
    }

    private static func option(_ level: CInt, _ name: CInt, of fd: CInt) -> CInt {
        var value: CInt = -1
        var length = socklen_t(MemoryLayout<CInt>.size)
        getsockopt(fd, level, name, &value, &length)
        return value
    }

    static func anAcceptedSocketIsServed(_ kit: ConformanceKit) throws {
        for isBlocking in [true, false] {
            let loop = try kit.makeLoop()
            let (fd, peer) = try accepted()
            if !isBlocking { _ = fcntl(fd, F_SETFL, O_NONBLOCK) }
            // What came before.
            try peer.send(pattern(100))
            let recorder = Recorder()
            recorder.onData = { try recorder.transport?.write(recorder.take()) }
            recorder.onLost = { loop.stop() }
            var options = LoopSocketOptions()
            options.keepAlive = true
            let transport = try loop.connectAcceptedSocket(fd, options: options) { recorder }
            try expect(recorder.events, equals: [.made])
            try expect(recorder.transport === transport, "another transport")
            try expect(transport.descriptor, equals: fd)
            try expect(transport.peerAddress != nil, "it has a peer")
            try expect(option(CInt(IPPROTO_TCP), TCP_NODELAY, of: fd) == 1, "TCP_NODELAY")
            try expect(option(SOL_SOCKET, SO_KEEPALIVE, of: fd) == 1, "SO_KEEPALIVE")
            try expect(fcntl(fd, F_GETFD) & FD_CLOEXEC != 0, "children inherit the socket")
            let client = try TestThread {
                try peer.send(pattern(1_000_000, seed: 100))
                peer.endSending()
            }
            let reader = try TestThread {
                try expectPattern(try peer.receiveAll(), count: 1_000_100)
            }
            try kit.run(loop)
            for thread in [client, reader] { try thread.join() }
            try expect(recorder.events, equals: [.made, .data, .end, .lost])
            try expect(loop.resourceCount, equals: 0)
            try loop.close()
        }
    }

    static func aSocketPairIsTwoConnections(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let ends = try pair()
        let near = Recorder()
        let (transport, far) = try loop.createConnection(descriptor: ends.0) { Recorder() }
        try loop.connectAcceptedSocket(ends.1) { near }
        try expect(far.transport === transport, "another transport")
        far.onData = { if far.received.count == 500_000 { far.transport?.close() } }
        near.onLost = { loop.stop() }
        try near.transport?.write(pattern(500_000))
        try kit.run(loop)
        try kit.drain(loop)
        try expectPattern(far.received, count: 500_000)
        try expect(near.events, equals: [.made, .paused, .resumed, .end, .lost])
        try expect(far.events.last, equals: .lost)
        try loop.close()
    }

    static func aConnectedSocketIsTwoStreams(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let ends = try pair()
        let task = loop.createTask {
            let near = try Loop.running.openConnection(descriptor: ends.0, limit: 100)
            let far = try Loop.running.openConnection(descriptor: ends.1)
            try expect(near.reader.limit, equals: 100)
            let echo = Loop.running.createTask {
                for try await line in far.reader.lines { try far.writer.write("<\(line)>\n") }
                far.writer.close()
                try await far.writer.waitClosed()
            }
            try near.writer.write("one\ntwo\n")
            try expect(try await near.reader.readLine(), equals: Array("<one>\n".utf8))
            try near.writer.writeEOF()
            try expect(try await near.reader.readToEnd(), equals: Array("<two>\n".utf8))
            try await echo.value
            near.writer.close()
            try await near.writer.waitClosed()
            try expectError(.invalidArgument) {
                _ = try Loop.running.openConnection(descriptor: 0, limit: 0)
            }
        }
        try kit.complete(task, on: loop)
        try expect(loop.resourceCount, equals: 0)
        try loop.close()
    }

    /// As a program accepts with the loop's own calls, and hands over what it let in.
    static func aConnectedSocketIsAnAsyncConnection(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let listener = socket(
            AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        defer { close(listener) }
        let port = try boundPort(of: listener)
        try expect(listen(listener, 1), equals: 0)
        let task = loop.createTask {
            let client = Loop.running.createTask {
                try await withConnection(to: "127.0.0.1", port: port) { connection in
                    try await connection.write("hello")
                    try await connection.writeEOF()
                    var answer: [UInt8] = []
                    while let chunk = try await connection.read() { answer += chunk }
                    return answer
                }
            }
            let (fd, peer) = try await Loop.running.sockAccept(listener)
            try await withConnection(descriptor: fd) { connection in
                try expect(connection.peerAddress, equals: peer)
                while let chunk = try await connection.read() { try await connection.write(chunk) }
            }
            try expect(try await client.value, equals: Array("hello".utf8))
        }
        try kit.complete(task, on: loop)
        try expect(loop.resourceCount, equals: 0)
        try loop.close()
    }

    static func aSocketThatCannotBeServedStaysItsOwners(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        func refuse(
            _ fd: CInt, _ code: LoopError.Code, _ options: LoopSocketOptions = LoopSocketOptions(),
            line: Int = #line
        ) throws {
            let flags = fcntl(fd, F_GETFL)
            try expectError(code, line: line) {
                try loop.connectAcceptedSocket(fd, options: options) { Recorder() }
            }
            try expectError(code, line: line) {
                _ = try loop.createConnection(descriptor: fd, options: options) { Recorder() }
            }
            try expectError(code, line: line) {
                _ = try loop.openConnection(descriptor: fd, options: options)
            }
            try expect(fcntl(fd, F_GETFL) == flags, "the flags have changed", line: line)
        }
        try refuse(-1, .system)
        let pipe = PipeEnds()
        try refuse(pipe.reader, .system)
        let datagrams = try pair(SOCK_DGRAM)
        try refuse(datagrams.0, .invalidArgument)
        let plain = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        try refuse(plain, .notConnected)
        let (fd, peer) = try accepted()
        var options = LoopSocketOptions()
        options.passesDescriptors = true
        try refuse(fd, .notSupported, options)
        options.passesDescriptors = false
        options.congestionControl = "there is none of that name"
        try refuse(fd, .notFound, options)
        // It is as good as before.
        let recorder = Recorder()
        let transport = try loop.connectAcceptedSocket(fd) { recorder }
        try refuse(fd, .inUse)
        try transport.write([1])
        transport.close()
        while loop.resourceCount > 0 { try kit.run(loop, .once) }
        try expect(try peer.receiveAll(), equals: [1])
        for fd in [datagrams.0, datagrams.1, plain] { try expect(close(fd), equals: 0) }
        try loop.close()
        try refuse(pipe.reader, .closed)
    }
}
