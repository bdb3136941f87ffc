// SPDX-License-Identifier: Apache-2.0

import CGyreBench
import Glibc
import Gyre

// How often the thread of a loop asks for heap memory. The process of these cases loads what
// counts, see `Benchmarks/Allocations`.

extension MicroCase {
    static let asyncEchoAllocations = MicroCase(
        name: "async_echo_allocations",
        about: "heap allocations for a message of 1 KiB that an async function sends back; "
            + "also of a callback and of streams",
        countsAllocations: true
    ) { policy in
        try [ServerAPI.async, .callback, .stream].map { api in
            let loop = try policy.makeLoop()
            defer { try? loop.close() }
            let count = 10_000
            var made = 0.0
            try loop.withEchoServer(api) { server in
                let client = try EchoClient(of: server, on: loop)
                for _ in 0..<100 { try client.exchange() }
                made = try allocations(per: count) {
                    for _ in 0..<count { try client.exchange() }
                }
            }
            return try MicroResult("\(api)_echo_allocations", unit: "allocations", [made])
        }
    }

    static let jobAllocations = MicroCase(
        name: "job_allocations", about: "heap allocations for a step of a task that is enqueued",
        countsAllocations: true
    ) { policy in
        let loop = try policy.makeLoop()
        defer { try? loop.close() }
        let count = 100_000
        let made = try loop.runUntilComplete {
            await takeTurns(1000)
            let before = try allocations()
            await takeTurns(count)
            return Double(try allocations() - before) / Double(count)
        }
        return [try MicroResult("job_allocations", unit: "allocations", [made])]
    }

    private static func allocations(per count: Int, _ body: () throws -> Void) throws -> Double {
        let before = try allocations()
        try body()
        return Double(try allocations() - before) / Double(count)
    }

    private static func allocations() throws -> Int64 {
        let made = bench_allocations()
        guard made >= 0 else {
            throw BenchError("\(Installation().allocationCounter) is missing: run `swift build`")
        }
        return made
    }
}

/// A client of an echo server on the same thread, which allocates nothing.
private final class EchoClient {
    private let loop: Loop
    private let socket: CInt
    private var message = [UInt8](repeating: 7, count: 1024)

    init(of server: LoopServer, on loop: Loop) throws {
        self.loop = loop
        socket = Glibc.socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        let isConnected = server.addresses.first?.withSocketAddress { connect(socket, $0, $1) == 0 }
        guard isConnected == true else {
            throw BenchError("cannot connect: \(System.errorText(errno))")
        }
    }

    deinit { close(socket) }

    /// Sends a message, and runs the loop until it has come back.
    func exchange() throws {
        let count = message.count
        guard send(socket, &message, count, 0) == count else {
            throw BenchError("send: \(System.errorText(errno))")
        }
        let deadline = System.monotonicSeconds + 10
        var received = 0
        while received < count {
            try loop.run(.noWait)
            let part = recv(socket, &message, count - received, CInt(MSG_DONTWAIT))
            if part > 0 {
                received += part
            } else if part == 0 || errno != EAGAIN || System.monotonicSeconds > deadline {
                throw BenchError("the message did not come back")
            }
        }
    }
}
