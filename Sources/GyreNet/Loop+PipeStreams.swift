// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore

extension Loop {
    /// Reads `fd` as a stream: the reading end of a pipe, a FIFO, a terminal or a socket.
    ///
    /// The stream takes `fd` over and closes it at its end, or with the reader's
    /// ``LoopStreamReader/transport``. `limit` is that of the reader, in bytes.
    ///
    /// - Throws: ``LoopError`` as ``connectReadPipe(_:makeProtocol:)``; `fd` stays the caller's
    ///   then.
    public func openReadPipe(
        _ fd: CInt, limit: Int = LoopStreamReader.defaultLimit
    ) throws(LoopError) -> LoopStreamReader {
        let core = try connecting(limit: limit)()
        try connectReadPipe(fd) { core }
        return LoopStreamReader(core)
    }

    /// Writes `fd` as a stream: the writing end of a pipe, a FIFO, a terminal or a socket.
    ///
    /// The stream takes `fd` over, and closing it closes `fd`.
    ///
    /// - Throws: ``LoopError`` as ``connectWritePipe(_:makeProtocol:)``; `fd` stays the caller's
    ///   then.
    public func openWritePipe(_ fd: CInt) throws(LoopError) -> LoopStreamWriter {
        let core = try connecting(limit: LoopStreamReader.defaultLimit)()
        try connectWritePipe(fd) { core }
        return LoopStreamWriter(core)
    }

    /// The standard input of the process as a stream; `limit` is that of the reader, in bytes.
    ///
    /// It may be whatever a shell connects: a pipe, a terminal, a socket, a file, `/dev/null`. A
    /// file is read on another thread, some 64 KiB at a time and ahead of who reads the stream, so
    /// a slow disk holds up nothing.
    ///
    /// It is read through a descriptor of its own, so descriptor 0 stays open at its end. Until
    /// then reading descriptor 0 in another way does not block and may fail, in this process and in
    /// others that share it, unless it is a file.
    ///
    /// - Throws: ``LoopError`` when the standard input is closed, is not open for reading, or is a
    ///   directory.
    public func standardInput(
        limit: Int = LoopStreamReader.defaultLimit
    ) throws(LoopError) -> LoopStreamReader {
        let core = try connecting(limit: limit)()
        try withCopy(of: STDIN_FILENO) { fd throws(LoopError) in
            try connectPipe(fd, .readPipe, "standardInput", takesFiles: true) { core }
        }
        return LoopStreamReader(core)
    }

    /// The standard output of the process as a stream.
    ///
    /// It may be whatever a shell connects, as ``standardInput(limit:)``. What goes to a file is
    /// written before ``LoopStreamWriter/write(_:)-([UInt8])`` returns, or in the next iteration
    /// where several small pieces follow each other, as `print` does it: the loop waits for it.
    ///
    /// It is written through a descriptor of its own, so descriptor 1 stays open when it is closed.
    /// Until then `print`, and others that share it, find it non-blocking: what the reader has no
    /// room for fails there, so write in one way only. A file is not changed so.
    ///
    /// - Throws: ``LoopError`` when the standard output is closed, or not open for writing.
    public func standardOutput() throws(LoopError) -> LoopStreamWriter {
        try standardWriter(STDOUT_FILENO, "standardOutput")
    }

    /// The standard error of the process as a stream, as ``standardOutput()``.
    public func standardError() throws(LoopError) -> LoopStreamWriter {
        try standardWriter(STDERR_FILENO, "standardError")
    }

    private func standardWriter(
        _ descriptor: CInt, _ operation: String
    ) throws(LoopError) -> LoopStreamWriter {
        let core = try connecting(limit: LoopStreamReader.defaultLimit)()
        try withCopy(of: descriptor) { fd throws(LoopError) in
            try connectPipe(fd, .writePipe, operation, takesFiles: true) { core }
        }
        return LoopStreamWriter(core)
    }

    @discardableResult
    private func withCopy<Stream>(
        of descriptor: CInt, _ open: (CInt) throws(LoopError) -> Stream
    ) throws(LoopError) -> Stream {
        // Not one of the three.
        let fd = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
        guard fd >= 0 else {
            throw LoopError(errno: errno, operation: "fcntl", detail: "descriptor \(descriptor)")
        }
        do throws(LoopError) {
            return try open(fd)
        } catch {
            Glibc.close(fd)
            throw error
        }
    }
}
