// SPDX-License-Identifier: Apache-2.0

// An echo server and its client, over streams.
//
//     gyre-example-stream-echo server [PORT]              instead of 8888
//     gyre-example-stream-echo client [PORT [MESSAGE]]

import Glibc
import Gyre

@Sendable func handleEcho(_ reader: LoopStreamReader, _ writer: LoopStreamWriter) async throws {
    let data = try await reader.read(100)
    let message = String(decoding: data, as: UTF8.self)
    print("Received \"\(message)\" from \(writer.peerAddress?.host ?? "nobody")")

    print("Send: \"\(message)\"")
    try writer.write(data)
    try await writer.drain()

    print("Close the connection")
    writer.close()
    try await writer.waitClosed()
}

func server(port: Int) async throws {
    let server = try await Loop.running.startServer(
        host: "127.0.0.1", port: port, handler: handleEcho)
    print("Serving on \(server.addresses[0])")
    try await server.serveForever()
}

func client(port: Int, message: String) async throws {
    let (reader, writer) = try await Loop.running.openConnection(host: "127.0.0.1", port: port)

    print("Send: \"\(message)\"")
    try writer.write(message)
    try await writer.drain()

    let data = try await reader.read(100)
    print("Received: \"\(String(decoding: data, as: UTF8.self))\"")

    print("Close the connection")
    writer.close()
    try await writer.waitClosed()
}

let arguments = CommandLine.arguments.dropFirst()
let port = arguments.dropFirst().first.flatMap { Int($0) } ?? 8888
let message = arguments.dropFirst(2).first ?? "Hello, world!"
do {
    switch arguments.first {
    case "server": try Gyre.run { try await server(port: port) }
    case "client": try Gyre.run { try await client(port: port, message: message) }
    default: print("say \"server\" or \"client\"")
    }
} catch is LoopInterrupt {
    print("Stopped")
}
