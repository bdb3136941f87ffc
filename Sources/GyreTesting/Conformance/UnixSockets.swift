// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Unix sockets: names, files, servers, connections, credentials.
enum UnixSockets {
    static let behaviours: [Behaviour] =
        [
            Behaviour(
                "aUnixServerExchangesWithItsClients", [], .unixSockets,
                aUnixServerExchangesWithItsClients),
            Behaviour(
                "aStaleSocketFileIsReplaced", [103], .unixSockets, aStaleSocketFileIsReplaced),
            Behaviour(
                "aFileThatIsNoSocketIsAnErrorAndStays", [103], .unixSockets,
                aFileThatIsNoSocketIsAnErrorAndStays),
            Behaviour(
                "aPathThatIsServedIsInUse", [103], .unixSockets, isProcessWide: true,
                aPathThatIsServedIsInUse),
            Behaviour(
                "theSocketFileGoesWithItsServerOnly", [103], .unixSockets,
                theSocketFileGoesWithItsServerOnly),
            Behaviour(
                "pathsOfUnixSocketsAreChecked", [], .unixSockets, pathsOfUnixSocketsAreChecked),
            Behaviour("addressesKeepTheirNames", [], .unixSockets, addressesKeepTheirNames),
            Behaviour("thePeerOfAUnixSocketIsKnown", [], .unixSockets, thePeerOfAUnixSocketIsKnown),
            Behaviour(
                "aFullUnixServerMakesConnectionsWait", [], .unixSockets, isProcessWide: true,
                aFullUnixServerMakesConnectionsWait),
            Behaviour(
                "connectionsThatWaitOutliveAStop", [], .unixSockets, isProcessWide: true,
                connectionsThatWaitOutliveAStop),
            Behaviour(
                "unixConnectionsThatFailLeaveNothing", [98], .unixSockets, isProcessWide: true,
                unixConnectionsThatFailLeaveNothing),
            Behaviour(
                "anAsyncUnixServerEchoesEveryByte", [], .unixSockets,
                anAsyncUnixServerEchoesEveryByte),
            Behaviour("streamsGoOverUnixSockets", [], .unixSockets, streamsGoOverUnixSockets),
        ] + passing + passingStreams

    /// A connection over `path` from and to the same loop; what near sends, far gets, and back.
    private static func exchange(
        _ kit: ConformanceKit, _ loop: Loop, path: String
    ) throws {
        let (near, far) = (Recorder(), Recorder())
        let server = try loop.createUnixServer(path: path) { far }
        near.onMade = { try $0.write(pattern(300_000)) }
        far.onData = {
            guard far.received.count == 300_000, let transport = far.transport else { return }
            try transport.write(pattern(1000, seed: 7))
            transport.close()
        }
        near.onLost = { loop.stop() }
        var outcome: LoopConnecting.Outcome?
        loop.createUnixConnection(
            path: path, makeProtocol: { near }, completion: { outcome = $0 })
        try expect(outcome == nil, "completed inside the call")
        try kit.run(loop)
        _ = try outcome?.get()
        try expectPattern(far.received, count: 300_000)
        try expectPattern(near.received, count: 1000, seed: 7)
        let told = near.events.filter { $0 != .paused && $0 != .resumed }
        try expect(told, equals: [.made, .data, .end, .lost])
        server.close()
        try kit.drain(loop)
    }

    static func aUnixServerExchangesWithItsClients(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let loop = try kit.makeLoop()
        try exchange(kit, loop, path: folder.path("a.sock"))
        try expect(folder.names, equals: [])
        // The same without a file.
        try exchange(kit, loop, path: folder.abstractName)
        try expect(folder.names, equals: [])
        try loop.close()
    }

    static func aStaleSocketFileIsReplaced(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let path = folder.path("stale.sock")
        // Bound, and its socket closed: the file stays.
        for kind in [SOCK_STREAM, SOCK_DGRAM] {
            Glibc.close(try folder.bindSocket("stale.sock", kind))
            try expect(folder.names, equals: ["stale.sock"])
            let loop = try kit.makeLoop()
            try exchange(kit, loop, path: path)
            try loop.close()
        }
        try expect(folder.names, equals: [])
    }

    static func aFileThatIsNoSocketIsAnErrorAndStays(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let loop = try kit.makeLoop()
        try folder.writeFile("file", "kept")
        symlink(folder.path("nowhere"), folder.path("link"))
        mkdir(folder.path("folder"), 0o700)
        for name in ["file", "link", "folder"] {
            let error = try expectError(LoopError.self) {
                _ = try loop.createUnixServer(path: folder.path(name)) { Recorder() }
            }
            try expect(error.code, equals: .addressInUse, name)
            try expect(error.description.contains(folder.path(name)), "the error says \(error)")
        }
        try expect(folder.names, equals: ["file", "folder", "link"])
        try expect(folder.readFile("file"), equals: "kept")
        let missing = try expectError(LoopError.self) {
            _ = try loop.createUnixServer(path: folder.path("no/such.sock")) { Recorder() }
        }
        try expect(missing.errno, equals: ENOENT)
        try loop.close()
    }

    static func aPathThatIsServedIsInUse(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let loop = try kit.makeLoop()
        for path in [folder.path("served.sock"), folder.abstractName] {
            let server = try loop.createUnixServer(path: path) { Recorder() }
            try expectError(.addressInUse) {
                _ = try loop.createUnixServer(path: path) { Recorder() }
            }
            // Free when it is closed, and when its loop is.
            server.close()
            try kit.drain(loop)
            _ = try loop.createUnixServer(path: path) { Recorder() }
        }
        // A socket of another kind serves, too.
        let datagrams = try folder.bindSocket("datagrams.sock", SOCK_DGRAM)
        try expectError(.addressInUse) {
            _ = try loop.createUnixServer(path: folder.path("datagrams.sock")) { Recorder() }
        }
        Glibc.close(datagrams)
        try expect(folder.names, equals: ["datagrams.sock", "served.sock"])
        try loop.close()
        try expect(folder.names, equals: ["datagrams.sock"])
    }

    static func theSocketFileGoesWithItsServerOnly(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let path = folder.path("own.sock")
        let loop = try kit.makeLoop()
        // Somebody else's by now: another server's, or a file.
        let first = try loop.createUnixServer(path: path) { Recorder() }
        unlink(path)
        let second = try loop.createUnixServer(path: path) { Recorder() }
        first.close()
        try kit.drain(loop)
        try expect(folder.names, equals: ["own.sock"])
        unlink(path)
        try folder.writeFile("own.sock", "kept")
        second.close()
        try kit.drain(loop)
        try expect(folder.readFile("own.sock"), equals: "kept")
        unlink(path)
        // Gone already.
        let third = try loop.createUnixServer(path: path) { Recorder() }
        unlink(path)
        third.close()
        // Asked to stay.
        var options = LoopUnixServerOptions()
        options.removesFile = false
        let last = try loop.createUnixServer(path: path, options: options) { Recorder() }
        last.close()
        try kit.drain(loop)
        try expect(folder.names, equals: ["own.sock"])
        try loop.close()
    }

    static func pathsOfUnixSocketsAreChecked(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let long = "/tmp/" + String(repeating: "n", count: 103)
        for path in ["", long, "/tmp/a\u{0}b", "\u{0}" + long] {
            try expectError(.invalidArgument) {
                _ = try loop.createUnixServer(path: path) { Recorder() }
            }
            var outcome: LoopConnecting.Outcome?
            loop.createUnixConnection(
                path: path, makeProtocol: { Recorder() },
                completion: {
                    outcome = $0
                    loop.stop()
                })
            try expect(outcome == nil, "completed inside the call")
            try kit.run(loop)
            guard case .failure(let error) = outcome else {
                throw ConformanceFailure("connected to \(path.debugDescription)")
            }
            try expect(error.code, equals: .invalidArgument)
        }
        // The longest that there can be.
        _ = try LoopAddress(unixPath: String(long.dropLast()))
        try loop.close()
    }

    static func addressesKeepTheirNames(_ kit: ConformanceKit) throws {
        let path = try LoopAddress(unixPath: "/tmp/name.sock")
        try expect(path.unixPath, equals: "/tmp/name.sock")
        try expect(path.description, equals: "/tmp/name.sock")
        let abstract = try LoopAddress(unixPath: "\u{0}name")
        try expect(abstract.unixPath, equals: "\u{0}name")
        try expect(abstract.description, equals: "@name")
        let named = try LoopAddress(unixPath: "@name")
        try expect(named.description, equals: "@name")
        try expect(named != abstract, "a path is an abstract name")
        let unnamed = try LoopAddress(unixPath: "")
        try expect(unnamed.unixPath, equals: "")
        try expect(unnamed.description, equals: "unnamed")
        try expect(unnamed.isUnix && unnamed.host == "" && unnamed.port == 0, "has a port")

        let numeric = try LoopAddress(host: "127.0.0.1", port: 80)
        try expect(numeric.description, equals: "127.0.0.1:80")
        try expect(numeric.unixPath, equals: nil)
        try expect(numeric == LoopAddress(host: "127.0.0.1", port: 80), "is not itself")
        let others = [
            try LoopAddress(host: "127.0.0.1", port: 81),
            try LoopAddress(host: "127.0.0.2", port: 80),
            try LoopAddress(host: "::1", port: 80), try LoopAddress(host: nil, port: 80), path,
        ]
        for other in others { try expect(numeric != other, "\(numeric) is \(other)") }
        let all = Set(others + [numeric, named, abstract, unnamed] + others)
        try expect(all.count, equals: 9)
        try expectError(.nameNotResolved) { _ = try LoopAddress(host: "localhost", port: 80) }
        try expectError(.invalidArgument) { _ = try LoopAddress(host: "::1", port: 65536) }
    }

    static func thePeerOfAUnixSocketIsKnown(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let loop = try kit.makeLoop()
        let (near, far) = (Recorder(), Recorder())
        func check(_ transport: LoopTransport) throws {
            guard let peer = transport.peerCredentials else {
                throw ConformanceFailure("the peer is not known")
            }
            try expect(peer.processID, equals: getpid())
            try expect(peer.userID, equals: geteuid())
            try expect(peer.groupID, equals: getegid())
            if far.transport != nil, near.transport != nil { loop.stop() }
        }
        far.onMade = {
            try expect($0.localAddress?.unixPath, equals: folder.path("a.sock"))
            try expect($0.peerAddress?.unixPath, equals: "")
            try check($0)
        }
        near.onMade = {
            try expect($0.peerAddress?.unixPath, equals: folder.path("a.sock"))
            try check($0)
        }
        let server = try loop.createUnixServer(path: folder.path("a.sock")) { far }
        try expect(server.addresses.map(\.unixPath), equals: [folder.path("a.sock")])
        loop.createUnixConnection(path: folder.path("a.sock"), makeProtocol: { near })
        try kit.run(loop)
        try loop.close()
        try expect(near.transport?.peerCredentials, equals: nil, "of a connection that is gone")
        near.forgetClosures()
        far.forgetClosures()
        // TCP tells nothing of the kind.
        let pair = try ConnectedPair(kit)
        try expect(pair.nearTransport.peerCredentials, equals: nil)
        try pair.close()
    }

    /// The kernel refuses a connection that would have to wait, and says nothing when there is
    /// room.
    static func aFullUnixServerMakesConnectionsWait(_ kit: ConformanceKit) throws {
        try connectToAFullServer(kit) {}
    }

    /// A stop from the terminal interrupts what waits in the kernel, also where signals do not.
    static func connectionsThatWaitOutliveAStop(_ kit: ConformanceKit) throws {
        try connectToAFullServer(kit) {
            let status = system("kill -STOP $PPID && sleep 0.05 && kill -CONT $PPID")
            try expect(status, equals: 0, "the shell that stops this process")
        }
    }

    private static func connectToAFullServer(
        _ kit: ConformanceKit, whileTheyWait body: () throws -> Void
    ) throws {
        let folder = try SocketFolder()
        let loop = try kit.makeLoop()
        try kit.run(loop, .noWait)
        let before = OpenDescriptors()
        let listener = try folder.bindSocket("full.sock", SOCK_STREAM)
        try expect(listen(listener, 0), equals: 0, "listen")
        var made = 0
        var cancelled = 0
        let connecting = (0..<6).map { _ in
            loop.createUnixConnection(
                path: folder.path("full.sock"), makeProtocol: { Recorder() },
                completion: { outcome in
                    switch outcome {
                    case .success: made += 1
                    case .failure(let error): if error.code == .cancelled { cancelled += 1 }
                    }
                })
        }
        loop.callLater(.milliseconds(20)) { loop.stop() }
        try kit.run(loop)
        try expect((1...3).contains(made), "\(made) were made with a full server")
        try body()
        // One of those that wait gives up; the others come through when the server accepts.
        connecting[5].cancel()
        let thread = try TestThread {
            for _ in 0..<5 { Glibc.close(accept(listener, nil, nil)) }
        }
        func stopWhenDone() {
            if made == 5, cancelled == 1 { loop.stop() } else { loop.callSoon { stopWhenDone() } }
        }
        stopWhenDone()
        try kit.run(loop)
        try thread.join()
        Glibc.close(listener)
        // Those that were made are the loop's until their ends are delivered.
        for _ in 0..<1000 where loop.resourceCount > 0 { try kit.run(loop, .once) }
        let left = OpenDescriptors().opened(since: before).filter { $0.contains("socket:") }
        try expect(left, equals: [], "sockets left open")
        try loop.close()
    }

    static func unixConnectionsThatFailLeaveNothing(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let loop = try kit.makeLoop()
        try kit.run(loop, .noWait)
        let before = OpenDescriptors()
        Glibc.close(try folder.bindSocket("stale.sock", SOCK_STREAM))
        try folder.writeFile("file", "")
        let expected: [(String, CInt)] = [
            ("stale.sock", ECONNREFUSED), ("missing.sock", ENOENT), ("file", ECONNREFUSED),
        ]
        for (name, number) in expected {
            var outcome: LoopConnecting.Outcome?
            loop.createUnixConnection(
                path: folder.path(name), makeProtocol: { Recorder() },
                completion: {
                    outcome = $0
                    loop.stop()
                })
            try kit.run(loop)
            guard case .failure(let error) = outcome else {
                throw ConformanceFailure("connected to \(name)")
            }
            try expect(error.errno, equals: number, name)
            try expect(error.description.contains(folder.path(name)), "the error says \(error)")
        }
        let left = OpenDescriptors().opened(since: before).filter { $0.contains("socket:") }
        try expect(left, equals: [], "sockets left open")
        try loop.close()
    }

    static func anAsyncUnixServerEchoesEveryByte(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let path = folder.path("async.sock")
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            try await withUnixServer(
                path: path,
                handler: { connection in
                    for try await chunk in connection.chunks { try await connection.write(chunk) }
                },
                { server in
                    try expect(server.addresses.map(\.unixPath), equals: [path])
                    let received = try await withUnixConnection(to: path) { connection in
                        try expect(connection.peerCredentials?.processID, equals: getpid())
                        try await connection.write(pattern(100_000))
                        try await connection.writeEOF()
                        var received: [UInt8] = []
                        for try await chunk in connection.chunks { received += chunk }
                        return received
                    }
                    try expectPattern(received, count: 100_000)
                })
            // A server for as long as its task runs.
            let serving = Loop.running.createTask { try await serveUnix(path: path) { _ in } }
            while (try? await withUnixConnection(to: path, { _ in })) == nil {
                try await sleep(.milliseconds(1))
            }
            serving.cancel()
            try? await serving.value
            try expect(serving.isCancelled, "it was not cancelled")
        }
        try kit.complete(task, on: loop)
        try expect(folder.names, equals: [])
        try loop.close()
    }

    static func streamsGoOverUnixSockets(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let path = folder.path("streams.sock")
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            let loop = Loop.running
            let server = try loop.startUnixServer(path: path) { reader, writer in
                for try await line in reader.lines { try writer.write("<\(line)>") }
            }
            let (reader, writer) = try await loop.openUnixConnection(path: path)
            try writer.write("one\ntwo\n")
            try writer.writeEOF()
            let all = try await reader.readToEnd()
            try expect(String(decoding: all, as: UTF8.self), equals: "<one><two>")
            writer.close()
            server.close()
            do {
                _ = try await loop.openUnixConnection(path: path)
                throw ConformanceFailure("connected to a closed server")
            } catch let error as LoopError {
                try expect(error.errno, equals: ENOENT)
            }
        }
        try kit.complete(task, on: loop)
        try loop.close()
    }
}
