// SPDX-License-Identifier: Apache-2.0

import Gyre

/// Reads one pipe, and writes what comes into another.
///
/// While that is full, nothing more is read.
class PipeEcho: LoopStreamProtocol {
    private(set) var input: LoopTransport?
    private(set) var output: LoopTransport?

    func connectionMade(_ transport: LoopTransport) { input = transport }

    func dataReceived(_ data: RawSpan) throws { try output?.write(data) }

    func connectionLost(_ error: (any Error)?) {
        output?.close()
        input = nil
        output = nil
    }

    /// The pipe to write into.
    private final class Output: LoopStreamProtocol {
        private weak var echo: PipeEcho?

        init(_ echo: PipeEcho) { self.echo = echo }

        func pauseWriting() { echo?.input?.pauseReading() }

        func resumeWriting() { echo?.input?.resumeReading() }

        func connectionLost(_ error: (any Error)?) { echo?.input?.close() }
    }

    func connect(_ pipes: PipePair, on loop: Loop) throws {
        output = try loop.connectWritePipe(pipes.output) { Output(self) }
        try loop.connectReadPipe(pipes.input) { self }
    }
}

/// Runs a program for each byte that comes, and sends the byte back when it has ended.
final class PipeSpawner: PipeEcho {
    private let loop: Loop
    private let program: String

    init(_ program: String, on loop: Loop) {
        self.program = program
        self.loop = loop
    }

    override func dataReceived(_ data: RawSpan) throws {
        for byte in data.withUnsafeBytes({ [UInt8]($0) }) {
            try loop.subprocessExec(program) { Process(byte, self) }
        }
    }

    private final class Process: LoopSubprocessProtocol {
        private let byte: UInt8
        private let spawner: PipeSpawner
        private var transport: LoopSubprocessTransport?

        init(_ byte: UInt8, _ spawner: PipeSpawner) {
            self.byte = byte
            self.spawner = spawner
        }

        func connectionMade(_ transport: LoopSubprocessTransport) { self.transport = transport }

        func processExited() {
            let answer = spawnAnswer(byte, status: transport?.returnCode)
            transport = nil
            // It fails when the pipe is gone, which the pipe's own protocol is told.
            try? spawner.output?.write([answer])
        }
    }
}

/// What the load generator gets for a byte: another one when the program failed.
private func spawnAnswer(_ byte: UInt8, status: CInt?) -> UInt8 { status == 0 ? byte : byte ^ 1 }

/// The same as async functions.
@Sendable func echoPipe(_ reader: LoopStreamReader, into writer: LoopStreamWriter) async throws {
    while true {
        let bytes = try await reader.read(256 << 10)
        if bytes.isEmpty { return }
        try writer.write(bytes)
        try await writer.drain()
    }
}

@Sendable func echoSpawning(
    _ program: String, _ reader: LoopStreamReader, into writer: LoopStreamWriter
) async throws {
    while true {
        let bytes = try await reader.read(64)
        if bytes.isEmpty { return }
        for byte in bytes {
            let status = try await Loop.running.createSubprocessExec(program).wait()
            try writer.write([spawnAnswer(byte, status: status)])
        }
        try await writer.drain()
    }
}
