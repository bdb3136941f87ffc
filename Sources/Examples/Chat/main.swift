// SPDX-License-Identifier: Apache-2.0

// A chat server: what one client writes in a line, all others read.
//
//     gyre-example-chat [PORT]    instead of 8888; talk to it with: nc 127.0.0.1 8888

import Glibc
import Gyre

/// Who is there.
///
/// The tasks of all clients use it. They run on the loop, so this actor does too: one at a time,
/// on one thread, without a lock.
actor Room {
    private var members: [String: LoopStreamWriter] = [:]

    func enter(_ name: String, _ writer: LoopStreamWriter) throws -> Bool {
        guard !name.isEmpty, members[name] == nil else { return false }
        try tell("* \(name) is here")
        members[name] = writer
        return true
    }

    func say(_ line: String, as name: String) throws { try tell("\(name): \(line)", except: name) }

    func leave(_ name: String) throws {
        members[name] = nil
        try tell("* \(name) has left")
    }

    private func tell(_ line: String, except speaker: String? = nil) throws {
        for (name, writer) in members where name != speaker {
            try writer.write("\(line)\n")
            // Nobody waits for one who does not read.
            if let transport = writer.transport, transport.writeBufferSize > 1 << 20 {
                writer.abort()
            }
        }
    }
}

func serve(_ reader: LoopStreamReader, _ writer: LoopStreamWriter, in room: Room) async throws {
    try writer.write("What is your name?\n")
    let lines = reader.lines.makeAsyncIterator()
    guard let name = try await lines.next(), try await room.enter(name, writer) else {
        return try writer.write("Somebody has that name already.\n")
    }
    try writer.write("Hello, \(name).\n")
    do {
        while let line = try await lines.next() { try await room.say(line, as: name) }
    } catch is LoopError {
        // The connection broke.
    } catch is LoopLimitOverrunError {
        try writer.write("That was too long.\n")
    }
    try await room.leave(name)
}

func chat(port: Int, until stop: LoopFuture<Void>) async throws {
    let room = Room()
    let server = try await Loop.running.startServer(
        host: "127.0.0.1", port: port, limit: 1000
    ) { reader, writer in
        try await serve(reader, writer, in: room)
    }
    print("listening on \(server.addresses[0])")
    try await stop.value
    server.close()
    server.closeClients()
    try await server.waitClosed()
}

let port = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 8888
let loop = try makeLoop()
let stop = LoopFuture<Void>(on: loop)
for signal in [SIGINT, SIGTERM] {
    try loop.addSignalHandler(signal) { if !stop.isDone { try stop.setResult(()) } }
}
try loop.runUntilComplete { try await chat(port: port, until: stop) }
try loop.close()
print("stopped")
