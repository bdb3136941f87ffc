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
    /// The end of the pipe comes before the exit is told.
    private var isEndAwaited = false

    init(_ fd: CInt, of process: LoopSubprocessTransport, user: any LoopStreamProtocol) {
        self.fd = fd
        self.process = process
        self.user = user
    }

    /// Whether the exit is told only after something that this pipe has to tell.
    ///
    /// Nothing while its user wants no data: that may be for ever.
    var holdsExit: Bool {
        (isEndAwaited || deliveredCount < owedCount) && transport?.isReadingPaused == false
    }

    /// The process has ended: what stands in the pipe now is told before that, also when somebody
    /// else keeps the pipe open.
    func processEnded() {
        isEndAwaited = endsByItself
        // What another protocol object is told is not counted here.
        guard fd != 0, let transport, transport.isReading, transport.currentProtocol === self
        else { return }
        var waiting: CInt = 0
        guard ioctl(transport.descriptor, UInt(FIONREAD), &waiting) == 0 else { return }
        owedCount = deliveredCount + Int(waiting)
    }

    /// Whether whoever has the pipe from the process is gone, too, and this side will see the end
    /// of the pipe by itself.
    private var endsByItself: Bool {
        guard let transport else { return false }
        if fd == 0 {
            return transport.isOtherEndGone
                || transport.isClosing && transport.writeBufferSize == 0
        }
        return transport.isClosing || transport.isReading && transport.isOtherEndGone
    }

    func connectionMade(_ transport: LoopTransport) throws {
        self.transport = transport
        transport.owner = self
        try user.connectionMade(transport)
    }

    func dataReceived(_ data: RawSpan) throws {
        let held = holdsExit
        deliveredCount += data.byteCount
        defer { if held, !holdsExit { process?.finishIfOver() } }
        try user.dataReceived(data)
    }

    func endOfFileReceived() throws -> Bool { try user.endOfFileReceived() }

    func connectionLost(_ error: (any Error)?) {
        transport = nil
        user.connectionLost(error)
    }

    func pauseWriting() { user.pauseWriting() }

    func resumeWriting() { user.resumeWriting() }
}

extension SubprocessPipe: ConnectionOwner {
    // Also when another protocol object was told of it, see ``LoopTransport/setProtocol(_:)``.
    func connectionEnded() {
        transport = nil
        process?.pipeLost(fd)
    }

    // Not inside the call, in which the user expects nothing.
    func readingPaused() {
        guard isEndAwaited || deliveredCount < owedCount else { return }
        transport?.loop.callSoonPlainly { [weak process] in process?.finishIfOver() }
    }
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
