// SPDX-License-Identifier: Apache-2.0

// A TCP echo server that runs until SIGTERM completes a future that its main function awaits.
//
//     gyre-example-stop-on-signal [PORT]    instead of 8765

import Glibc
import Gyre

@Sendable func echo(_ connection: LoopConnection) async throws {
    for try await chunk in connection.chunks { try await connection.write(chunk) }
}

func echoServer(port: Int, until stop: LoopFuture<Void>) async throws {
    try await withServer(host: "127.0.0.1", port: port, handler: echo) { server in
        print("listening on \(server.addresses[0])")
        // Any condition would do.
        try await stop.value

        // What was written is sent, then each connection is closed.
        print("stopping with \(server.connectionCount) open connections")
    }
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
