// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import CGyreBench
import Glibc
import Gyre

/// `gyre-bench serve`: servers to measure.
struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs a server to measure.",
        subcommands: [ServeEcho.self]
    )
}

/// The way a server is written.
enum ServerAPI: String, CaseIterable, ExpressibleByArgument {
    /// A protocol object per connection.
    case callback
    /// An async function per connection.
    case async
    /// An async function per connection that reads and writes streams.
    case stream

    static func parse(list: String) throws -> [ServerAPI] {
        try list.split(separator: ",").map { part in
            guard let api = ServerAPI(rawValue: String(part).trimmed) else {
                let known = allCases.map(\.rawValue).joined(separator: ", ")
                throw BenchError("no API called \"\(part)\"; there are \(known)")
            }
            return api
        }
    }
}

/// `gyre-bench serve echo`: sends back what comes, on one thread.
struct ServeEcho: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "echo",
        abstract: "Serves connections, datagrams or pipes, and sends back what comes.",
        discussion: """
            Prints "listening on HOST:PORT" for each address, "listening on PATH" or "listening on \
            pipes" when it serves. Ends with status 0 on SIGINT and SIGTERM.
            """
    )

    @Option(
        help: "The loop to run on. (default: GYRE_LOOP, else automatic)",
        transform: { try LoopPolicy(named: $0) })
    var policy: LoopPolicy?
    @Option(help: "The host to listen at, a name or a number; all its addresses.")
    var host = "127.0.0.1"
    @Option(help: "The port to listen at; 0 picks a free one.")
    var port = 0
    @Option(help: "How the server is written.")
    var api = ServerAPI.callback
    @Option(help: "TCP congestion control. (default: the system's)")
    var congestion: String?
    @Option(help: "Serve the Unix socket at this path instead.")
    var unix: String?
    @Flag(help: "Serve datagrams instead of connections.")
    var udp = false
    @Option(
        help: "Serve pairs of inherited pipes instead: read IN, write OUT.",
        transform: { try PipePair.parse(list: $0) })
    var pipes: [PipePair]?
    @Option(help: "With --pipes: run this program for each byte, and send the byte back then.")
    var spawn: String?

    func validate() throws {
        guard pipes == nil || (unix == nil && !udp) else {
            throw ValidationError("--pipes goes with neither --unix nor --udp")
        }
        guard spawn == nil || pipes != nil else {
            throw ValidationError("--spawn needs --pipes")
        }
        guard !udp || (unix == nil && api != .stream) else {
            throw ValidationError("--udp goes with neither --unix nor --api stream")
        }
        guard 0...65535 ~= port else {
            throw ValidationError("--port takes a number from 0 to 65535")
        }
    }

    func run() throws {
        bench_raise_descriptor_limit()
        let loop = try makeLoop(policy: policy)
        switch api {
        case .callback: try serveWithCallbacks(on: loop)
        case _ where pipes != nil: try servePipesWithTasks(on: loop)
        case .async where udp: try serveDatagramsWithTasks(on: loop)
        case .async: try serveWithTasks(on: loop)
        case .stream: try serveWithStreams(on: loop)
        }
        try loop.close()
    }

    private func serveWithCallbacks(on loop: Loop) throws {
        // Before the line is printed: who reads it may end the server at once.
        for signal in [SIGINT, SIGTERM] {
            try loop.addSignalHandler(signal) { Loop.running.stop() }
        }
        if let pipes {
            for pair in pipes {
                let echo = spawn.map { PipeSpawner($0, on: loop) } ?? PipeEcho()
                try echo.connect(pair, on: loop)
            }
            System.printLine("listening on pipes")
            return try loop.runForever()
        }
        if udp {
            let transport = try loop.createDatagramEndpoint(
                local: addresses(on: loop).first, options: .echo
            ) { DatagramEcho() }
            try announce(transport.localAddress)
            return try loop.runForever()
        }
        let server =
            if let unix {
                try loop.createUnixServer(path: unix, options: .echo) { Echo() }
            } else {
                try loop.createServer(
                    addresses: addresses(on: loop), options: .echo(congestion)
                ) { Echo() }
            }
        try announce(server)
        try loop.runForever()
        server.close()
    }

    private func serveWithTasks(on loop: Loop) throws {
        let stop = try interrupt(on: loop)
        do {
            try loop.runUntilComplete { [self] in
                let whenServing: (LoopServer) async throws -> Void = { server in
                    try announce(server)
                    try await stop.value
                }
                if let unix {
                    try await withUnixServer(
                        path: unix, options: .echo, patience: .zero, handler: echo, whenServing)
                } else {
                    try await withServer(
                        host: host, port: port, options: .echo(congestion), patience: .zero,
                        handler: echo, whenServing)
                }
            }
        } catch is CancellationError {}
    }

    private func serveDatagramsWithTasks(on loop: Loop) throws {
        let local = try addresses(on: loop).first
        let stop = try interrupt(on: loop)
        try loop.runUntilComplete { [self] in
            let endpoint = try Loop.running.openDatagramEndpoint(local: local, options: .echo)
            let echoing = Loop.running.createTask { try await echo(endpoint) }
            try announce(endpoint.localAddress)
            do { try await stop.value } catch is CancellationError {}
            endpoint.abort()
            try await echoing.value
        }
    }

    private func servePipesWithTasks(on loop: Loop) throws {
        let stop = try interrupt(on: loop)
        try loop.runUntilComplete { [self] in
            let serving = try (pipes ?? []).map { pair in
                let reader = try Loop.running.openReadPipe(pair.input)
                let writer = try Loop.running.openWritePipe(pair.output)
                return Loop.running.createTask { [spawn] in
                    guard let spawn else { return try await echoPipe(reader, into: writer) }
                    try await echoSpawning(spawn, reader, into: writer)
                }
            }
            System.printLine("listening on pipes")
            do { try await stop.value } catch is CancellationError {}
            for task in serving { task.cancel() }
        }
    }

    private func serveWithStreams(on loop: Loop) throws {
        let stop = try interrupt(on: loop)
        try loop.runUntilComplete { [self] in
            let server =
                if let unix {
                    try Loop.running.startUnixServer(path: unix, options: .echo, handler: echo)
                } else {
                    try await Loop.running.startServer(
                        host: host, port: port, options: .echo(congestion), handler: echo)
                }
            try announce(server)
            do { try await stop.value } catch is CancellationError {}
            server.close()
            server.abortClients()
            try await server.waitClosed()
        }
    }

    /// What a signal cancels.
    private func interrupt(on loop: Loop) throws -> LoopFuture<Void> {
        let stop = LoopFuture<Void>(on: loop)
        for signal in [SIGINT, SIGTERM] {
            try loop.addSignalHandler(signal) { stop.cancel() }
        }
        return stop
    }

    private func addresses(on loop: Loop) throws -> [LoopAddress] {
        try loop.runUntilComplete { [host, port] in
            let hints = LoopAddressInfo.Hints(kind: .stream, flags: .passive)
            return try await Loop.running.getAddressInfo(host: host, port: port, hints: hints)
                .map(\.address)
        }
    }

    private func announce(_ server: LoopServer) throws {
        try announce(server.addresses.first)
        for address in server.addresses.dropFirst() { try announce(address) }
    }

    private func announce(_ address: LoopAddress?) throws {
        guard let address else { throw BenchError("listens nowhere") }
        System.printLine("listening on \(address)")
    }
}
