// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore

/// Options of a TCP server.
///
/// What a socket can inherit is set on the listening socket once, and costs an accepted connection
/// nothing.
public struct LoopServerOptions: Sendable {
    /// How many connections the kernel keeps that were not accepted yet; held at the system's
    /// limit, `net.core.somaxconn`.
    public var backlog = 1024
    /// Binds also while connections of an earlier server on the port are winding down.
    public var reuseAddress = true
    /// Several servers may bind the same port; the kernel spreads connections over them.
    public var reusePort = false
    /// Sends small pieces at once instead of collecting them (`TCP_NODELAY`).
    public var noDelay = true
    /// Probes idle connections, so that a peer that vanished is noticed.
    public var keepAlive = false
    /// The congestion control, such as `cubic`; nil for the system's.
    public var congestionControl: String?
    /// Accepts from the start.
    ///
    /// With false, ``LoopServer/start()`` begins.
    public var startsServing = true

    /// The defaults.
    public init() {}
}

/// Options of a TCP connection.
public struct LoopConnectionOptions: Sendable {
    /// Sends small pieces at once instead of collecting them (`TCP_NODELAY`).
    public var noDelay = true
    /// Probes an idle connection, so that a peer that vanished is noticed.
    public var keepAlive = false
    /// The congestion control, such as `cubic`; nil for the system's.
    public var congestionControl: String?

    /// The defaults.
    public init() {}
}

/// System calls on sockets, with errors thrown.
enum Socket {
    static func make(_ address: LoopAddress, flags: CInt) throws(LoopError) -> CInt {
        let fd = socket(address.family, CInt(SOCK_STREAM.rawValue) | flags, 0)
        guard fd >= 0 else {
            throw LoopError(errno: errno, operation: "socket", detail: address.description)
        }
        return fd
    }

    static func set(
        _ level: CInt, _ option: CInt, _ value: CInt, on fd: CInt, _ name: String
    ) throws(LoopError) {
        var value = value
        let length = socklen_t(MemoryLayout<CInt>.size)
        guard setsockopt(fd, level, option, &value, length) == 0 else {
            throw LoopError(errno: errno, operation: "setsockopt", detail: name)
        }
    }

    static func setStreamOptions(
        on fd: CInt, noDelay: Bool, keepAlive: Bool, congestionControl: String?
    ) throws(LoopError) {
        if noDelay { try set(CInt(IPPROTO_TCP), TCP_NODELAY, 1, on: fd, "TCP_NODELAY") }
        if keepAlive { try set(SOL_SOCKET, SO_KEEPALIVE, 1, on: fd, "SO_KEEPALIVE") }
        guard let name = congestionControl else { return }
        let length = socklen_t(name.utf8.count)
        guard setsockopt(fd, CInt(IPPROTO_TCP), TCP_CONGESTION, name, length) == 0 else {
            throw LoopError(errno: errno, operation: "setsockopt", detail: "TCP_CONGESTION \(name)")
        }
    }

    static func localAddress(of fd: CInt) -> LoopAddress? { name(of: fd, getsockname) }

    static func peerAddress(of fd: CInt) -> LoopAddress? { name(of: fd, getpeername) }

    private static func name(
        of fd: CInt,
        _ call: (CInt, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> CInt
    ) -> LoopAddress? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        // SAFETY: a sockaddr_storage holds any kind of socket address, by its definition.
        let result = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { call(fd, $0, &length) }
        }
        guard result == 0 else { return nil }
        return LoopAddress(storage: storage, length: length)
    }
}
