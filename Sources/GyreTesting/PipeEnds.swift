// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The two ends of a pipe, closed on exec, and closed with the object unless given away.
public final class PipeEnds {
    /// The end that is read from; -1 when it was given away or closed.
    public private(set) var reader: CInt
    /// The end that is written to; -1 when it was given away or closed.
    public private(set) var writer: CInt

    /// Makes a pipe, whose ends block.
    ///
    /// Traps when there are no descriptors left.
    public init() {
        var ends: [CInt] = [-1, -1]
        precondition(pipe(&ends) == 0, "no descriptors left for a pipe")
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        reader = ends[0]
        writer = ends[1]
    }

    deinit {
        closeReader()
        closeWriter()
    }

    /// Gives the reading end away, to who closes it.
    public func takeReader() -> CInt {
        defer { reader = -1 }
        return reader
    }

    /// Gives the writing end away, to who closes it.
    public func takeWriter() -> CInt {
        defer { writer = -1 }
        return writer
    }

    /// Closes the reading end.
    public func closeReader() {
        if reader >= 0 { close(takeReader()) }
    }

    /// Closes the writing end: who reads comes to the end of file.
    public func closeWriter() {
        if writer >= 0 { close(takeWriter()) }
    }

    /// Writes `bytes`, which have to fit.
    public func write(_ bytes: [UInt8]) throws {
        let count = Glibc.write(writer, bytes, bytes.count)
        try expect(count, equals: bytes.count, "bytes that fitted into the pipe")
    }

    /// Reads up to `count` bytes; empty at the end of file.
    public func read(_ count: Int = 1 << 16) throws -> [UInt8] {
        try Self.read(reader, count)
    }

    /// Reads up to `count` bytes from `fd`; empty at the end of file.
    public static func read(_ fd: CInt, _ count: Int = 1 << 16) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        while true {
            let received = Glibc.read(fd, &bytes, count)
            if received < 0, errno == EINTR { continue }
            try expect(received >= 0, "cannot read: errno \(errno)")
            return Array(bytes.prefix(received))
        }
    }
}
