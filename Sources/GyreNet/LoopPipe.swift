// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore
import Synchronization

extension Loop {
    /// Reads from `fd`: the reading end of a pipe, a FIFO, a terminal or a socket.
    ///
    /// asyncio's `connect_read_pipe`. The protocol gets what arrives, then the end of file, and
    /// then, whatever it says to that, connection lost; a terminal whose other side is gone is at
    /// its end, too. ``LoopStreamProtocol/connectionMade(_:)`` is called before this returns.
    ///
    /// The transport takes `fd` over and closes it. It makes it non-blocking, which others see who
    /// share the open file (a terminal is mostly shared with the shell), and makes it blocking
    /// again before it closes it.
    ///
    /// - Throws: ``LoopError`` when `fd` is not open for reading, is a file, a directory or a
    ///   device that is always ready, or belongs to a transport. `fd` stays the caller's then.
    @discardableResult
    public func connectReadPipe(
        _ fd: CInt, makeProtocol: () -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopTransport {
        try connectPipe(fd, .readPipe, "connectReadPipe", makeProtocol: makeProtocol)
    }

    /// Writes to `fd`: the writing end of a pipe, a FIFO, a terminal or a socket.
    ///
    /// asyncio's `connect_write_pipe`. When the reader of a pipe or socket is gone, the connection
    /// is lost with ``LoopError/Code/brokenPipe``, also while nothing is written, and without the
    /// signal `SIGPIPE`. Closing sends first what was written.
    ///
    /// Otherwise as ``connectReadPipe(_:makeProtocol:)``.
    ///
    /// - Throws: ``LoopError`` when `fd` is not open for writing, is a file, a directory or a
    ///   device that is always ready, or belongs to a transport. `fd` stays the caller's then.
    @discardableResult
    public func connectWritePipe(
        _ fd: CInt, makeProtocol: () -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopTransport {
        try connectPipe(fd, .writePipe, "connectWritePipe", makeProtocol: makeProtocol)
    }

    /// The transport of a pipe, or with `takesFiles` of whatever a standard stream may be.
    @discardableResult
    func connectPipe(
        _ fd: CInt, _ kind: LoopTransport.Kind, _ operation: String, takesFiles: Bool = false,
        makeProtocol: () -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopTransport {
        checkThread("connectReadPipe or connectWritePipe", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { throw LoopError(.closed, operation: operation) }
        let isFile = try checkPipe(fd, kind, operation, takesFiles: takesFiles)
        let reading = isFile && kind == .readPipe ? try FileReading(fd, operation) : nil
        if !isFile { try NonBlocking.begin(fd, operation) }
        let transport = LoopTransport(
            fd: fd, loop: self, proto: makeProtocol(), server: nil, kind: kind)
        if isFile { transport.state.insert(.isFile) }
        transport.fileReading = reading
        transport.begin()
        return transport
    }

    /// Throws unless `fd` can be used, and returns whether it is a file, or as good as one.
    private func checkPipe(
        _ fd: CInt, _ kind: LoopTransport.Kind, _ operation: String, takesFiles: Bool
    ) throws(LoopError) -> Bool {
        let flags = fcntl(fd, F_GETFL)
        guard flags >= 0 else { throw LoopError(errno: errno, operation: operation) }
        var status = stat()
        guard fstat(fd, &status) == 0 else { throw LoopError(errno: errno, operation: operation) }
        let name: String? =
            switch status.st_mode & S_IFMT {
            case S_IFREG where !takesFiles: "a regular file"
            case S_IFDIR: "a directory"
            case S_IFBLK where !takesFiles: "a block device"
            default: nil
            }
        if let name {
            throw LoopError(
                .notSupported, operation: operation,
                detail: "descriptor \(fd) is \(name), not a pipe, terminal or socket")
        }
        let unwanted = kind == .readPipe ? O_WRONLY : O_RDONLY
        guard flags & O_ACCMODE != unwanted else {
            throw LoopError(
                errno: EBADF, operation: operation,
                detail: "not open for \(kind == .readPipe ? "reading" : "writing")")
        }
        do throws(LoopError) {
            try checkWatchable(fd, operation)
            return false
        } catch {
            guard takesFiles, error.errno == EPERM else { throw error }
            return true
        }
    }
}

/// The flag `O_NONBLOCK` of descriptors that may be shared.
///
/// It is not the descriptor's but the open file's, which a copy of the descriptor, and another
/// process, has in common with it. So it is taken back at the end, unless another transport of this
/// process still needs it.
enum NonBlocking {
    /// The descriptors in use here, and whether the flag is to be taken back at their end.
    private static let inUse = Mutex<[CInt: Bool]>([:])

    static func begin(_ fd: CInt, _ operation: String) throws(LoopError) {
        let error = inUse.withCheckedLock { inUse in
            let flags = fcntl(fd, F_GETFL)
            let isBlocking = flags & O_NONBLOCK == 0
            if isBlocking, fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 { return errno }
            inUse[fd] = isBlocking
            return 0
        }
        if error != 0 { throw LoopError(errno: error, operation: operation) }
    }

    /// The descriptor is about to be closed.
    static func end(_ fd: CInt) {
        inUse.withCheckedLock { inUse in
            guard inUse.removeValue(forKey: fd) == true else { return }
            _ = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK)
            // Who lost the flag by that shares the open file, and takes it back in its turn.
            for other in inUse.keys {
                let flags = fcntl(other, F_GETFL)
                guard flags >= 0, flags & O_NONBLOCK == 0 else { continue }
                _ = fcntl(other, F_SETFL, flags | O_NONBLOCK)
                inUse[other] = true
            }
        }
    }
}
