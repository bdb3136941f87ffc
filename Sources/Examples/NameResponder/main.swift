// SPDX-License-Identifier: Apache-2.0

// A responder in the manner of a name server: a datagram with a name is answered by one that says
// its address.
//
//     gyre-example-name-responder [PORT]    instead of 8053
//     echo printer | nc -u 127.0.0.1 8053

import Glibc
import Gyre

let addresses = ["router": "192.0.2.1", "printer": "192.0.2.7", "scanner": "192.0.2.7"]

func answer(_ question: LoopDatagram) -> String {
    let name = String(decoding: question.bytes, as: UTF8.self)
        .prefix { !$0.isWhitespace }.lowercased()
    return addresses[name].map { "\(name) is \($0)" } ?? "\(name) is not known here"
}

func respond(port: Int, until stop: LoopFuture<Void>) async throws {
    let here = try LoopAddress(host: "127.0.0.1", port: port)
    try await withDatagramEndpoint(local: here) { endpoint in
        print("answering at \(endpoint.localAddress ?? here)")
        stop.addCallback { _ in endpoint.abort() }
        for try await question in endpoint.datagrams {
            try await endpoint.sendTo(answer(question), question.address)
        }
    }
}

let port = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 8053
let loop = try makeLoop()
let stop = LoopFuture<Void>(on: loop)
try loop.addSignalHandler(SIGTERM) { try stop.setResult(()) }
try loop.runUntilComplete { try await respond(port: port, until: stop) }
try loop.close()
print("stopped")
