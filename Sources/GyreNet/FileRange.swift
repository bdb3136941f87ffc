// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
import GyreCore

/// How a file is sent to a socket.
public enum LoopSendFileMethod: Sendable {
    /// By the kernel (`sendfile`), and by copying where that refuses the file.
    case automatic
    /// By the kernel alone; a file that it refuses is an error.
    case native
    /// Read in pieces on a thread of the loop's executor, and sent from memory.
    case copying
}

/// A part of a file that is sent, and how far that is.
struct FileRange {
    /// As much as is sent in one iteration: others get their turn in between.
    private static var pieceSize: Int { 1 << 20 }
    /// As much as is read at once.
    private static var copySize: Int { 256 << 10 }

    private let file: CInt
    private let start: Int64
    private let end: Int64
    private(set) var position: Int64

    /// - Throws: ``LoopError``: that of the system when `file` is not open for reading, or has no
    ///   positions (a pipe, a socket); ``LoopError/Code/invalidArgument`` for a negative offset or
    ///   count.
    init(_ file: CInt, offset: Int, count: Int?) throws(LoopError) {
        guard offset >= 0, (count ?? 0) >= 0 else {
            throw LoopError(
                .invalidArgument, operation: "sendFile",
                detail: "offset \(offset), count \(count ?? 0)")
        }
        // The same for every method, and before anything is sent.
        guard lseek(file, 0, SEEK_CUR) >= 0 else {
            throw LoopError(
                errno: errno, operation: "sendFile",
                detail: "only a file that can be read at any position is sent")
        }
        self.file = file
        start = Int64(offset)
        position = start
        let (end, isOver) = start.addingReportingOverflow(Int64(count ?? .max))
        self.end = isOver ? .max : end
    }

    /// How many bytes were sent.
    var sent: Int { Int(position - start) }

    var isSent: Bool { position >= end }

    private func limit(_ size: Int) -> Int { Int(min(end - position, Int64(size))) }

    /// Lets the kernel send as much as the socket, which does not block, has room for.
    ///
    /// Finished with 0 at the end of the file.
    mutating func send(to socket: CInt) -> Attempt {
        let count = limit(Self.pieceSize)
        return attempting { Int(gyre_sendfile(socket, file, &position, UInt64(count))) }
    }

    /// What is read next, on another thread; empty at the end of the file.
    var nextPiece: @Sendable () throws -> [UInt8] {
        let (file, position, count) = (file, position, limit(Self.copySize))
        return {
            var error: CInt = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
                // SAFETY: pread writes at most `count` bytes, and says how many.
                let attempt = attempting {
                    pread(file, buffer.baseAddress, count, off_t(position))
                }
                switch attempt {
                case .finished(let result) where result >= 0: filled = Int(result)
                case .finished(let result): error = -result
                case .wouldBlock: error = EAGAIN
                }
            }
            if error != 0 { throw LoopError(errno: error, operation: "read") }
            return bytes
        }
    }

    /// `count` bytes more were sent, or fewer than was thought.
    mutating func advance(by count: Int) { position += Int64(count) }

    /// Moves the file's own position behind what was sent.
    func finish() { lseek(file, off_t(position), SEEK_SET) }

    /// Whether an error of sending a file is the connection's; others are the file's.
    static func isOfConnection(_ number: CInt) -> Bool {
        switch number {
        case EPIPE, ECONNRESET, ECONNABORTED, ENOTCONN, ESHUTDOWN, ETIMEDOUT, EHOSTUNREACH,
            EHOSTDOWN, ENETUNREACH, ENETDOWN, ENETRESET, ENOBUFS, ENOMEM, EBADF:
            true
        default: false
        }
    }
}
