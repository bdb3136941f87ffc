// SPDX-License-Identifier: Apache-2.0

// Gives a service that listens at a Unix socket a TCP port: what a client sends goes to the
// service, and what the service answers goes back.
//
//     gyre-example-port-forwarder PORT PATH

import Glibc
import Gyre

/// Passes on what comes from `source`, and its end.
///
/// While `sink` is slow, `source` has to wait.
@Sendable func forward(_ source: LoopConnection, to sink: LoopConnection) async throws {
    for try await chunk in source.chunks { try await sink.write(chunk) }
    try await sink.writeEOF()
}

func forwardPort(_ port: Int, to path: String, until stop: LoopFuture<Void>) async throws {
    let handler = { @Sendable (client: LoopConnection) in
        try await withUnixConnection(to: path) { service in
            async let request: Void = forward(client, to: service)
            try await forward(service, to: client)
            try await request
        }
    }
    try await withServer(host: "127.0.0.1", port: port, handler: handler) { server in
        print("forwarding \(server.addresses[0]) to \(path)")
        try await stop.value
    }
}

let arguments = CommandLine.arguments
guard arguments.count == 3, let port = Int(arguments[1]) else {
    print("usage: gyre-example-port-forwarder PORT PATH")
    exit(64)
}
let loop = try makeLoop()
// A service that is not there ends a connection, not the forwarder.
loop.exceptionHandler = { _, context in print("reported: \(context.error.map { "\($0)" } ?? "")") }
let stop = LoopFuture<Void>(on: loop)
try loop.addSignalHandler(SIGTERM) { try stop.setResult(()) }
try loop.runUntilComplete { try await forwardPort(port, to: arguments[2], until: stop) }
try loop.close()
print("stopped")
