// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet

// Flow control in both directions, and what many connections do to each other.

extension Streams {
    static var flowControl: [Behaviour] {
        [
            Behaviour("marksAreToldOnceEach", [89], .streams, marksAreToldOnceEach),
            Behaviour("marksHaveTheirDefaults", [90], .streams, marksHaveTheirDefaults),
            Behaviour("pausedReadingDeliversNothing", [92], .streams, pausedReadingDeliversNothing),
            Behaviour(
                "pausingInsideDataKeepsTheRestInOrder", [92], .streams,
                pausingInsideDataKeepsTheRestInOrder),
            Behaviour(
                "theEndOfFileWaitsWhileReadingIsPaused", [92], .streams,
                theEndOfFileWaitsWhileReadingIsPaused),
            Behaviour(
                "pausingAndResumingIsHarmlessAtAnyTime", [92], .streams,
                pausingAndResumingIsHarmlessAtAnyTime),
            Behaviour("manySmallWritesGoTogether", [93], .streams, manySmallWritesGoTogether),
            Behaviour(
                "everyByteArrivesOnManyConnections", [], .streams,
                everyByteArrivesOnManyConnections),
            Behaviour(
                "aBusyConnectionDoesNotStarveAnother", [], .streams,
                aBusyConnectionDoesNotStarveAnother),
        ]
    }

    // MARK: Writing

    static func marksAreToldOnceEach(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let (near, transport) = (pair.near, pair.nearTransport)
        var sizeAtPause = 0
        var sizeAtResume = -1
        let size = 20 << 20
        near.onPause = { sizeAtPause = transport.writeBufferSize }
        near.onResume = {
            sizeAtResume = transport.writeBufferSize
            pair.loop.stop()
        }
        pair.loop.callSoon {
            pair.farTransport.pauseReading()
            for start in stride(from: 0, to: size, by: 1 << 20) {
                try transport.write(pattern(1 << 20, seed: start))
            }
            try expect(near.count(of: .paused), equals: 1, "pauses while the kernel was full")
            pair.loop.callSoon { pair.farTransport.resumeReading() }
        }
        try kit.run(pair.loop)
        try expect(near.count(of: .paused), equals: 1)
        try expect(near.count(of: .resumed), equals: 1)
        try expect(sizeAtPause > 64 << 10, "paused at \(sizeAtPause) bytes")
        try expect(sizeAtResume <= 16 << 10, "resumed at \(sizeAtResume) bytes")
        // And a second time.
        near.onResume = { transport.close() }
        pair.far.onLost = { pair.loop.stop() }
        pair.loop.callSoon { try transport.write(pattern(size, seed: size)) }
        try kit.run(pair.loop)
        try expect(near.events.filter { $0 == .paused || $0 == .resumed }.count, equals: 4)
        try expectPattern(pair.far.received, count: 2 * size)
        try pair.close()
    }

    static func marksHaveTheirDefaults(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let transport = pair.nearTransport
        func check(_ low: Int, _ high: Int, line: Int = #line) throws {
            let limits = transport.writeBufferLimits
            try expect([limits.low, limits.high], equals: [low, high], "low and high", line: line)
        }
        try check(16 << 10, 64 << 10)
        try transport.setWriteBufferLimits(high: 1000)
        try check(250, 1000)
        try transport.setWriteBufferLimits(low: 300)
        try check(300, 1200)
        try transport.setWriteBufferLimits(high: 10, low: 10)
        try check(10, 10)
        for (high, low) in [(9, 10), (-1, -2), (-1, nil), (nil, -1)] as [(Int?, Int?)] {
            try expectError(.invalidArgument) {
                try transport.setWriteBufferLimits(high: high, low: low)
            }
        }
        try expectError(.invalidArgument) { try transport.setWriteBufferLimits(low: .min) }
        try check(10, 10)
        try transport.setWriteBufferLimits(low: .max)
        try check(.max, .max)
        try transport.setWriteBufferLimits()
        try check(16 << 10, 64 << 10)
        try transport.setWriteBufferLimits(high: 0)
        try check(0, 0)
        try pair.close()
    }

    /// How many segments with data the socket sent.
    ///
    /// The kernel tells it 156 bytes into its tcp_info (linux/tcp.h), which the C library knows
    /// only the beginning of.
    private static func dataSegments(_ transport: LoopTransport) throws -> UInt32 {
        var words = [UInt32](repeating: 0, count: 64)
        var length = socklen_t(words.count * 4)
        let result = getsockopt(
            transport.descriptor, CInt(IPPROTO_TCP), TCP_INFO, &words, &length)
        try expect(result == 0 && length >= 160, "TCP_INFO gives \(length) bytes")
        return words[39]
    }

    static func manySmallWritesGoTogether(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let count = 10_000
        var segments: UInt32 = 0
        pair.far.onData = { if pair.far.received.count >= count { pair.loop.stop() } }
        pair.loop.callSoon {
            let before = try dataSegments(pair.nearTransport)
            for number in 0..<count { try pair.nearTransport.write(pattern(1, seed: number)) }
            // The rest goes in a later iteration.
            pair.loop.callLater(.milliseconds(1)) {
                segments = try dataSegments(pair.nearTransport) - before
            }
        }
        try kit.run(pair.loop)
        pair.loop.callLater(.milliseconds(2)) { pair.loop.stop() }
        try kit.run(pair.loop)
        try expectPattern(pair.far.received, count: count)
        try expect(segments > 0 && segments <= 20, "\(count) writes went in \(segments) segments")
        // Pieces of one call go together too, in order.
        pair.far.onData = { if pair.far.received.count >= 2 * count { pair.loop.stop() } }
        let pieces = stride(from: 0, to: count, by: 100).map { pattern(100, seed: count + $0) }
        pair.loop.callSoon { try pair.nearTransport.writeLines(pieces) }
        try kit.run(pair.loop)
        try expectPattern(pair.far.received, count: 2 * count)
        try pair.close()
    }

    // MARK: Reading

    static func pausedReadingDeliversNothing(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let (far, transport) = (pair.far, pair.farTransport)
        var whilePaused = -1
        pair.loop.callSoon {
            transport.pauseReading()
            transport.pauseReading()
            try expect(!transport.isReading, "paused, and reading")
            try pair.nearTransport.write(pattern(1000))
            pair.loop.callLater(.milliseconds(5)) {
                whilePaused = far.received.count
                transport.resumeReading()
                transport.resumeReading()
                try expect(transport.isReading, "resumed, and not reading")
                try expect(far.received.count, equals: whilePaused, "delivered inside the call")
            }
        }
        far.onData = { if far.received.count >= 1000 { pair.loop.stop() } }
        try kit.run(pair.loop)
        try expect(whilePaused, equals: 0, "bytes delivered while reading was paused")
        try expectPattern(far.received, count: 1000)
        // Whoever pauses makes the peer wait: its writes end up in its own buffer.
        pair.loop.callSoon {
            transport.pauseReading()
            try pair.nearTransport.write(pattern(20 << 20, seed: 1000))
            pair.loop.callLater(.milliseconds(5)) {
                try expect(pair.nearTransport.writeBufferSize > 1 << 20, "the peer did not wait")
                transport.resumeReading()
            }
        }
        far.onData = { if far.received.count >= 1000 + (20 << 20) { pair.loop.stop() } }
        try kit.run(pair.loop)
        try expectPattern(far.received, count: 1000 + (20 << 20))
        try pair.close()
    }

    static func pausingInsideDataKeepsTheRestInOrder(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let (far, transport) = (pair.far, pair.farTransport)
        let size = 4 << 20
        var isPaused = false
        var whilePaused = 0
        var rounds = 0
        far.onData = {
            if isPaused { whilePaused += 1 }
            if far.received.count >= size { return pair.loop.stop() }
            isPaused = true
            rounds += 1
            transport.pauseReading()
            // At once, next iteration and a while later: in every state the transport can be in.
            switch rounds % 3 {
            case 0:
                isPaused = false
                transport.resumeReading()
            case 1:
                pair.loop.callSoon {
                    isPaused = false
                    transport.resumeReading()
                }
            default:
                pair.loop.callLater(.microseconds(200)) {
                    isPaused = false
                    transport.resumeReading()
                }
            }
        }
        pair.loop.callSoon { try pair.nearTransport.write(pattern(size)) }
        try kit.run(pair.loop)
        try expect(whilePaused, equals: 0, "pieces delivered while reading was paused")
        try expectPattern(far.received, count: size)
        try pair.close()
    }

    static func theEndOfFileWaitsWhileReadingIsPaused(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let (far, transport) = (pair.far, pair.farTransport)
        var eventsWhilePaused: [Recorder.Event] = []
        far.onLost = { pair.loop.stop() }
        pair.loop.callSoon {
            transport.pauseReading()
            try pair.nearTransport.write(pattern(100_000))
            pair.nearTransport.close()
            pair.loop.callLater(.milliseconds(5)) {
                eventsWhilePaused = far.events
                transport.resumeReading()
            }
        }
        try kit.run(pair.loop)
        try expect(eventsWhilePaused, equals: [.made])
        try expect(far.events, equals: [.made, .data, .end, .lost])
        try expectPattern(far.received, count: 100_000)
        try pair.close()
    }

    static func pausingAndResumingIsHarmlessAtAnyTime(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let (near, far) = (Recorder(), Recorder())
        func flip(_ transport: LoopTransport?) {
            for _ in 0..<3 {
                transport?.pauseReading()
                transport?.resumeReading()
                transport?.resumeReading()
                transport?.pauseReading()
            }
            transport?.resumeReading()
        }
        for side in [near, far] {
            side.onMade = { flip($0) }
            side.onData = { [unowned side] in flip(side.transport) }
            side.onEnd = { [unowned side] in flip(side.transport) }
        }
        let pair = try ConnectedPair(kit, loop: loop, near: near, far: far)
        far.onLost = { loop.stop() }
        loop.callSoon {
            try pair.nearTransport.write(pattern(1 << 20))
            pair.nearTransport.close()
            flip(pair.nearTransport)
            try expect(!pair.nearTransport.isReading, "a transport that closes is reading")
        }
        try kit.run(loop)
        try expect(far.events, equals: [.made, .data, .end, .lost])
        try expectPattern(far.received, count: 1 << 20)
        try loop.close()
    }

    // MARK: Many connections

    /// More data at once than a loop has receive buffers, in pieces of many sizes, and back again.
    static func everyByteArrivesOnManyConnections(_ kit: ConformanceKit) throws {
        final class Echo: LoopStreamProtocol {
            var transport: LoopTransport?
            func connectionMade(_ transport: LoopTransport) { self.transport = transport }
            func dataReceived(_ data: RawSpan) throws { try transport?.write(data) }
            func connectionLost(_ error: (any Error)?) { transport = nil }
        }
        let loop = try kit.makeLoop()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { Echo() }
        let connectionCount = 40
        let size = 600_000
        var clients: [Recorder] = []
        var finished = 0
        for number in 0..<connectionCount {
            let client = Recorder()
            clients.append(client)
            client.onMade = { transport in
                var start = 0
                var piece = 1
                while start < size {
                    let count = min(piece, size - start)
                    try transport.write(pattern(count, seed: number + start))
                    start += count
                    piece = piece * 3 % 200_003
                }
            }
            client.onData = { [unowned client] in
                guard client.received.count >= size else { return }
                finished += 1
                if finished == connectionCount { loop.stop() }
            }
            loop.createConnection(
                host: "127.0.0.1", port: try server.port, makeProtocol: { client })
        }
        try kit.run(loop)
        for (number, client) in clients.enumerated() {
            try expectPattern(client.received, count: size, seed: number)
        }
        try loop.close()
    }

    /// One peer sends without a pause from another thread; another must be heard all the same.
    static func aBusyConnectionDoesNotStarveAnother(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let quiet = Recorder()
        var busyBytes = 0
        var quietPeer: RawPeer?
        let isOver = SharedValue(false)
        let flood = try loop.createServer(host: "127.0.0.1", port: 0) {
            let recorder = Recorder()
            recorder.onData = { [unowned recorder] in
                if busyBytes == 0 { try quietPeer?.send([1]) }
                busyBytes += recorder.take().count
            }
            return recorder
        }
        let calm = try loop.createServer(host: "127.0.0.1", port: 0) { quiet }
        let floodPort = try flood.port
        let thread = try TestThread {
            let peer = try RawPeer(port: floodPort)
            let bytes = [UInt8](repeating: 0, count: 1 << 20)
            while !isOver.value { try peer.send(bytes) }
        }
        let peer = try RawPeer(port: calm.port)
        quietPeer = peer
        var rounds = 0
        quiet.onData = {
            rounds += 1
            if rounds == 20 { loop.stop() } else { try peer.send([1]) }
        }
        let outcome = Result { try kit.run(loop) }
        // The flood ends when the loop reads on, or when it is closed.
        isOver.value = true
        try loop.close()
        _ = Result { try thread.join() }
        try outcome.get()
        try expect(rounds, equals: 20)
    }
}
