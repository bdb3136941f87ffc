// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore

/// One pipe of a process: tells its user, and then the process's transport, that it is gone.
final class SubprocessPipe: LoopStreamProtocol {
    private weak var process: LoopSubprocessTransport?
    private let fd: CInt
    private let user: any LoopStreamProtocol
    private(set) var transport: LoopTransport?
    /// How many bytes were delivered, and how many will have been when all is there that stood in
    /// the pipe when the process ended.
    private var deliveredCount = 0
    private var owedCount = 0

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

    /// Whether something is to be delivered that the process wrote before it ended.
    var owes: Bool { deliveredCount < owedCount }

    /// The process has ended: what stands in the pipe now is told before that, also when somebody
    /// else keeps the pipe open.
    func processEnded() {
        guard fd != 0, let transport, transport.isReading else { return }
        var waiting: CInt = 0
        guard ioctl(transport.descriptor, UInt(FIONREAD), &waiting) == 0 else { return }
        owedCount = deliveredCount + Int(waiting)
    }

    func connectionMade(_ transport: LoopTransport) throws {
        self.transport = transport
        try user.connectionMade(transport)
    }

    func dataReceived(_ data: RawSpan) throws {
        let owed = owes
        deliveredCount += data.byteCount
        defer { if owed, !owes { process?.pipePaid() } }
        try user.dataReceived(data)
    }

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
