// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreNet
import GyreTasks

/// The clients and the server of ``FuzzTraffic/connections``.
enum FuzzConnections {
    static func run(_ crowd: FuzzCrowd) async throws {
        try await withServer(host: "127.0.0.1", port: 0, handler: echo) { server in
            let port = try server.port
            try await crowd.run { _, generator in try await client(port, generator, crowd) }
        }
    }

    @Sendable
    private static func echo(_ connection: LoopConnection) async throws {
        do {
            for try await chunk in connection.chunks { try await connection.write(chunk) }
        } catch is LoopError {
            // A client that was cancelled while it closed broke the connection off.
        }
    }

    /// Connects, as often as it takes, and gets everything back that it sends.
    private static func client(
        _ port: Int, _ generator: SeededRandom, _ crowd: FuzzCrowd
    ) async throws {
        var random = generator
        var isConnected = false
        while !isConnected {
            _ = try await crowd.attempt {
                try await withConnection(to: "127.0.0.1", port: port) { connection in
                    isConnected = true
                    try await talk(connection, &random, crowd)
                }
            }
        }
    }

    private static func talk(
        _ connection: LoopConnection, _ random: inout SeededRandom, _ crowd: FuzzCrowd
    ) async throws {
        var (sent, received) = (0, 0)
        while received < crowd.byteCount {
            let mayWrite = sent < crowd.byteCount && sent - received < 64 << 10
            if mayWrite, sent == received || random.next(below: 2) == 0 {
                let count = min(1 + random.next(below: 4096), crowd.byteCount - sent)
                let bytes = pattern(count, seed: sent)
                // Cancelling takes back nothing.
                sent += count
                _ = try await crowd.attempt { try await connection.write(bytes) }
            } else if let chunk = try await crowd.attempt({ try await connection.read() }) {
                guard let chunk else {
                    throw ConformanceFailure("\(sent - received) bytes are missing")
                }
                try expectPattern(Array(chunk), count: chunk.count, seed: received)
                received += chunk.count
            }
        }
        try expect(received, equals: sent, "what came back")
    }
}
