// SPDX-License-Identifier: Apache-2.0

import Glibc
import Gyre

final class Echo: LoopStreamProtocol {
    private var transport: LoopTransport?

    func connectionMade(_ transport: LoopTransport) { self.transport = transport }
    func dataReceived(_ data: RawSpan) throws { try transport?.write(data) }
    func connectionLost(_ error: (any Error)?) { transport = nil }
}

let port = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 8007
let loop = try makeLoop()
let server = try loop.createServer(host: "127.0.0.1", port: port) { Echo() }
print("listening on \(server.addresses[0]), driven by \(loop.selection)")
try loop.addSignalHandler(SIGINT) { loop.stop() }
try loop.runForever()
try loop.close()
print("stopped")
