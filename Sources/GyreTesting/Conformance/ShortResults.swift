// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// System calls that do less than they were asked for, or that a connection breaks in the middle
/// of.
enum ShortResults {
    static let behaviours: [Behaviour] = [
        Behaviour("shortSendsLoseNothing", [93], .transports, shortSendsLoseNothing),
        Behaviour("shortWritesOfPipesLoseNothing", [], .pipes, shortWritesOfPipesLoseNothing),
        Behaviour(
            "shortSendsOfSocketsLoseNothing", [], .lowLevelSockets, shortSendsOfSocketsLoseNothing),
        Behaviour(
            "streamsOfShortPiecesLoseNothing", [95], .streamReaders,
            streamsOfShortPiecesLoseNothing),
        Behaviour(
            "aFileToABrokenConnectionRaisesNoSignal", [109], .sendingFiles,
            aFileToABrokenConnectionRaisesNoSignal),
    ]

    // MARK: Short results

    /// Leaves room for as little as the kernel allows: every send of more than that is short.
    private static func narrow(_ fd: CInt) {
        var size: CInt = 1
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<CInt>.size))
    }

    /// Reads all of `fd` on a thread of its own, in pieces of all sizes up to `sizeMax`.
    private static func reading(
        _ fd: CInt, _ all: SharedValue<[UInt8]>, sizeMax: Int
    ) throws -> TestThread {
        try TestThread {
            var random = SeededRandom(seed: 5)
            while true {
                let piece = try PipeEnds.read(fd, 1 + random.next(below: sizeMax))
                if piece.isEmpty { return }
                all.update { $0 += piece }
            }
        }
    }

    static func shortSendsLoseNothing(_ kit: ConformanceKit) throws {
        let file = try TestFile(1 << 20)
        let loop = try kit.makeLoop()
        let near = Recorder()
        var written = 0
        func begin(_ transport: LoopTransport) throws {
            narrow(transport.descriptor)
            try transport.write(pattern(300_000))
            written += 300_000
            let kept = transport.writeBufferSize
            try expect(0 < kept && kept < written, "\(kept) bytes are kept: not a short send")
            sendFiles(transport, [.native, .copying])
        }
        func sendFiles(_ transport: LoopTransport, _ methods: [LoopSendFileMethod]) {
            guard let method = methods.first else {
                loop.callSoon { try finish(transport) }
                return
            }
            transport.sendFile(file.fd, offset: written, count: 150_000, method: method) {
                if case .success(150_000) = $0 { written += 150_000 }
                sendFiles(transport, Array(methods.dropFirst()))
            }
        }
        func finish(_ transport: LoopTransport) throws {
            // A ring collects these.
            for count in 1...60 {
                try transport.write(pattern(100 * count, seed: written))
                written += 100 * count
            }
            let pieces = (1...50).map { pattern(10 * $0, seed: written + 5 * $0 * ($0 - 1)) }
            try transport.writeLines(pieces)
            written += pieces.reduce(0) { $0 + $1.count }
            transport.close()
        }
        near.onMade = { transport in loop.callSoon { try begin(transport) } }
        near.onLost = { loop.callSoon { loop.stop() } }
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { near }
        let peer = try RawPeer(port: try server.port)
        let received = SharedValue<[UInt8]>([])
        let thread = try reading(peer.fd, received, sizeMax: 5000)
        try kit.run(loop)
        try thread.join()
        try expect(near.error == nil, "it broke: \(String(describing: near.error))")
        try expect(written, equals: 600_000 + 60 * 61 * 50 + 12_750)
        try expectPattern(received.value, count: written)
        try loop.close()
        withExtendedLifetime(peer) {}
    }

    static func shortWritesOfPipesLoseNothing(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let outward = PipeEnds()
        // F_SETPIPE_SZ, which is not imported: one page.
        try expect(fcntl(outward.writer, 1031, 4096) > 0, "the pipe is not made smaller")
        let writer = Recorder()
        let writing = try loop.connectWritePipe(outward.takeWriter()) { writer }
        writer.onLost = { loop.callSoon { loop.stop() } }
        let received = SharedValue<[UInt8]>([])
        let thread = try reading(outward.reader, received, sizeMax: 900)
        loop.callSoon {
            try writing.write(pattern(100_000))
            let kept = writing.writeBufferSize
            try expect(0 < kept && kept < 100_000, "\(kept) bytes are kept: not a short write")
            try writing.writeLines((0..<10).map { pattern(1000, seed: 100_000 + 1000 * $0) })
            writing.close()
        }
        try kit.run(loop)
        try thread.join()
        try expect(writer.error == nil, "it broke: \(String(describing: writer.error))")
        try expectPattern(received.value, count: 110_000)
        // The other way: what is read are single bytes, and a few.
        let inward = PipeEnds()
        let reader = Recorder()
        reader.onLost = { loop.callSoon { loop.stop() } }
        try loop.connectReadPipe(inward.takeReader()) { reader }
        let end = inward.takeWriter()
        let trickle = try TestThread {
            var random = SeededRandom(seed: 6)
            var sent = 0
            while sent < 3000 {
                let piece = pattern(min(3000 - sent, 1 + random.next(below: 3)), seed: sent)
                try expect(write(end, piece, piece.count), equals: piece.count)
                sent += piece.count
            }
            close(end)
        }
        try kit.run(loop)
        try trickle.join()
        try expectPattern(reader.received, count: 3000)
        try loop.close()
        withExtendedLifetime(outward) {}
    }

    static func shortSendsOfSocketsLoseNothing(_ kit: ConformanceKit) throws {
        let file = try TestFile(1 << 20)
        let fd = file.fd
        try kit.runConnections {
            let loop = Loop.running
            let (near, far) = try await LowLevelSockets.connected()
            narrow(near)
            let sending = loop.createTask(eager: true) {
                let loop = Loop.running
                try await loop.sockSendAll(near, pattern(200_000))
                for (index, method) in [LoopSendFileMethod.native, .copying].enumerated() {
                    let sent = try await loop.sockSendFile(
                        near, fd, offset: 200_000 + index * 100_000, count: 100_000,
                        method: method)
                    try expect(sent, equals: 100_000)
                }
                loop.sockClose(near)
            }
            var random = SeededRandom(seed: 7)
            var received: [UInt8] = []
            while true {
                var buffer = [UInt8](repeating: 0, count: 1 + random.next(below: 3000))
                let count = try await loop.sockReceiveInto(far, &buffer)
                if count == 0 { break }
                received += buffer.prefix(count)
            }
            try await sending.value
            try expectPattern(received, count: 400_000)
            loop.sockClose(far)
        }
        withExtendedLifetime(file) {}
    }

    /// Every read waits for several pieces, which end anywhere.
    static func streamsOfShortPiecesLoseNothing(_ kit: ConformanceKit) throws {
        let lines = (0..<100).map { "line \($0) \(String(repeating: "x", count: $0))\n" }
        try StreamReaders.connected(kit, limit: 256) { reader, writer, peer in
            let trickle = try StreamReaders.onThread {
                var at: CInt = 1
                setsockopt(
                    peer.fd, CInt(IPPROTO_TCP), TCP_NODELAY, &at,
                    socklen_t(MemoryLayout<CInt>.size))
                var random = SeededRandom(seed: 8)
                var rest = Array(lines.joined().utf8)[...] + pattern(20_000) + Array("a|b;".utf8)
                while !rest.isEmpty {
                    let piece = rest.prefix(1 + random.next(below: 12))
                    try peer.send(Array(piece))
                    rest = rest.dropFirst(piece.count)
                }
                // And back: what is echoed is read in small pieces, too.
                var echoed: [UInt8] = []
                while echoed.count < 200_000 {
                    let piece = try peer.receive(1 + random.next(below: 2000))
                    if piece.isEmpty { break }
                    echoed += piece
                }
                try expectPattern(echoed, count: 200_000)
                peer.endSending()
            }
            for line in lines {
                try expect(StreamReaders.text(try await reader.readLine()), equals: line)
            }
            var (count, wanted) = (0, 0)
            while count < 20_000 {
                wanted = min(wanted + 1, 20_000 - count)
                try expectPattern(
                    try await reader.readExactly(wanted), count: wanted, seed: count)
                count += wanted
            }
            try expect(StreamReaders.text(try await reader.readUntil("|", ";")), equals: "a|")
            try expect(StreamReaders.text(try await reader.readUntil("|", ";")), equals: "b;")
            narrow(writer.transport?.descriptor ?? -1)
            for index in 0..<20 {
                let pieces = (0..<10).map { pattern(1000, seed: 10_000 * index + 1000 * $0) }
                try writer.writeLines(pieces)
                try await writer.drain()
            }
            try await trickle.value
            try expect(try await reader.readToEnd(), equals: [])
            writer.close()
        }
    }

    // MARK: Connections that break

    /// Runs `body` and checks that it raised no SIGPIPE on this thread.
    private static func expectNoSignal(_ body: () throws -> Void) throws {
        var signal = sigset_t()
        var before = sigset_t()
        sigemptyset(&signal)
        sigaddset(&signal, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signal, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        try body()
        var none = timespec()
        try expect(sigtimedwait(&signal, nil, &none), equals: -1, "SIGPIPE was raised")
    }

    /// The peer closed, and resets when the first bytes come: in the middle of one `sendfile`.
    static func aFileToABrokenConnectionRaisesNoSignal(_ kit: ConformanceKit) throws {
        let file = try TestFile(4 << 20)
        for method in [.native, .copying] as [LoopSendFileMethod] {
            for _ in 0..<3 {
                let pair = try ConnectedPair(kit)
                let loop = pair.loop
                pair.far.keepsOpen = true
                pair.far.onEnd = { loop.stop() }
                pair.nearTransport.close()
                if pair.far.count(of: .end) == 0 { try kit.run(loop) }
                var outcome: Result<Int, any Error>?
                try expectNoSignal {
                    pair.farTransport.sendFile(file.fd, method: method) {
                        outcome = $0
                        loop.stop()
                    }
                    try kit.run(loop)
                }
                let error = try expectError(LoopError.self) { _ = try outcome?.get() }
                let codes: Set<LoopError.Code> = [.connectionReset, .brokenPipe]
                try expect(codes.contains(error.code), "the file ended with \(error)")
                try pair.close()
            }
        }
    }
}
