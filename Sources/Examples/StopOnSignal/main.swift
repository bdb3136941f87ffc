// SPDX-License-Identifier: Apache-2.0

// A TCP echo server that runs until SIGTERM completes a future that its main function awaits.
//
//     gyre-example-stop-on-signal [PORT]    instead of 8765

import Glibc
import Gyre

/// The connections that are open, oldest first.
final class Connections {
    var open: [Echo] = []
}

final class Echo: LoopStreamProtocol {
    private let connections: Connections
    private var transport: LoopTransport?

    init(_ connections: Connections) { self.connections = connections }

    func connectionMade(_ transport: LoopTransport) {
        self.transport = transport
        connections.open.append(self)
    }

    func dataReceived(_ data: RawSpan) throws { try transport?.write(data) }
    func connectionLost(_ error: (any Error)?) { connections.open.removeAll { $0 === self } }

    /// Sends what was written, then closes.
    func close() { transport?.close() }
}

func echoServer(port: Int, until stop: LoopFuture<Void>) async throws {
    let connections = Connections()
    let server = try Loop.running.createServer(host: "127.0.0.1", port: port) { Echo(connections) }
    print("listening on \(server.addresses[0])")
    // Any condition would do.
    try await stop.value

    print("stopping with \(connections.open.count) open connections")
    let closed = LoopFuture<Void>(on: Loop.running)
    server.waitClosed { closed.cancel() }
    server.close()
    for connection in connections.open { connection.close() }
    try await closed.waitUntilDone()
}

let port = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 8765
let loop = try makeLoop()

// The stop condition is set when the process receives SIGTERM.
let stop = LoopFuture<Void>(on: loop)
try loop.addSignalHandler(SIGTERM) { try stop.setResult(()) }

// Run the server until the stop condition is met.
try loop.runUntilComplete { try await echoServer(port: port, until: stop) }
try loop.close()
print("stopped")
