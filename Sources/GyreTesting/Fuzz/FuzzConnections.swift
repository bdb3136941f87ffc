// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreNet
import GyreTasks

/// Cancels tasks at random points of their connections, and checks that no byte and no descriptor
/// is lost.
///
/// Clients send bytes to a server that sends them back. A cancelled connect is begun again, a
/// cancelled read or write is followed by the next: every byte must come back once, in order. When
/// the kernel answers is its affair, so the seed gives the same work, and not the same order.
enum FuzzConnections {
    /// Runs `clientCount` clients with `byteCount` bytes each.
    ///
    /// Returns how often they connected, read and wrote, and how many of these were cancelled.
    static func run(
        _ kit: ConformanceKit, seed: UInt64, clientCount: Int, byteCount: Int
    ) throws -> (operations: Int, cancellations: Int) {
        let loop = try kit.makeLoop()
        let before = OpenDescriptors()
        let counts = SharedValue((operations: 0, cancellations: 0))
        let task = loop.createTask {
            try await withServer(host: "127.0.0.1", port: 0, handler: echo) { server in
                let port = server.addresses.first?.port ?? 0
                var random = SeededRandom(seed: seed)
                let clients = (0..<clientCount).map { _ in
                    let generator = random.fork()
                    // Begun at once: a task that is cancelled before never begins.
                    return Loop.running.createTask(eager: true) {
                        try await client(Int(port), byteCount, generator, counts)
                    }
                }
                while clients.contains(where: { !$0.isDone }) {
                    clients[random.next(below: clients.count)].cancel()
                    let pause = random.next(below: 3)
                    try await sleep(pause == 0 ? .zero : .microseconds(pause * 50))
                }
                for client in clients { try await client.value }
            }
        }
        try kit.complete(task, on: loop)
        try kit.drain(loop)
        try expect(loop.allTasks.count, equals: 0, "tasks")
        // The pipes of the watchdog are its thread's, and end with that.
        let sockets = OpenDescriptors().opened(since: before).filter { $0.contains("socket:") }
        try expect(sockets, equals: [], "sockets")
        try loop.close()
        return counts.value
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
        _ port: Int, _ byteCount: Int, _ generator: SeededRandom,
        _ counts: SharedValue<(operations: Int, cancellations: Int)>
    ) async throws {
        var random = generator
        var isConnected = false
        while !isConnected {
            counts.update { $0.operations += 1 }
            do {
                try await withConnection(to: "127.0.0.1", port: port) { connection in
                    isConnected = true
                    try await talk(connection, byteCount, &random, counts)
                }
            } catch is CancellationError {
                counts.update { $0.cancellations += 1 }
            }
        }
    }

    private static func talk(
        _ connection: LoopConnection, _ byteCount: Int, _ random: inout SeededRandom,
        _ counts: SharedValue<(operations: Int, cancellations: Int)>
    ) async throws {
        var (sent, received) = (0, 0)
        while received < byteCount {
            counts.update { $0.operations += 1 }
            let mayWrite = sent < byteCount && sent - received < 64 << 10
            do {
                if mayWrite, sent == received || random.next(below: 2) == 0 {
                    let count = min(1 + random.next(below: 4096), byteCount - sent)
                    let first = sent
                    // Cancelling takes back nothing.
                    sent += count
                    try await connection.write(pattern(count, seed: first))
                } else {
                    guard let chunk = try await connection.read() else {
                        throw ConformanceFailure("\(sent - received) bytes are missing")
                    }
                    try expectPattern(Array(chunk), count: chunk.count, seed: received)
                    received += chunk.count
                }
            } catch is CancellationError {
                counts.update { $0.cancellations += 1 }
            }
        }
        try expect(received, equals: sent, "what came back")
    }
}
