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
    /// The family of the addresses that a host stands for, any unless set.
    public var family = LoopAddressInfo.Family.any
    /// Accepts from the start.
    ///
    /// With false, ``LoopServer/start()`` begins.
    public var startsServing = true
    /// Removes the file of a Unix socket when the server is closed.
    var removesFile = true
    /// A Unix socket's connections pass descriptors.
    var passesDescriptors = false

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
    /// The family of the addresses that are tried, any unless set.
    public var family = LoopAddressInfo.Family.any

    /// How long it may take in all, the look-up of the name included; nil is no limit.
    public var timeout: Duration?
    /// The host of this machine to connect from, a number or a name; nil leaves it to the system.
    public var localHost: String?
    /// The port to connect from; 0 leaves it to the system.
    public var localPort = 0

    /// How long one address is tried before the next is tried beside it, as RFC 8305 ("happy
    /// eyeballs") says; the first that is connected wins.
    ///
    /// 250 milliseconds unless set. With nil the next is tried when the one before has failed.
    public var happyEyeballsDelay: Duration? = .milliseconds(250)
    /// How many addresses of the first family are tried before families take turns.
    ///
    /// 0 leaves the order as the look-up gave it. Unless set it is 1, or 0 without
    /// ``happyEyeballsDelay``.
    public var interleave: Int?

    /// The connection to a Unix socket passes descriptors.
    var passesDescriptors = false

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

    /// Throws unless `fd` is a socket for connections.
    static func checkStream(_ fd: CInt, _ operation: String) throws(LoopError) {
        guard try option(SO_TYPE, of: fd, operation) == CInt(SOCK_STREAM.rawValue) else {
            throw LoopError(
                .invalidArgument, operation: operation,
                detail: "descriptor \(fd) is no socket for connections")
        }
    }

    /// What a socket says of itself.
    static func option(
        _ name: CInt, of fd: CInt, _ operation: String
    ) throws(LoopError) -> CInt {
        var value: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        guard getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 else {
            throw LoopError(errno: errno, operation: operation, detail: "descriptor \(fd)")
        }
        return value
    }

    /// Prepares a socket of others for the loop, which wants `flags`.
    static func adopt(_ fd: CInt, flags: CInt) throws(LoopError) {
        let status = fcntl(fd, F_GETFL)
        let isNonBlocking = flags & CInt(SOCK_NONBLOCK.rawValue) != 0
        let wanted = isNonBlocking ? status | O_NONBLOCK : status & ~O_NONBLOCK
        guard status >= 0, fcntl(fd, F_SETFL, wanted) == 0,
            fcntl(fd, F_SETFD, FD_CLOEXEC) == 0
        else { throw LoopError(errno: errno, operation: "fcntl", detail: "descriptor \(fd)") }
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

    /// Lets closing `fd` reset its connection.
    static func resetOnClose(_ fd: CInt) {
        var option = linger(l_onoff: 1, l_linger: 0)
        // Failing means that there is no connection any more.
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    }

    /// The error that a socket has met by itself, or 0; asking takes it.
    static func pendingError(of fd: CInt) -> CInt {
        var error: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        guard getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 else { return errno }
        return error
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
