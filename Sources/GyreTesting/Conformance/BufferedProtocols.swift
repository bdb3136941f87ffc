// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet

/// Protocol objects with buffers of their own, protocols that change, ends of one direction,
/// resets.
enum BufferedProtocols {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "aBufferedProtocolGetsEveryByte", [84, 85], .transports,
            aBufferedProtocolGetsEveryByte),
        Behaviour(
            "aBufferedProtocolThatPausesIsLeftAlone", [92], .transports,
            aBufferedProtocolThatPausesIsLeftAlone),
        Behaviour(
            "aPausedBufferOfAPassingConnectionIsLeftAlone", [92], .transports,
            aPausedBufferOfAPassingConnectionIsLeftAlone),
        Behaviour("anEmptyBufferIsAnError", [], .transports, anEmptyBufferIsAnError),
        Behaviour(
            "aBufferedProtocolServesWithoutATransport", [], .transports,
            aBufferedProtocolServesWithoutATransport),
        Behaviour(
            "aProtocolIsSwitchedWhileDataComes", [], .transports,
            aProtocolIsSwitchedWhileDataComes),
        Behaviour(
            "aSwitchedProtocolKnowsThatWritingIsPaused", [89], .transports,
            aSwitchedProtocolKnowsThatWritingIsPaused),
        Behaviour(
            "whatWaitsGoesToTheNewProtocol", [92], .transports, whatWaitsGoesToTheNewProtocol),
        Behaviour(
            "aHalfClosedConnectionGoesOnTheOtherWay", [91], .transports,
            aHalfClosedConnectionGoesOnTheOtherWay),
        Behaviour("anAbortMaySendAReset", [87, 98], .transports, anAbortMaySendAReset),
    ]

    /// Assembles what it receives in a buffer of a few bytes.
    private final class Assembler: LoopBufferedProtocol {
        private(set) var transport: LoopTransport?
        private(set) var received: [UInt8] = []
        private(set) var events: [Recorder.Event] = []
        private(set) var error: (any Error)?
        /// How many pieces of data came.
        private(set) var pieces = 0
        private var buffer: [UInt8]
        var onMade: (LoopTransport) throws -> Void = { _ in }
        var onData: () throws -> Void = {}
        var onEnd: () -> Void = {}
        var onLost: () -> Void = {}

        init(_ size: Int) { buffer = [UInt8](repeating: 0, count: size) }

        func connectionMade(_ transport: LoopTransport) throws {
            events.append(.made)
            self.transport = transport
            try onMade(transport)
        }

        // SAFETY: the memory is lent for the call.
        func getBuffer(sizeHint: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
            buffer.withUnsafeMutableBytes(fill)
        }

        func bufferUpdated(_ count: Int) throws {
            if events.last != .data { events.append(.data) }
            pieces += 1
            received += buffer.prefix(count)
            try onData()
        }

        func endOfFileReceived() -> Bool {
            events.append(.end)
            onEnd()
            return false
        }

        func connectionLost(_ error: (any Error)?) {
            events.append(.lost)
            self.error = error
            transport = nil
            onLost()
            onMade = { _ in }
            onData = {}
            onEnd = {}
            onLost = {}
        }
    }

    /// Runs a loop with a server of `proto`, and `body` with a peer of it, until the connection is
    /// lost.
    private static func serve(
        _ kit: ConformanceKit, _ proto: Assembler,
        _ body: @escaping @Sendable (RawPeer) throws -> Void
    ) throws {
        let loop = try kit.makeLoop()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { proto }
        let port = try server.port
        let thread = try TestThread { try body(RawPeer(port: port)) }
        proto.onLost = { Loop.running.callSoon { Loop.running.stop() } }
        try kit.run(loop)
        try thread.join()
        try loop.close()
    }

    // MARK: Buffers

    static func aBufferedProtocolGetsEveryByte(_ kit: ConformanceKit) throws {
        for (size, count) in [(1, 30_000), (1000, 300_000), (1 << 20, 300_000)] {
            let proto = Assembler(size)
            try serve(kit, proto) { peer in
                try peer.send(pattern(count))
                peer.endSending()
                try expect(try peer.receiveAll(), equals: [])
            }
            try expectPattern(proto.received, count: count)
            try expect(proto.events, equals: [.made, .data, .end, .lost])
            try expect(proto.error == nil, "it ended with \(String(describing: proto.error))")
            try expect(proto.pieces >= count / size, "\(proto.pieces) pieces of \(size)")
        }
    }

    static func aBufferedProtocolThatPausesIsLeftAlone(_ kit: ConformanceKit) throws {
        let proto = Assembler(10)
        var isPaused = false
        proto.onData = {
            try expect(!isPaused, "data while reading is paused")
            isPaused = true
            proto.transport?.pauseReading()
            Loop.running.callSoon {
                isPaused = false
                proto.transport?.resumeReading()
            }
        }
        try serve(kit, proto) { peer in
            try peer.send(pattern(1000))
            peer.endSending()
            try expect(try peer.receiveAll(), equals: [])
        }
        try expectPattern(proto.received, count: 1000)
        try expect(proto.pieces >= 100, "\(proto.pieces) pieces")
        try expect(proto.events, equals: [.made, .data, .end, .lost])
    }

    static func aPausedBufferOfAPassingConnectionIsLeftAlone(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let proto = Assembler(10)
        var isPaused = false
        proto.onData = {
            try expect(!isPaused, "data while reading is paused")
            isPaused = true
            proto.transport?.pauseReading()
            loop.callSoon {
                isPaused = false
                proto.transport?.resumeReading()
            }
        }
        proto.onLost = { loop.stop() }
        var ends: [CInt] = [-1, -1]
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        try expect(socketpair(AF_UNIX, kind, 0, &ends), equals: 0)
        var options = LoopSocketOptions()
        options.passesDescriptors = true
        _ = try loop.connectAcceptedSocket(ends[0], options: options) { proto }
        let bytes = pattern(1000)
        try expect(send(ends[1], bytes, bytes.count, 0), equals: bytes.count)
        close(ends[1])
        try kit.run(loop)
        try expectPattern(proto.received, count: 1000)
        try expect(proto.events, equals: [.made, .data, .end, .lost])
        try loop.close()
    }

    static func anEmptyBufferIsAnError(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let reports = SharedValue<[String]>([])
        loop.exceptionHandler = { _, context in reports.update { $0.append("\(context)") } }
        let proto = Assembler(0)
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { proto }
        let peer = try RawPeer(port: server.port)
        try peer.send([1])
        proto.onLost = { Loop.running.callSoon { Loop.running.stop() } }
        try kit.run(loop)
        try expect((proto.error as? LoopError)?.code, equals: .invalidArgument)
        try expect(reports.value.count, equals: 1, "reports")
        try expect(proto.received, equals: [])
        try loop.close()
        extendLifetime(peer)
    }

    static func aBufferedProtocolServesWithoutATransport(_ kit: ConformanceKit) throws {
        let proto = Assembler(7)
        let bytes = pattern(100)
        try (proto as any LoopStreamProtocol).dataReceived(bytes.span.bytes)
        try expectPattern(proto.received, count: 100)
        try expect(proto.pieces, equals: 15)
    }

    // MARK: Changing protocols

    /// Stream to buffered, and back in the middle of a piece.
    static func aProtocolIsSwitchedWhileDataComes(_ kit: ConformanceKit) throws {
        let first = Recorder()
        let second = Assembler(10)
        let third = Recorder()
        let pair = try ConnectedPair(kit, loop: kit.makeLoop(), near: Recorder(), far: first)
        let transport = pair.farTransport
        first.onData = {
            try expect(transport.currentProtocol === first, "the first protocol")
            transport.setProtocol(second)
            try expect(transport.currentProtocol === second, "the second protocol")
            try pair.nearTransport.write(pattern(1000))
        }
        second.onData = { if second.received.count == 20 { transport.setProtocol(third) } }
        third.onData = { if third.received.count == 980 { pair.nearTransport.close() } }
        third.onLost = { pair.loop.stop() }
        pair.loop.callSoon { try pair.nearTransport.write(pattern(500)) }
        try kit.run(pair.loop)
        try expectPattern(first.received, count: 500)
        try expectPattern(second.received, count: 20)
        try expectPattern(third.received, count: 980, seed: 20)
        // Neither is told what it did not see.
        try expect(first.events, equals: [.made, .data])
        try expect(second.events, equals: [.data])
        try expect(third.events, equals: [.data, .end, .lost])
        first.forgetClosures()
        second.onData = {}
        try pair.close()
    }

    static func aSwitchedProtocolKnowsThatWritingIsPaused(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        pair.farTransport.pauseReading()
        let second = Recorder()
        second.onResume = { pair.loop.stop() }
        pair.loop.callSoon {
            try pair.nearTransport.write(pattern(8 << 20))
            try expect(pair.near.count(of: .paused), equals: 1)
            pair.nearTransport.setProtocol(second)
            try expect(second.events, equals: [.paused])
            pair.farTransport.resumeReading()
        }
        try kit.run(pair.loop)
        try expect(second.events, equals: [.paused, .resumed])
        try expect(pair.near.count(of: .resumed), equals: 0, "the first is not told any more")
        second.forgetClosures()
        try pair.close()
    }

    static func whatWaitsGoesToTheNewProtocol(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let second = Assembler(100)
        pair.farTransport.pauseReading()
        pair.loop.callSoon {
            try pair.nearTransport.write(pattern(1000))
            pair.loop.callLater(.milliseconds(5)) {
                pair.farTransport.setProtocol(second)
                pair.farTransport.resumeReading()
            }
        }
        second.onData = { if second.received.count == 1000 { pair.loop.stop() } }
        try kit.run(pair.loop)
        try expectPattern(second.received, count: 1000)
        try expect(pair.far.received, equals: [])
        second.onData = {}
        try pair.close()
    }

    // MARK: Ends

    static func aHalfClosedConnectionGoesOnTheOtherWay(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        pair.far.keepsOpen = true
        // The answer goes out behind the end of the question, in several pieces.
        pair.far.onEnd = {
            for part in 0..<10 {
                pair.loop.callLater(.milliseconds(part)) {
                    try expect(!pair.farTransport.isClosing, "it stays open")
                    try pair.farTransport.write(pattern(100_000))
                    if part == 9 { pair.farTransport.writeEOF() }
                }
            }
        }
        pair.near.onEnd = { pair.loop.stop() }
        pair.loop.callSoon {
            try pair.nearTransport.write(pattern(100_000))
            try expect(pair.nearTransport.canWriteEOF, "it can")
            pair.nearTransport.writeEOF()
            try expect(pair.nearTransport.isReading, "it still reads")
        }
        try kit.run(pair.loop)
        try expectPattern(pair.far.received, count: 100_000)
        try expect(pair.near.received, equals: (0..<10).flatMap { _ in pattern(100_000) })
        // Both directions ended: the one side by its answer, the other by itself.
        pair.farTransport.close()
        try kit.drain(pair.loop)
        try expect(pair.far.events, equals: [.made, .data, .end, .lost])
        try expect(pair.near.events, equals: [.made, .data, .end, .lost])
        try pair.close()
    }

    static func anAbortMaySendAReset(_ kit: ConformanceKit) throws {
        for resets in [false, true] {
            let pair = try ConnectedPair(kit)
            pair.far.onLost = { pair.loop.stop() }
            pair.loop.callSoon { pair.nearTransport.abort(sendingReset: resets) }
            try kit.run(pair.loop)
            try kit.drain(pair.loop)
            try expect(pair.near.events, equals: [.made, .lost])
            try expect(pair.near.error == nil, "this side was aborted on purpose")
            let code = (pair.far.error as? LoopError)?.code
            try expect(code, equals: resets ? .connectionReset : nil, "what the peer sees")
            try expect(pair.far.count(of: .end), equals: resets ? 0 : 1)
            try pair.close()
        }
    }
}
