// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet

// When and in which order what is written leaves, whichever way a backend sends it.

extension Streams {
    static var writing: [Behaviour] {
        [
            Behaviour(
                "writesOfAllSizesKeepTheirOrder", [86, 93], .streams,
                writesOfAllSizesKeepTheirOrder),
            Behaviour(
                "aFullSocketTakesSmallWritesInOrder", [89], .streams,
                aFullSocketTakesSmallWritesInOrder),
            Behaviour(
                "whatIsWrittenIsSentWhenTheRunEnds", [86], .streams,
                whatIsWrittenIsSentWhenTheRunEnds),
            Behaviour(
                "aSmallWriteIsSentBeforeTheEnd", [86, 88, 91], .streams,
                aSmallWriteIsSentBeforeTheEnd),
            Behaviour(
                "abortBehindASmallWriteLosesTheConnectionOnce", [87], .streams,
                abortBehindASmallWriteLosesTheConnectionOnce),
            Behaviour(
                "writesToManyConnectionsStayApart", [86], .streams,
                writesToManyConnectionsStayApart),
        ]
    }

    /// Writes the next `size` bytes of the pattern.
    private static func writeNext(_ size: Int, of written: inout Int, _ transport: LoopTransport)
        throws
    {
        try transport.write(pattern(size, seed: written))
        written += size
    }

    static func writesOfAllSizesKeepTheirOrder(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let transport = pair.nearTransport
        let turns = [
            [1], [1, 1], [100, 20_000], [20_000, 100], [16_383, 1, 1], [16_384, 1],
            [5000, 5000, 5000],
            [5000, 5000, 5000, 5000, 5000], [60_000, 60_000], [3, 300_000, 3, 3, 70_000, 9],
        ]
        var written = 0
        var turn = 0
        pair.far.onLost = { pair.loop.stop() }
        func next() {
            pair.loop.callSoon {
                for size in turns[turn % turns.count] {
                    try writeNext(size, of: &written, transport)
                }
                if turn % 3 == 0 {
                    let pieces = [10, 1, 3000].map { size in
                        defer { written += size }
                        return pattern(size, seed: written)
                    }
                    try transport.writeLines(pieces)
                }
                turn += 1
                if turn < 4 * turns.count { next() } else { transport.close() }
            }
        }
        next()
        try kit.run(pair.loop)
        try expectPattern(pair.far.received, count: written)
        try pair.loop.close()
    }

    static func aFullSocketTakesSmallWritesInOrder(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let transport = pair.nearTransport
        var written = 0
        pair.far.onLost = { pair.loop.stop() }
        func next() {
            pair.loop.callSoon {
                try writeNext(4000, of: &written, transport)
                if pair.near.count(of: .paused) == 0 || written % 3 != 0 { return next() }
                // Full, and more than that is kept.
                try expect(transport.writeBufferSize > 64 << 10, "paused without reason")
                pair.farTransport.resumeReading()
                transport.close()
            }
        }
        pair.loop.callSoon {
            pair.farTransport.pauseReading()
            next()
        }
        try kit.run(pair.loop)
        try expect(pair.near.count(of: .paused), equals: 1)
        try expectPattern(pair.far.received, count: written)
        try pair.loop.close()
    }

    /// What a callback writes before it stops the loop reaches a peer while nobody runs the loop.
    static func whatIsWrittenIsSentWhenTheRunEnds(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let recorder = Recorder()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { recorder }
        let peer = try RawPeer(port: server.port)
        try peer.send([1])
        recorder.onData = {
            try recorder.transport?.write([2, 3])
            loop.stop()
        }
        try kit.run(loop)
        try expect(peer.receive(2), equals: [2, 3])
        // In a single step, and outside any run before the loop closes.
        var isAnswered = false
        recorder.onData = {
            try recorder.transport?.write([4, 5])
            isAnswered = true
        }
        try peer.send([1])
        while !isAnswered { try loop.run(.once) }
        try expect(peer.receive(2), equals: [4, 5])
        try loop.run(.noWait)
        try recorder.transport?.write([6, 7])
        try loop.close()
        recorder.forgetClosures()
        try expect(peer.receiveAll(), equals: [6, 7])
    }

    static func aSmallWriteIsSentBeforeTheEnd(_ kit: ConformanceKit) throws {
        for ending in ["close", "end of file", "end of file, then close"] {
            let pair = try ConnectedPair(kit)
            let transport = pair.nearTransport
            pair.far.onLost = { pair.loop.stop() }
            pair.loop.callSoon {
                try transport.write("ab")
                try transport.write("cd")
                if ending.hasPrefix("end") { transport.writeEOF() }
                if ending.hasSuffix("close") { transport.close() }
                if ending == "close" { try transport.write("never") }
            }
            try kit.run(pair.loop)
            try expect(String(decoding: pair.far.received, as: UTF8.self), equals: "abcd", ending)
            try expect(pair.far.events, equals: [.made, .data, .end, .lost], ending)
            try expect(pair.near.error == nil && pair.far.error == nil, "lost with an error")
            try pair.loop.close()
        }
    }

    static func abortBehindASmallWriteLosesTheConnectionOnce(_ kit: ConformanceKit) throws {
        // In the same turn, and when the kernel has it already.
        for isLater in [false, true] {
            let pair = try ConnectedPair(kit)
            let transport = pair.nearTransport
            pair.near.onLost = { pair.loop.callLater(.milliseconds(2)) { pair.loop.stop() } }
            pair.loop.callSoon {
                try transport.write("ab")
                if isLater {
                    _ = pair.loop.callSoon { transport.abort() }
                    return
                }
                transport.abort()
                try expect(pair.near.count(of: .lost), equals: 0, "lost inside abort")
                try expect(transport.writeBufferSize, equals: 0, "kept by abort")
            }
            try kit.run(pair.loop)
            try expect(pair.near.count(of: .lost), equals: 1)
            try expect(pair.near.error == nil, "lost with an error")
            try pair.loop.close()
        }
    }

    /// More connections than there is memory for sends, all in one turn, round after round.
    static func writesToManyConnectionsStayApart(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let count = 150
        var servers: [Recorder] = []
        var clients: [Recorder] = []
        func stopWhenConnected() {
            if servers.count(where: { $0.transport != nil }) == count,
                clients.count(where: { $0.transport != nil }) == count
            {
                loop.stop()
            }
        }
        let server = try loop.createServer(host: "127.0.0.1", port: 0) {
            let recorder = Recorder()
            recorder.onMade = { _ in stopWhenConnected() }
            servers.append(recorder)
            return recorder
        }
        for _ in 0..<count {
            let client = Recorder()
            clients.append(client)
            client.onMade = { _ in stopWhenConnected() }
            client.onData = { [unowned client] in
                if client.received.count >= 50_000 { client.transport?.close() }
            }
            loop.createConnection(
                host: "127.0.0.1", port: try server.port, makeProtocol: { client })
        }
        try kit.run(loop)
        server.waitClosed { loop.stop() }
        for round in 0..<5 {
            loop.callSoon {
                for (number, side) in servers.enumerated() {
                    try side.transport?.write(pattern(10_000, seed: number + 10_000 * round))
                }
            }
        }
        server.close()
        try kit.run(loop)
        let seeds = Set(clients.map { Int($0.received.first ?? 0) })
        try expect(seeds.count, equals: count, "connections told apart")
        for client in clients {
            try expectPattern(client.received, count: 50_000, seed: Int(client.received.first ?? 0))
        }
        try loop.close()
    }
}
