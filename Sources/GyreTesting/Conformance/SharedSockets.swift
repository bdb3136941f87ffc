// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet

// Listening sockets that somebody else has as well: the processes of a group of workers, the one
// that started this one, the one that goes on after it.

extension Servers {
    static var sharedSockets: [Behaviour] {
        [
            Behaviour(
                "aClosedServerLeavesItsSocketToOthers", [], .servers,
                aClosedServerLeavesItsSocketToOthers),
            Behaviour(
                "aSharedSocketNeverBlocksWhoComesLate", [], .servers,
                aSharedSocketNeverBlocksWhoComesLate),
        ]
    }

    static func aClosedServerLeavesItsSocketToOthers(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var made = 0
        let server = try loop.createServer(host: "127.0.0.1", port: 0) {
            made += 1
            return Recorder()
        }
        let port = try server.port
        let copy = dup(server.descriptors[0])
        defer { close(copy) }
        let first = try RawPeer(port: port)
        while made == 0 { try kit.run(loop, .once) }
        server.close()
        try kit.drain(loop)
        let second = try RawPeer(port: port)
        let connection = accept(copy, nil, nil)
        try expect(connection >= 0, "the copy does not listen any more: errno \(errno)")
        close(connection)
        withExtendedLifetime((first, second)) {}
        try loop.close()
    }

    /// Each connection is seen by both, and taken by one of them.
    static func aSharedSocketNeverBlocksWhoComesLate(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        let port = try boundPort(of: listener)
        try expect(listen(listener, 100), equals: 0, "listen")
        let copy = dup(listener)
        defer { close(copy) }
        var made = 0
        let server = try loop.createServer(descriptor: listener) {
            made += 1
            return Recorder()
        }
        var taken = 0
        for round in 0..<20 {
            let peers = try (0..<10).map { _ in try RawPeer(port: port) }
            // Nothing listens for the loop before it ran; a ring may take all from then on.
            if round % 2 == 1 { try kit.run(loop, .noWait) }
            // Does not wait either, when the loop was faster. The last ones are the loop's.
            while round < 19 {
                let connection = accept(copy, nil, nil)
                if connection < 0 {
                    try expect(errno, equals: EAGAIN, "accepting from the copy")
                    break
                }
                taken += 1
                close(connection)
            }
            while made + taken < 10 * (round + 1) { try kit.run(loop, .once) }
            for peer in peers { peer.close() }
        }
        try expect(taken > 0 && made > 0, "\(taken) taken from the copy, \(made) by the loop")
        server.close()
        try kit.drain(loop)
        try loop.close()
    }
}
