// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A TCP socket without a loop, connected to a server of this machine: the plainest of peers.
///
/// Its calls block, but not for ever: after twenty seconds they fail. Any thread may make them.
public final class RawPeer: Sendable {
    private let socket: SharedValue<CInt>
    /// The socket; -1 after ``close()``.
    public var fd: CInt { socket.value }

    /// Connects to `port` at 127.0.0.1.
    ///
    /// It does not wait for the server: the kernel completes the connection.
    ///
    /// - Throws: A ``ConformanceFailure`` when the connection is refused.
    public init(port: Int) throws {
        let fd = Glibc.socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        socket = SharedValue(fd)
        try expect(fd >= 0, "no socket: errno \(errno)")
        var patience = timeval(tv_sec: 20, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(
                fd, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
        }
        var error = Self.connect(fd, port: port)
        if error == EINTR { error = Self.awaitConnection(of: fd) }
        // A throw from here on runs the deinit, which closes the socket.
        try expect(error, equals: 0, "errno of connecting to port \(port)")
    }

    deinit { close() }

    /// An interrupted connect goes on in the kernel.
    ///
    /// Returns 0 or errno.
    private static func awaitConnection(of fd: CInt) -> CInt {
        var entry = pollfd(fd: fd, events: Int16(POLLOUT), revents: 0)
        while poll(&entry, 1, 20_000) < 0, errno == EINTR {}
        var error = ETIMEDOUT
        var length = socklen_t(MemoryLayout<CInt>.size)
        if entry.revents != 0 { getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) }
        return error
    }

    /// Starts to connect `fd` to `port` at 127.0.0.1.
    ///
    /// Returns 0 or errno.
    static func connect(_ fd: CInt, port: Int) -> CInt {
        withLoopback(port) { Glibc.connect(fd, $0, $1) }
    }

    /// Binds `fd` to `port` at 127.0.0.1.
    ///
    /// Returns 0 or errno.
    static func bind(_ fd: CInt, port: Int) -> CInt {
        withLoopback(port) { Glibc.bind(fd, $0, $1) }
    }

    private static func withLoopback(
        _ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt
    ) -> CInt {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        // SAFETY: a sockaddr_in is a socket address, by its definition.
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        return result == 0 ? 0 : errno
    }

    /// Sends all of `bytes`, waiting for room.
    public func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = Array(rest.prefix(1 << 20))
            let count = Glibc.send(fd, piece, piece.count, CInt(MSG_NOSIGNAL))
            if count < 0, errno == EINTR { continue }
            try expect(count > 0, "cannot send: errno \(errno)")
            rest = rest.dropFirst(count)
        }
    }

    /// How many bytes have arrived and were not received.
    public var waitingCount: Int {
        var count: CInt = 0
        return ioctl(fd, UInt(FIONREAD), &count) == 0 ? Int(count) : 0
    }

    /// Sends one byte as urgent data, tcp(7).
    public func sendUrgent(_ byte: UInt8) throws {
        var byte = byte
        let count = Glibc.send(fd, &byte, 1, CInt(MSG_NOSIGNAL | MSG_OOB))
        try expect(count, equals: 1, "cannot send urgent data: errno \(errno)")
    }

    /// Receives up to `count` bytes, waiting for the first.
    ///
    /// Empty at the end of file.
    public func receive(_ count: Int = 1 << 16) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        while true {
            let received = recv(fd, &bytes, count, 0)
            if received < 0, errno == EINTR { continue }
            try expect(received >= 0, "cannot receive: errno \(errno)")
            return Array(bytes.prefix(received))
        }
    }

    /// Receives until the end of file.
    public func receiveAll() throws -> [UInt8] {
        var all: [UInt8] = []
        while true {
            let piece = try receive()
            if piece.isEmpty { return all }
            all += piece
        }
    }

    /// Ends the sending side: the server sees an end of file.
    public func endSending() { shutdown(fd, CInt(SHUT_WR)) }

    /// Closes the socket.
    public func close() {
        let last = fd
        socket.value = -1
        if last >= 0 { Glibc.close(last) }
    }

    /// Breaks the connection off: the server sees a reset.
    public func reset() {
        let last = fd
        socket.value = -1
        if last >= 0 { Self.reset(last) }
    }

    /// Closes `fd` so that its peer sees a reset.
    static func reset(_ fd: CInt) {
        var option = linger(l_onoff: 1, l_linger: 0)
        let length = socklen_t(MemoryLayout<linger>.size)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, length)
        Glibc.close(fd)
    }
}
