// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

// The ways to make a server for a group of loops.

extension SeveralLoops {
    static let groupServers: [Behaviour] = [
        Behaviour(
            "aGroupServesHostsByName", [102], .severalLoops, aGroupServesHostsByName),
        Behaviour(
            "aGroupServesExistingAndUnixSockets", [], .severalLoops,
            aGroupServesExistingAndUnixSockets),
        Behaviour("streamsRunOnTheLoopsOfAGroup", [], .severalLoops, streamsRunOnTheLoopsOfAGroup),
        Behaviour(
            "aGroupsServerThatCannotBeMadeIsThatError", [102], .severalLoops,
            aGroupsServerThatCannotBeMadeIsThatError),
        Behaviour(
            "aGroupStopsAlthoughAConnectionOpensAnother", [], .severalLoops,
            aGroupStopsAlthoughAConnectionOpensAnother),
        Behaviour(
            "handlersEndWithTheirGroup", [], .severalLoops, handlersEndWithTheirGroup),
    ]

    /// Runs `body` with a group of two loops.
    private static func grouped(
        _ kit: ConformanceKit, _ body: @escaping @Sendable (LoopGroup) async throws -> Void
    ) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            try await withLoopGroup(count: 2, makeLoop: { try kit.makeLoop() }) { group in
                try await body(group)
                try expect(group.loads.map(\.openCount), equals: [0, 0])
            }
        }
        try kit.complete(task, on: loop)
        while loop.resourceCount > 0 { try kit.run(loop, .once) }
        try loop.close()
    }

    /// Sends back what it gets, on the loop that it was made for.
    private final class Echo: LoopStreamProtocol {
        private let handle: LoopHandle
        private var transport: LoopTransport?

        init(_ loop: Loop) { handle = loop.handle }

        func connectionMade(_ transport: LoopTransport) throws {
            try expect(handle.isOnLoop, "made on another thread")
            self.transport = transport
        }

        func dataReceived(_ data: RawSpan) throws {
            try expect(handle.isOnLoop, "data on another thread")
            try transport?.write(data)
        }
    }

    /// Sends something and expects it back, then closes, and waits until the server knows.
    private static func talk(
        over streams: (reader: LoopStreamReader, writer: LoopStreamWriter)
    ) async throws {
        try streams.writer.write(pattern(1000))
        try streams.writer.writeEOF()
        try expectPattern(try await streams.reader.readToEnd(), count: 1000)
        streams.writer.close()
        try await streams.writer.waitClosed()
    }

    private static func end(_ server: LoopServer) async throws {
        server.close()
        try await server.waitClosed()
    }

    static func aGroupServesHostsByName(_ kit: ConformanceKit) throws {
        try grouped(kit) { group in
            let loop = Loop.running
            var options = LoopServerOptions()
            options.family = .ipv4
            let names = ["localhost", "127.0.0.1", "localhost"]
            let server = try await loop.createServer(
                hosts: names, port: 0, options: options, group: group
            ) { Echo($0) }
            try expect(server.addresses.count, equals: 1, "each is listened at once")
            for _ in 0..<4 {
                try await talk(
                    over: loop.openConnection(host: "localhost", port: try server.port))
            }
            try await end(server)
            let made = LoopFuture<Void>(on: loop)
            var outcome: Result<LoopServer, LoopError>?
            loop.createServer(
                hosts: ["localhost"], port: 0, options: options, group: group,
                makeProtocol: { Echo($0) },
                completion: {
                    outcome = $0
                    try? made.setResult(())
                })
            try expect(outcome == nil, "completed inside the call")
            try await made.value
            guard let second = try outcome?.get() else { throw ConformanceFailure("no server") }
            try await talk(over: loop.openConnection(host: "localhost", port: try second.port))
            try await end(second)
            try expect(group.loads.reduce(0) { $0 + $1.acceptedCount }, equals: 5)
        }
    }

    static func aGroupServesExistingAndUnixSockets(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let path = folder.path("group.sock")
        try grouped(kit) { group in
            let loop = Loop.running
            let fd = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
            let port = try boundPort(of: fd)
            let server = try loop.createServer(descriptor: fd, group: group) { Echo($0) }
            try expect(server.descriptors, equals: [fd])
            try await talk(over: loop.openConnection(host: "127.0.0.1", port: port))
            try await end(server)
            let unix = try loop.createUnixServer(path: path, group: group) { Echo($0) }
            for _ in 0..<2 { try await talk(over: loop.openUnixConnection(path: path)) }
            try await end(unix)
            try expect(access(path, F_OK) != 0, "the file is left")
            try expect(group.loads.map(\.acceptedCount).reduce(0, +), equals: 3)
        }
        withExtendedLifetime(folder) {}
    }

    static func streamsRunOnTheLoopsOfAGroup(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let path = folder.path("group.sock")
        try grouped(kit) { group in
            let loop = Loop.running
            let used = SharedValue<Set<LoopHandle>>([])
            let handler: LoopStreamHandler = { reader, writer in
                let handle = Loop.running.handle
                try expect(reader.handle == handle, "it runs on another loop")
                used.update { _ = $0.insert(handle) }
                while true {
                    let bytes = try await reader.read(1 << 16)
                    if bytes.isEmpty { return }
                    try writer.write(bytes)
                    try await writer.drain()
                    try expect(Loop.running.handle == handle, "it changed the loop")
                }
            }
            var options = LoopServerOptions()
            options.family = .ipv4
            let servers = [
                try await loop.startServer(
                    host: "localhost", port: 0, options: options, group: group, handler: handler),
                try loop.startServer(
                    addresses: [try LoopAddress(host: "127.0.0.1", port: 0)], group: group,
                    handler: handler),
            ]
            for server in servers {
                let port = try server.port
                let clients = (0..<4).map { _ in
                    loop.createTask {
                        try await talk(
                            over: Loop.running.openConnection(host: "127.0.0.1", port: port))
                    }
                }
                for client in clients { try await client.value }
                try await end(server)
            }
            try expect(used.value, equals: Set(group.handles))
            let unix = try loop.startUnixServer(path: path, group: group, handler: handler)
            try await talk(over: loop.openUnixConnection(path: path))
            try await end(unix)
            try expect(group.loads.map(\.acceptedCount).reduce(0, +), equals: 9)
        }
        withExtendedLifetime(folder) {}
    }

    static func aGroupsServerThatCannotBeMadeIsThatError(_ kit: ConformanceKit) throws {
        try grouped(kit) { group in
            let loop = Loop.running
            let server = try await loop.startServer(
                host: "127.0.0.1", port: 0, group: group, handler: { _, _ in })
            let port = try server.port
            let resources = loop.resourceCount
            let failure = try await StreamReaders.error(LoopError.self) {
                _ = try await Loop.running.startServer(
                    hosts: ["127.0.0.2", "127.0.0.1"], port: port, group: group,
                    handler: { _, _ in })
            }
            try expect(failure.code, equals: .addressInUse)
            try expectError(.invalidArgument) {
                _ = try loop.startServer(
                    addresses: [], limit: 0, group: group, handler: { _, _ in })
            }
            // The listener that could be bound is closed.
            while loop.resourceCount > resources { try await sleep(.milliseconds(1)) }
            let making = loop.createTask(eager: true) {
                let late = try await Loop.running.createServer(
                    hosts: ["localhost"], port: 0, group: group
                ) { Echo($0) }
                late.close()
            }
            making.cancel()
            _ = try await StreamReaders.error(CancellationError.self) { try await making.value }
            try expect(loop.resourceCount, equals: resources)
            try await end(server)
        }
    }

    /// Opens another pipe when the first is lost.
    private final class Reopening: LoopStreamProtocol {
        private let loop: Loop
        private let fd: CInt
        private let lost: SharedValue<Int>

        init(_ loop: Loop, _ fd: CInt, _ lost: SharedValue<Int>) {
            self.loop = loop
            self.fd = fd
            self.lost = lost
        }

        func connectionLost(_ error: (any Error)?) {
            lost.update { $0 += 1 }
            guard fd >= 0 else { return }
            _ = try? loop.connectReadPipe(fd) { Reopening(loop, -1, lost) }
        }
    }

    static func aGroupStopsAlthoughAConnectionOpensAnother(_ kit: ConformanceKit) throws {
        let lost = SharedValue(0)
        let first = PipeEnds()
        let second = PipeEnds()
        let fds = [first.takeReader(), second.takeReader()]
        try grouped(kit) { group in
            let opened = LoopFuture<Void>(on: Loop.running)
            try group.handles[0].callSoonThreadSafe { loop in
                _ = try loop.connectReadPipe(fds[0]) { Reopening(loop, fds[1], lost) }
                try opened.completeThreadSafe(with: .success(()))
            }
            try await opened.value
        }
        withExtendedLifetime((first, second)) {}
        try expect(lost.value, equals: 2, "connections that were told")
    }

    /// The group stops while a server waits for its handlers, at many moments.
    static func handlersEndWithTheirGroup(_ kit: ConformanceKit) throws {
        for round in 0..<50 {
            try grouped(kit) { group in
                try await withServer(
                    host: "127.0.0.1", port: 0, group: group,
                    handler: { while try await $0.read() != nil {} },
                    { server in
                        let streams = try await Loop.running.openConnection(
                            addresses: server.addresses)
                        group.stop()
                        try await sleep(.microseconds(round * 20))
                        streams.writer.abort()
                    })
            }
        }
    }
}
