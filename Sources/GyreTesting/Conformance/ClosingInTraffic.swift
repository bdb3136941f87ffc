// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet

// Loops that are closed while their connections are busy, many in a row.

extension Servers {
    static var closingInTraffic: [Behaviour] {
        [
            Behaviour(
                "closingLoopsInTrafficLeavesNothing", [9], .servers, isProcessWide: true,
                closingLoopsInTrafficLeavesNothing)
        ]
    }

    static func closingLoopsInTrafficLeavesNothing(_ kit: ConformanceKit) throws {
        let live = LiveObjects()
        // What is made once and stays is made by the first.
        for round in 0..<20 { try closeInTraffic(round, live, kit) }
        let before = OpenDescriptors()
        let mappings = try memoryMappings()
        let resident = try residentBytes()
        for round in 0..<200 {
            try closeInTraffic(round, live, kit)
            try expect(live.count, equals: 0, "protocol objects kept in round \(round)")
        }
        // A leak shows fifty times at least. A thread that watched a run may not have let go of its
        // pipe and the handle yet.
        let left = OpenDescriptors().opened(since: before)
        try expect(left.count < 10, "descriptors left open: \(left)")
        let mapped = try memoryMappings() - mappings
        try expect(mapped < 100, "\(mapped) mappings more after 200 loops")
        // A sanitizer keeps what is freed, and finds by itself what is not.
        let grown = try residentBytes() - resident
        try expect(isSanitized || grown < 32 << 20, "\(grown) bytes more after 200 loops")
    }

    /// Closes a loop whose connections have bytes under way both ways, in one of four manners.
    private static func closeInTraffic(
        _ round: Int, _ live: LiveObjects, _ kit: ConformanceKit
    ) throws {
        let loop = try kit.makeLoop()
        var transports: [LoopTransport] = []
        func makeProtocol() -> Recorder {
            let recorder = Recorder()
            let held = live.closure()
            recorder.onData = held
            recorder.onMade = { [unowned loop] transport in
                transports.append(transport)
                try transport.write(pattern(256 << 10, seed: round))
                if transports.count == 7 { loop.stop() }
            }
            return recorder
        }
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { makeProtocol() }
        let port = try server.port
        let peers = [try RawPeer(port: port), try RawPeer(port: port), try RawPeer(port: port)]
        for peer in peers { try peer.send(pattern(10_000)) }
        for _ in 0..<2 {
            loop.createConnection(host: "127.0.0.1", port: port, makeProtocol: makeProtocol)
        }
        try kit.run(loop)
        switch round % 4 {
        case 0: break
        case 1: server.close()
        case 2:
            loop.callSoon {
                server.close()
                for transport in transports.dropFirst(2) { transport.abort() }
                transports.first?.close()
                loop.stop()
            }
            try kit.run(loop)
        default:
            // An end that the loop does not get to see.
            for peer in peers { peer.reset() }
            loop.callSoon { transports.first?.pauseReading() }
        }
        try loop.close()
        for transport in transports {
            // Harmless: the descriptor is gone, its number may be another's.
            try transport.write([1])
            transport.abort()
        }
        transports = []
        for peer in peers { peer.close() }
    }

    private static func memoryMappings() throws -> Int {
        try processFile("maps").utf8.count { $0 == UInt8(ascii: "\n") }
    }

    private static func residentBytes() throws -> Int {
        let fields = try processFile("statm").split(separator: " ")
        guard fields.count > 1, let pages = Int(fields[1]) else {
            throw ConformanceFailure("/proc/self/statm is not what it was")
        }
        return pages * sysconf(CInt(_SC_PAGESIZE))
    }

    private static func processFile(_ name: String) throws -> String {
        let fd = open("/proc/self/\(name)", O_RDONLY | O_CLOEXEC)
        try expect(fd >= 0, "/proc/self/\(name) cannot be read")
        defer { close(fd) }
        var text: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = read(fd, &piece, piece.count), count > 0 { text += piece[..<count] }
        return String(decoding: text, as: UTF8.self)
    }

    private static var isSanitized: Bool {
        dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil
    }
}
