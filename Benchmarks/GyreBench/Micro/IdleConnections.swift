// SPDX-License-Identifier: Apache-2.0

import CGyreBench
import Glibc
import Gyre

extension MicroCase {
    /// The echo server of `serve`, in this process; the clients are in another.
    ///
    /// Each connection has echoed a byte and then has nothing to do.
    static let idleConnection = MicroCase(
        name: "idle_connection", about: "user memory of an idle TCP connection, with 10,000"
    ) { policy in
        try measure("idle_connection", .callback, policy)
    }

    /// The same with an async function per connection, which waits for data.
    static let idleAsyncConnection = MicroCase(
        name: "idle_async_connection", about: "the same with a task per connection"
    ) { policy in
        try measure("idle_async_connection", .async, policy)
    }

    private static func measure(
        _ name: String, _ api: ServerAPI, _ policy: LoopPolicy
    ) throws -> [MicroResult] {
        let count = 10_000
        let limit = bench_raise_descriptor_limit()
        guard limit >= count + 64 else {
            throw BenchError("needs \(count + 64) descriptors; the hard limit (nofile) is \(limit)")
        }
        let loop = try policy.makeLoop()
        defer { try? loop.close() }
        var before = (allocated: 0, resident: 0)
        var after = before
        try loop.withEchoServer(api) { server in
            // A first connection brings up what the server has once.
            try hold(1, server, loop) {}
            before = (Int(bench_allocated_bytes()), try residentBytes())
            try hold(count, server, loop) {
                guard server.connectionCount == count else {
                    throw BenchError("the server has \(server.connectionCount) connections")
                }
                after = (Int(bench_allocated_bytes()), try residentBytes())
            }
        }
        let each = Double(after.allocated - before.allocated) / Double(count)
        let resident = Double(after.resident - before.resident) / Double(count)
        return [
            try MicroResult(name, unit: "bytes", [each]),
            try MicroResult("\(name)_resident", unit: "bytes", [resident]),
        ]
    }

    /// Runs the loop while the load generator opens connections, and calls `body` when they are all
    /// there and idle; runs on until they are gone.
    private static func hold(
        _ count: Int, _ server: LoopServer, _ loop: Loop, _ body: () throws -> Void
    ) throws {
        guard let port = server.addresses.first?.port else { throw BenchError("listens nowhere") }
        let load = try ChildProcess([
            Installation().loadGenerator, "--idle", "\(count)", "--touch", "--port", "\(port)",
            "--seconds", "600", "--timeout", "60",
        ])
        try runUntilOutput(of: load, loop)
        guard try load.readLine(timeout: 1) == "holding \(count)" else {
            throw BenchError("the clients did not connect\(load.reason)")
        }
        try body()
        load.signal(SIGTERM)
        try runUntilOutput(of: load, loop)
        let status = load.collect().status
        guard status == 0 else {
            throw BenchError("the clients ended with \(status)\(load.reason)")
        }
        // The ends of the connections arrive after the end of the process.
        while server.connectionCount > 0 { try loop.run(.once) }
    }

    /// Until it prints something, or ends.
    private static func runUntilOutput(of load: ChildProcess, _ loop: Loop) throws {
        try loop.addReader(load.outputDescriptor) { Loop.running.stop() }
        try loop.runForever()
        loop.removeReader(load.outputDescriptor)
    }

    /// Memory of this process that no file stands behind.
    private static func residentBytes() throws -> Int {
        let lines = System.readFile("/proc/self/status")?.split(separator: "\n") ?? []
        let fields = lines.first { $0.hasPrefix("RssAnon:") }?.split(whereSeparator: \.isWhitespace)
        guard let fields, fields.count == 3, let kibibytes = Int(fields[1]) else {
            throw BenchError("/proc/self/status does not say RssAnon")
        }
        return kibibytes * 1024
    }
}
