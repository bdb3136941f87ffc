// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet

/// Connections: the order of calls, closing, end of file.
enum Streams {
    static let behaviours: [Behaviour] =
        [
            Behaviour("protocolCallsComeInOrder", [84], .streams, protocolCallsComeInOrder),
            Behaviour(
                "aConnectionThatIsKeptOpenGoesOnAfterTheEnd", [84, 91], .streams,
                aConnectionThatIsKeptOpenGoesOnAfterTheEnd),
            Behaviour(
                "noDataComesBeforeConnectionMadeReturned", [85], .streams,
                noDataComesBeforeConnectionMadeReturned),
            Behaviour(
                "connectingCompletesAfterConnectionMade", [85], .streams,
                connectingCompletesAfterConnectionMade),
            Behaviour(
                "closeSendsWhatWasWrittenBefore", [86], .streams, closeSendsWhatWasWrittenBefore),
            Behaviour("abortDiscardsWhatWasNotSent", [87], .streams, abortDiscardsWhatWasNotSent),
            Behaviour(
                "connectionLostNeverComesInsideACall", [87], .streams,
                connectionLostNeverComesInsideACall),
            Behaviour(
                "whatIsWrittenAfterCloseIsNeverSent", [88], .streams,
                whatIsWrittenAfterCloseIsNeverSent),
            Behaviour(
                "writeEOFComesBehindWhatWasWritten", [91], .streams,
                writeEOFComesBehindWhatWasWritten),
            Behaviour(
                "urgentDataHoldsNothingUp", [], .streams, urgentDataHoldsNothingUp),
            Behaviour("aResetIsThatError", [98], .streams, aResetIsThatError),
            Behaviour(
                "writingToAPeerThatIsGoneIsThatError", [98], .streams,
                writingToAPeerThatIsGoneIsThatError),
            Behaviour(
                "aProtocolThatThrowsLosesItsConnection", [], .streams,
                aProtocolThatThrowsLosesItsConnection),
            Behaviour(
                "theDescriptorOfATransportCannotBeWatched", [], .streams,
                theDescriptorOfATransportCannotBeWatched),
            Behaviour(
                "aClosingLoopClosesConnectionsAndCallsNobody", [9], .streams,
                aClosingLoopClosesConnectionsAndCallsNobody),
            Behaviour(
                "whatAClosingLoopLetsGoMayStillCall", [9], .streams,
                whatAClosingLoopLetsGoMayStillCall),
        ] + flowControl + writing

    // MARK: Order

    /// The kernel ends a read at the mark of urgent data, which is no part of the stream.
    static func urgentDataHoldsNothingUp(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let recorder = Recorder()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { recorder }
        let peer = try RawPeer(port: server.port)
        for round in 1...3 {
            try peer.send([1, 2, 3])
            try peer.sendUrgent(9)
            try peer.send([4, 5, 6])
            while recorder.received.count < 6 * round { try kit.run(loop, .once) }
        }
        let all = [[UInt8]](repeating: [1, 2, 3, 4, 5, 6], count: 3).flatMap { $0 }
        try expect(recorder.received, equals: all)
        withExtendedLifetime(peer) {}
        try loop.close()
    }

    static func protocolCallsComeInOrder(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let recorder = Recorder()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { recorder }
        recorder.onLost = { loop.callLater(.milliseconds(2)) { loop.stop() } }
        // All of it is there before the server looks.
        let peer = try RawPeer(port: server.port)
        try peer.send(pattern(1000))
        peer.endSending()
        try kit.run(loop)
        try expect(recorder.events, equals: [.made, .data, .end, .lost])
        try expect(recorder.error == nil, "lost with \(String(describing: recorder.error))")
        try expectPattern(recorder.received, count: 1000)
        // A connection without data, and one that ends by itself.
        let silent = Recorder()
        let second = try loop.createServer(host: "127.0.0.1", port: 0) { silent }
        silent.onLost = { loop.callLater(.milliseconds(2)) { loop.stop() } }
        silent.onMade = { $0.close() }
        let other = try RawPeer(port: second.port)
        try kit.run(loop)
        try expect(silent.events, equals: [.made, .lost])
        try expect(other.receiveAll(), equals: [])
        try loop.close()
    }

    static func aConnectionThatIsKeptOpenGoesOnAfterTheEnd(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let recorder = Recorder()
        recorder.keepsOpen = true
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { recorder }
        recorder.onEnd = {
            // Some iterations later, so that a transport that only lingers would be gone.
            loop.callLater(.milliseconds(2)) {
                try recorder.transport?.write(pattern(5000))
                recorder.transport?.close()
            }
        }
        recorder.onLost = { loop.stop() }
        let peer = try RawPeer(port: server.port)
        try peer.send([1])
        peer.endSending()
        try kit.run(loop)
        try expect(recorder.events, equals: [.made, .data, .end, .lost])
        try expectPattern(peer.receiveAll(), count: 5000)
        try loop.close()
    }

    static func noDataComesBeforeConnectionMadeReturned(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let recorder = Recorder()
        var isInside = false
        var early = 0
        recorder.onMade = { transport in
            isInside = true
            // Whatever it does there, nothing may come back into it.
            transport.pauseReading()
            try transport.write([1])
            transport.resumeReading()
            try transport.write(pattern(100_000))
            isInside = false
        }
        recorder.onData = { if isInside { early += 1 } }
        recorder.onEnd = { if isInside { early += 1 } }
        recorder.onLost = { loop.stop() }
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { recorder }
        let peer = try RawPeer(port: server.port)
        try peer.send(pattern(1000))
        peer.endSending()
        try kit.run(loop)
        try expect(early, equals: 0, "calls inside connectionMade")
        try expect(recorder.events.first, equals: .made)
        try expectPattern(recorder.received, count: 1000)
        try loop.close()
    }

    static func connectingCompletesAfterConnectionMade(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { Recorder() }
        let near = Recorder()
        var order: [String] = []
        near.onMade = { _ in order.append("made") }
        near.onData = { order.append("data") }
        loop.createConnection(
            host: "127.0.0.1", port: try server.port, makeProtocol: { near },
            completion: { outcome in
                if case .success(let transport) = outcome, transport === near.transport {
                    order.append("completed")
                }
                loop.stop()
            })
        order.append("returned")
        try kit.run(loop)
        try expect(order, equals: ["returned", "made", "completed"])
        try loop.close()
    }

    // MARK: Closing

    static func closeSendsWhatWasWrittenBefore(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let size = 5 << 20
        var lostBoth = 0
        for side in [pair.near, pair.far] {
            side.onLost = {
                lostBoth += 1
                if lostBoth == 2 { pair.loop.stop() }
            }
        }
        pair.loop.callSoon {
            try pair.nearTransport.write(pattern(size))
            pair.nearTransport.close()
            try expect(pair.nearTransport.isClosing, "a transport that closes says so")
        }
        try kit.run(pair.loop)
        try expectPattern(pair.far.received, count: size)
        try expect(pair.far.events, equals: [.made, .data, .end, .lost])
        try expect(pair.near.count(of: .lost), equals: 1)
        try expect(pair.near.error == nil && pair.far.error == nil, "lost with an error")
        try pair.close()
    }

    static func abortDiscardsWhatWasNotSent(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let size = 20 << 20
        pair.far.onMade = { _ in }
        pair.near.onLost = { pair.loop.stop() }
        pair.loop.callSoon {
            // Far more than two kernel buffers hold, and nobody reads.
            pair.farTransport.pauseReading()
            try pair.nearTransport.write(pattern(size))
            try expect(pair.nearTransport.writeBufferSize > 0, "the kernel took everything")
            pair.nearTransport.abort()
            try expect(pair.near.count(of: .lost), equals: 0, "lost inside abort")
            try expect(pair.nearTransport.isClosing, "a transport that was aborted says so")
        }
        try kit.run(pair.loop)
        try expect(pair.near.count(of: .lost), equals: 1)
        try expect(pair.near.error == nil, "aborted with \(String(describing: pair.near.error))")
        pair.far.onLost = { pair.loop.stop() }
        pair.loop.callSoon { pair.farTransport.resumeReading() }
        try kit.run(pair.loop)
        let received = pair.far.received
        try expect(received.count < size, "everything was sent all the same")
        try expectPattern(received, count: received.count)
        try pair.close()
    }

    static func connectionLostNeverComesInsideACall(_ kit: ConformanceKit) throws {
        for ending in ["close", "abort", "close with data", "abort twice"] {
            let pair = try ConnectedPair(kit)
            var tick: UInt64 = 0
            var lostTick: UInt64 = 0
            pair.near.onLost = {
                lostTick = pair.loop.statistics.ticks
                pair.loop.callLater(.milliseconds(2)) { pair.loop.stop() }
            }
            pair.loop.callSoon {
                let transport = pair.nearTransport
                if ending == "close with data" { try transport.write([1, 2, 3]) }
                if ending.hasPrefix("close") { transport.close() } else { transport.abort() }
                if ending == "abort twice" { transport.abort() }
                transport.close()
                tick = pair.loop.statistics.ticks
                try expect(pair.near.count(of: .lost), equals: 0, "lost inside \(ending)")
            }
            try kit.run(pair.loop)
            try expect(pair.near.count(of: .lost), equals: 1, "\(ending): calls of lost")
            try expect(lostTick >= tick, "\(ending): lost before it was closed")
            // All of it is harmless on a connection that is gone.
            pair.nearTransport.close()
            pair.nearTransport.abort()
            pair.nearTransport.pauseReading()
            pair.nearTransport.resumeReading()
            pair.nearTransport.writeEOF()
            try pair.nearTransport.write([1])
            try expect(pair.nearTransport.descriptor, equals: -1)
            try expect(pair.nearTransport.peerAddress == nil, "a peer of a lost connection")
            try pair.close()
        }
    }

    static func whatIsWrittenAfterCloseIsNeverSent(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        pair.far.onLost = { pair.loop.stop() }
        pair.loop.callSoon {
            // Once with room in the kernel, once behind data that waits.
            try pair.nearTransport.write(pattern(3 << 20))
            pair.nearTransport.close()
            try pair.nearTransport.write([UInt8](repeating: 255, count: 100))
            try pair.nearTransport.write("more")
            try pair.nearTransport.writeLines([[255], [255]])
            pair.loop.callSoon { try pair.nearTransport.write([255]) }
        }
        try kit.run(pair.loop)
        try expectPattern(pair.far.received, count: 3 << 20)
        let second = try ConnectedPair(kit)
        second.far.onLost = { second.loop.stop() }
        second.loop.callSoon {
            second.nearTransport.close()
            try second.nearTransport.write([255])
        }
        try kit.run(second.loop)
        try expect(second.far.received, equals: [])
        try pair.close()
        try second.loop.close()
    }

    static func writeEOFComesBehindWhatWasWritten(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let size = 3 << 20
        pair.far.keepsOpen = true
        pair.far.onEnd = {
            // The other direction is still open.
            pair.loop.callSoon {
                try pair.farTransport.write("answer")
                pair.farTransport.close()
            }
        }
        pair.near.onLost = { pair.loop.stop() }
        pair.loop.callSoon {
            try pair.nearTransport.write(pattern(size))
            pair.nearTransport.writeEOF()
            pair.nearTransport.writeEOF()
            try expectError(.endOfFileWritten) { try pair.nearTransport.write([1]) }
            try expectError(.endOfFileWritten) { try pair.nearTransport.write("x") }
            try expectError(.endOfFileWritten) { try pair.nearTransport.writeLines([[1]]) }
        }
        try kit.run(pair.loop)
        try expectPattern(pair.far.received, count: size)
        try expect(String(decoding: pair.near.received, as: UTF8.self), equals: "answer")
        try expect(pair.near.events.suffix(3), equals: [.data, .end, .lost])
        try pair.close()
    }

    // MARK: Broken connections

    static func aResetIsThatError(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let recorder = Recorder()
        recorder.onLost = { loop.stop() }
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { recorder }
        let peer = try RawPeer(port: server.port)
        recorder.onMade = { _ in loop.callSoon { peer.reset() } }
        try kit.run(loop)
        try expect(recorder.events, equals: [.made, .lost])
        try expect((recorder.error as? LoopError)?.code, equals: .connectionReset)
        try expect((recorder.error as? LoopError)?.errno, equals: ECONNRESET)
        try loop.close()
    }

    static func writingToAPeerThatIsGoneIsThatError(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        var lost = 0
        pair.near.keepsOpen = true
        pair.near.onLost = {
            lost += 1
            pair.loop.stop()
        }
        func writeOn() {
            guard lost == 0 else { return }
            pair.loop.callSoon {
                try pair.nearTransport.write(pattern(10_000))
                writeOn()
            }
        }
        // The far side takes nothing and goes: what comes after is answered by a reset.
        pair.loop.callSoon { pair.farTransport.abort() }
        writeOn()
        try kit.run(pair.loop)
        try expect(lost, equals: 1)
        let code = (pair.near.error as? LoopError)?.code
        try expect(
            code == .connectionReset || code == .brokenPipe,
            "lost with \(String(describing: pair.near.error))")
        try pair.close()
    }

    static func aProtocolThatThrowsLosesItsConnection(_ kit: ConformanceKit) throws {
        struct Complaint: Error {}
        for place in ["made", "data"] {
            let loop = try kit.makeLoop()
            let recorder = Recorder()
            var reports = 0
            loop.exceptionHandler = { _, context in
                if context.error is Complaint { reports += 1 }
            }
            if place == "made" { recorder.onMade = { _ in throw Complaint() } }
            recorder.onData = { throw Complaint() }
            recorder.onLost = { loop.stop() }
            let server = try loop.createServer(host: "127.0.0.1", port: 0) { recorder }
            let peer = try RawPeer(port: server.port)
            try peer.send([1])
            try kit.run(loop)
            try expect(
                recorder.events, equals: place == "made" ? [.made, .lost] : [.made, .data, .lost])
            try expect(recorder.error is Complaint, "lost with another error")
            try expect(reports, equals: 1, "reports to the exception handler")
            try loop.close()
        }
    }

    static func theDescriptorOfATransportCannotBeWatched(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let fd = pair.nearTransport.descriptor
        try expect(fd >= 0, "a transport without descriptor")
        try expectError(.inUse) { try pair.loop.addReader(fd) {} }
        try expectError(.inUse) { try pair.loop.addWriter(fd) {} }
        pair.near.onLost = { pair.loop.stop() }
        pair.loop.callSoon { pair.nearTransport.close() }
        try kit.run(pair.loop)
        // The number is anybody's again.
        let sockets = (0..<8).map { _ in SocketPair() }
        for socket in sockets { try pair.loop.addReader(socket.near) {} }
        try pair.close()
    }

    static func aClosingLoopClosesConnectionsAndCallsNobody(_ kit: ConformanceKit) throws {
        weak var near: Recorder?
        weak var far: Recorder?
        do {
            let pair = try ConnectedPair(kit)
            (near, far) = (pair.near, pair.far)
            pair.loop.callSoon {
                pair.farTransport.pauseReading()
                try pair.nearTransport.write(pattern(20 << 20))
                pair.loop.stop()
            }
            try kit.run(pair.loop)
            let peer = try RawPeer(port: pair.server.port)
            try pair.close()
            try expect(pair.near.count(of: .lost), equals: 0, "calls of a closing loop")
            try expect(pair.nearTransport.descriptor, equals: -1)
            try expect(pair.nearTransport.isClosing, "a transport of a closed loop is open")
            try expect(pair.server.addresses.isEmpty, "the server still listens")
            // Whoever was not accepted yet is told.
            peer.endSending()
            _ = try? peer.receiveAll()
            pair.nearTransport.close()
            try pair.nearTransport.write([1])
        }
        try expect(near == nil && far == nil, "a protocol object of a closed loop is alive")
    }

    /// A protocol object says goodbye to its peers when it is released, as the loop closes.
    static func whatAClosingLoopLetsGoMayStillCall(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let parting = SharedValue(0)
        let server = try loop.createServer(host: "127.0.0.1", port: 0) {
            Goodbye { transport in
                parting.update { $0 += 1 }
                try? transport.write("bye")
                transport.pauseReading()
                transport.resumeReading()
                transport.close()
            }
        }
        let peers = try (0..<4).map { _ in try RawPeer(port: server.port) }
        while server.connectionCount < 4 { try kit.run(loop, .once) }
        func introduce() {
            let transports = loop.openResources.compactMap { $0 as? LoopTransport }
            for transport in transports {
                (transport.currentProtocol as? Goodbye)?.others = transports
            }
        }
        introduce()
        try loop.close()
        try expect(parting.value, equals: 4 * 4, "peers that were told")
        withExtendedLifetime(peers) {}
    }
}

private final class Goodbye: LoopStreamProtocol {
    var others: [LoopTransport] = []
    private let tell: (LoopTransport) -> Void

    init(_ tell: @escaping (LoopTransport) -> Void) { self.tell = tell }

    deinit {
        for other in others { tell(other) }
    }

    func dataReceived(_ data: RawSpan) {}
}
