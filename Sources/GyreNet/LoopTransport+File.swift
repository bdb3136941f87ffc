// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore

// Files and devices that are always ready, as standard streams. No poll can tell when a disk has
// what is wanted, so they are read on threads of a pool, one piece at a time; what is written goes
// to the kernel at once.

/// The reading of a file, on other threads.
final class FileReading {
    struct Piece: Sendable {
        /// Empty at the end of the file.
        var bytes: [UInt8] = []
        /// 0 or errno.
        var error: CInt = 0
    }

    /// A descriptor that is open for as long as a thread may read it.
    private final class File: Sendable {
        let fd: CInt

        init(copying other: CInt, _ operation: String) throws(LoopError) {
            fd = fcntl(other, F_DUPFD_CLOEXEC, 3)
            guard fd >= 0 else { throw LoopError(errno: errno, operation: operation) }
        }

        deinit { Glibc.close(fd) }

        func read(_ countMax: Int) -> Piece {
            var piece = Piece()
            piece.bytes = Array(unsafeUninitializedCapacity: countMax) { buffer, count in
                var result = -1
                repeat {
                    result = Glibc.read(fd, buffer.baseAddress, countMax)
                } while result < 0 && errno == EINTR
                if result < 0 { piece.error = errno }
                count = max(0, result)
            }
            return piece
        }
    }

    /// They wait for disks, and a disk that hangs is to hold up no other work.
    private static let pool = BlockingPool(threadsMax: 4)
    private static let pieceSize = 64 << 10

    private let file: File
    /// That of the read under way.
    private var token: UInt64?

    init(_ fd: CInt, _ operation: String) throws(LoopError) {
        file = try File(copying: fd, operation)
    }

    /// Reads a piece, and hands it to `then` in a later iteration; unless one is read already.
    func readNext(on loop: Loop, then: @escaping (Piece) -> Void) throws(LoopError) {
        guard token == nil else { return }
        token = try loop.runBlocking(
            on: Self.pool, { [file] in file.read(Self.pieceSize) },
            then: { [self] piece in
                token = nil
                then(piece)
            })
    }

    /// What is read now is dropped.
    func end(on loop: Loop) {
        if let token = token.take() { loop.forget(token) }
    }
}

extension LoopTransport {
    func readFile(_ reading: FileReading) {
        do throws(LoopError) {
            try reading.readNext(on: loop) { [self] piece in fileRead(piece) }
        } catch {
            fail(error)
        }
    }

    // SAFETY: the bytes are lent for the call, and outlive it.
    private func fileRead(_ piece: FileReading.Piece) {
        guard !state.contains(.closing) else { return }
        guard piece.error == 0 else {
            return fail(LoopError(errno: piece.error, operation: "read"))
        }
        if piece.bytes.isEmpty {
            receivedEnd()
        } else {
            piece.bytes.withUnsafeBytes { receivedAside($0) }
            updateReading()
        }
    }
}
