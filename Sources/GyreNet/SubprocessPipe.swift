// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// One pipe of a process: tells its user, and then the process's transport, that it is gone.
final class SubprocessPipe: LoopStreamProtocol {
    private weak var process: LoopSubprocessTransport?
    private let fd: CInt
    private let user: any LoopStreamProtocol
    private(set) var transport: LoopTransport?

    init(_ fd: CInt, of process: LoopSubprocessTransport, user: any LoopStreamProtocol) {
        self.fd = fd
        self.process = process
        self.user = user
    }

    /// Whether the process, and whoever has the pipe from it, is gone, and this side will see the
    /// end of the pipe by itself.
    var endsByItself: Bool {
        guard let transport else { return false }
        if fd == 0 {
            return transport.isOtherEndGone
                || transport.isClosing && transport.writeBufferSize == 0
        }
        return transport.isClosing || transport.isReading && transport.isOtherEndGone
    }

    func connectionMade(_ transport: LoopTransport) throws {
        self.transport = transport
        try user.connectionMade(transport)
    }

    func dataReceived(_ data: RawSpan) throws { try user.dataReceived(data) }

    func endOfFileReceived() throws -> Bool { try user.endOfFileReceived() }

    func connectionLost(_ error: (any Error)?) {
        transport = nil
        user.connectionLost(error)
        process?.pipeLost(fd)
    }

    func pauseWriting() { user.pauseWriting() }

    func resumeWriting() { user.resumeWriting() }
}

/// Hands what a pipe says to the protocol object of its process.
final class SubprocessPipeUser: LoopStreamProtocol {
    private let fd: CInt
    private let proto: any LoopSubprocessProtocol

    init(_ fd: CInt, _ proto: any LoopSubprocessProtocol) {
        self.fd = fd
        self.proto = proto
    }

    func connectionMade(_ transport: LoopTransport) {}

    func dataReceived(_ data: RawSpan) throws { try proto.pipeDataReceived(fd, data) }

    func connectionLost(_ error: (any Error)?) { proto.pipeConnectionLost(fd, error) }

    func pauseWriting() { proto.pauseWriting() }

    func resumeWriting() { proto.resumeWriting() }
}
