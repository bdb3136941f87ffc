// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreNet
import GyreTasks

/// Cancels tasks at random points of what they read and write, and checks that no byte, datagram or
/// descriptor is lost.
///
/// Clients send to somebody who sends it back. A cancelled connect is begun again, a cancelled read
/// or write is followed by the next: everything must come back once, in order. When the kernel
/// answers is its affair, so the seed gives the same work, and not the same order.
public enum FuzzTraffic: String, CaseIterable, Sendable {
    /// Connections in async code.
    case connections
    /// Streams, whose server is cancelled, too.
    case streams
    /// Datagrams, whose server is cancelled, too.
    case datagrams
    /// Pipes to processes, which are waited for.
    case processes

    /// Runs `clientCount` clients, which send some `byteCount` bytes each.
    ///
    /// Returns how many operations they began, and how many ended with a cancellation.
    ///
    /// - Throws: A ``ConformanceFailure`` that says how to have the same work again.
    public func run(
        _ kit: ConformanceKit, seed: UInt64, clientCount: Int, byteCount: Int
    ) throws -> (operations: Int, cancellations: Int) {
        do {
            return try attempt(kit, seed, clientCount, byteCount)
        } catch {
            throw ConformanceFailure(
                "\(error); to have the same work again: "
                    + "gyre-conformance --policy \(kit.policy) --traffic \(seed)")
        }
    }

    private func attempt(
        _ kit: ConformanceKit, _ seed: UInt64, _ clientCount: Int, _ byteCount: Int
    ) throws -> (operations: Int, cancellations: Int) {
        let loop = try kit.makeLoop()
        let before = OpenDescriptors()
        let crowd = FuzzCrowd(seed: seed, clientCount: clientCount, byteCount: byteCount)
        let task = loop.createTask {
            switch self {
            case .connections: try await FuzzConnections.run(crowd)
            case .streams: try await FuzzStreams.run(crowd)
            case .datagrams: try await FuzzDatagrams.run(crowd)
            case .processes: try await FuzzProcesses.run(crowd)
            }
        }
        try kit.complete(task, on: loop)
        while loop.resourceCount > 0 { try kit.run(loop, .once) }
        try kit.drain(loop)
        try expect(loop.allTasks.count, equals: 0, "tasks")
        // The pipes of the watchdog are its thread's, and end with that.
        let sockets = OpenDescriptors().opened(since: before).filter { $0.contains("socket:") }
        try expect(sockets, equals: [], "sockets")
        try loop.close()
        return crowd.counts.value
    }
}

/// The tasks of one run, and what they did.
final class FuzzCrowd: Sendable {
    let clientCount: Int
    let byteCount: Int
    let counts = SharedValue((operations: 0, cancellations: 0))
    private let random: SharedValue<SeededRandom>
    /// Those that serve, and are cancelled as the clients are.
    private let servers = SharedValue<[any AnyLoopTask]>([])

    init(seed: UInt64, clientCount: Int, byteCount: Int) {
        self.clientCount = clientCount
        self.byteCount = byteCount
        random = SharedValue(SeededRandom(seed: seed))
    }

    /// A generator for a part of the work.
    func fork() -> SeededRandom {
        var forked = SeededRandom(seed: 0)
        random.update { forked = $0.fork() }
        return forked
    }

    /// What `body` returns; nil when it was cancelled.
    func attempt<Value>(_ body: () async throws -> Value) async throws -> Value? {
        counts.update { $0.operations += 1 }
        do {
            return try await body()
        } catch is CancellationError {
            counts.update { $0.cancellations += 1 }
            return nil
        }
    }

    /// What `body` returns in the end, begun again as often as it is cancelled.
    func insist<Value>(_ body: () async throws -> Value) async throws -> Value {
        while true {
            if let value = try await attempt(body) { return value }
        }
    }

    /// Runs `body` as one that serves.
    func serving(_ body: () async throws -> Void) async throws {
        let task = Loop.running.currentTask
        if let task { servers.update { $0.append(task) } }
        defer { servers.update { $0.removeAll { $0 === task } } }
        try await body()
    }

    /// Runs the clients, and cancels them and those that serve, until the clients have ended.
    func run(_ client: @escaping @Sendable (Int, SeededRandom) async throws -> Void) async throws {
        let clients = (0..<clientCount).map { number in
            let generator = fork()
            // Begun at once: a task that is cancelled before never begins.
            return Loop.running.createTask(eager: true) { try await client(number, generator) }
        }
        var random = fork()
        while clients.contains(where: { !$0.isDone }) {
            let others = servers.value
            for _ in 0...random.next(below: 4) {
                let index = random.next(below: clients.count + others.count)
                if index < clients.count {
                    clients[index].cancel()
                } else {
                    others[index - clients.count].cancel(nil)
                }
            }
            let pause = random.next(below: 12)
            try await sleep(pause < 10 ? .zero : .microseconds(pause * 5))
        }
        for client in clients { try await client.value }
    }
}
