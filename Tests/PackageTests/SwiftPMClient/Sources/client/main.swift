// SPDX-License-Identifier: Apache-2.0

// A program of somebody else's: says hello to itself over TCP on every loop there is.

import Gyre

/// Sends back what it receives.
final class Echo: LoopStreamProtocol {
    private var transport: LoopTransport?

    func connectionMade(_ transport: LoopTransport) { self.transport = transport }
    func dataReceived(_ data: RawSpan) throws { try transport?.write(data) }
    func connectionLost(_ error: (any Error)?) { transport = nil }
}

/// Says something, and hangs up when it came back.
final class Caller: LoopStreamProtocol {
    private let text: String
    private var transport: LoopTransport?
    private var echoed = 0

    init(saying text: String) { self.text = text }

    func connectionMade(_ transport: LoopTransport) throws {
        self.transport = transport
        try transport.write(text)
    }

    func dataReceived(_ data: RawSpan) {
        echoed += data.byteCount
        if echoed == text.utf8.count { transport?.close() }
    }

    func connectionLost(_ error: (any Error)?) {
        transport = nil
        Loop.running.stop()
    }
}

for policy in LoopPolicy.allCases {
    switch policy.probe() {
    case .failure(let error):
        print("\(policy): not here: \(error)")
    case .success:
        let loop = try policy.makeLoop()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { Echo() }
        loop.createConnection(host: "127.0.0.1", port: server.addresses[0].port) {
            Caller(saying: "hello")
        }
        // Ends a run that would wait for ever, with an error.
        loop.callLater(.seconds(20)) { throw LoopInterrupt() }
        try loop.runForever()
        print("\(policy): echoed by \(loop.selection.policy)")
        try loop.close()
    }
}
