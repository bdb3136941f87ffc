// SPDX-License-Identifier: Apache-2.0

import Gyre

/// Sends back what comes.
///
/// While the peer does not read, nothing more is read from it.
final class Echo: LoopStreamProtocol {
    private var transport: LoopTransport?

    func connectionMade(_ transport: LoopTransport) { self.transport = transport }

    func dataReceived(_ data: RawSpan) throws { try transport?.write(data) }

    func connectionLost(_ error: (any Error)?) { transport = nil }

    func pauseWriting() { transport?.pauseReading() }

    func resumeWriting() { transport?.resumeReading() }
}

/// The same as an async function.
@Sendable func echo(_ connection: LoopConnection) async throws {
    do {
        // Cheaper than `for try await`, whose protocol makes two more looks at the executor.
        while let chunk = try await connection.read() { try await connection.write(chunk) }
    } catch is LoopError {
        // A client that breaks off is its own business; the default handler would print each.
    }
}

/// The same over streams.
@Sendable func echo(_ reader: LoopStreamReader, _ writer: LoopStreamWriter) async throws {
    do {
        while true {
            let bytes = try await reader.read(256 << 10)
            if bytes.isEmpty { return }
            try writer.write(bytes)
            try await writer.drain()
        }
    } catch is LoopError {
        // As above.
    }
}

extension LoopServerOptions {
    /// Those of an echo server to measure.
    static func echo(_ congestion: String?) -> LoopServerOptions {
        var options = LoopServerOptions()
        options.backlog = 4096
        options.congestionControl = congestion
        return options
    }
}

extension Loop {
    /// Listens, and serves each connection with an ``Echo``.
    func serveEcho(host: String, port: Int, congestion: String? = nil) throws -> LoopServer {
        try createServer(host: host, port: port, options: .echo(congestion)) { Echo() }
    }
}

extension LoopUnixServerOptions {
    /// Those of an echo server to measure.
    static var echo: LoopUnixServerOptions {
        var options = LoopUnixServerOptions()
        options.backlog = 4096
        return options
    }
}

/// Sends datagrams back to where they come from.
final class DatagramEcho: LoopDatagramProtocol {
    private var transport: LoopDatagramTransport?

    func connectionMade(_ transport: LoopDatagramTransport) { self.transport = transport }

    func datagramReceived(_ data: RawSpan, from address: LoopAddress) throws {
        try transport?.sendTo(data, address)
    }

    func connectionLost(_ error: (any Error)?) { transport = nil }
}

/// The same as an async function.
@Sendable func echo(_ endpoint: LoopDatagramEndpoint) async throws {
    for try await datagram in endpoint.datagrams {
        try await endpoint.sendTo(datagram.bytes, datagram.address)
    }
}

extension LoopDatagramOptions {
    /// Those of an echo server to measure.
    static var echo: LoopDatagramOptions {
        var options = LoopDatagramOptions()
        options.receiveBufferSize = 4 << 20
        return options
    }
}
