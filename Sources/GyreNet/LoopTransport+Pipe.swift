// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
import GyreCore

// The two ends of a pipe, and whatever else is read or written as one. They are waited for by polls
// and read or written directly, on every backend: a receive is for sockets only.

extension LoopTransport {
    /// A poll of a pipe completed.
    func polled(_ completion: Completion) {
        guard kind != .socket else { return filePolled(completion) }
        guard completion.id != sendID else { return mayBeWritten(completion.result) }
        if !completion.more { receiveID = .none }
        guard completion.result < 0 else {
            return kind == .writePipe ? lookForReader() : read()
        }
        if state.contains(.ending) { return finishIfEnded() }
        guard completion.result != -ECANCELED else {
            if kind != .writePipe { updateReading() }
            return
        }
        fail(LoopError(errno: -completion.result, operation: "poll"))
    }

    // MARK: The reading end

    // SAFETY: read fills at most the memory it is given, the loop's, and what it filled is lent to
    // the protocol before anything else is read.
    private func read() {
        // What is held comes first, in a callback that waits.
        guard isReading, held.isEmpty, !state.contains(.ending) else { return }
        guard kind != .passing else { return receivePassing() }
        let buffer = loop.scratchMemory.bytes
        switch attempting({ Glibc.read(fd, buffer.baseAddress, buffer.count) }) {
        case .wouldBlock: return
        case .finished(let count) where count > 0:
            deliverPieces(UnsafeRawBufferPointer(rebasing: buffer[..<Int(count)]))
        case .finished(0): receivedEnd()
        // So a terminal says that its other side is gone.
        case .finished(-EIO) where isatty(fd) == 1: receivedEnd()
        case .finished(let error): fail(LoopError(errno: -error, operation: "read"))
        }
    }

    // MARK: The writing end

    func attemptWrite(_ bytes: UnsafeRawBufferPointer) -> Attempt {
        guard kind != .passing else { return attemptSendPassing(bytes) }
        guard !state.contains(.isFile) else {
            return attempting { Glibc.write(fd, bytes.baseAddress, bytes.count) }
        }
        return attempting { gyre_write(fd, bytes.baseAddress, bytes.count) }
    }

    /// There is room again.
    private func mayBeWritten(_ result: CInt) {
        sendID = .none
        guard !state.contains(.ending) else { return finishIfEnded() }
        guard result >= 0 else { return fail(LoopError(errno: -result, operation: "poll")) }
        flush()
        tellMarks()
    }

    /// Waits for the reader to leave, which the kernel calls an error of the writing end.
    ///
    /// A terminal has no reader in that sense.
    func watchReader() {
        var status = stat()
        guard !state.contains(.closing), fstat(fd, &status) == 0,
            [S_IFIFO, S_IFSOCK].contains(status.st_mode & S_IFMT)
        else { return }
        receiveID = loop.submitPoll(.read, on: fd, target: self)
    }

    private func lookForReader() {
        guard !state.contains(.ending) else { return }
        if isOtherEndGone {
            fail(LoopError(errno: EPIPE, operation: "write", detail: "the reader is gone"))
        } else {
            // Bytes that came from the other side, which nobody here reads. They would be reported
            // again and again; that the reader left is then found by the next write.
            loop.cancel(receiveID)
        }
    }

    /// Whether nobody has the other end of the pipe open any more.
    var isOtherEndGone: Bool {
        var entry = pollfd(fd: fd, events: 0, revents: 0)
        while poll(&entry, 1, 0) < 0 { if errno != EINTR { return false } }
        return CInt(entry.revents) & (POLLERR | POLLHUP) != 0
    }
}
