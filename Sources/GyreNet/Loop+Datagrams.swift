// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
public import GyreCore

extension Loop {
    /// Opens a datagram endpoint, UDP or Unix, and serves it with the protocol object from
    /// `makeProtocol`.
    ///
    /// With a `local` address the endpoint is bound to it, port 0 picks a free one; with a `remote`
    /// address it sends there and receives from there only. For host names use
    /// ``createDatagramEndpoint(host:port:options:makeProtocol:completion:)``. The file of a Unix
    /// socket is treated as that of a server, see
    /// ``createUnixServer(path:options:makeProtocol:)``.
    ///
    /// ``LoopDatagramProtocol/connectionMade(_:)`` has returned when this does.
    ///
    /// - Throws: ``LoopError``: neither address was given, or they are of two families; the local
    ///   address is in use or not of this machine; no way leads to the remote one. Nothing stays
    ///   open then.
    public func createDatagramEndpoint(
        local: LoopAddress? = nil, remote: LoopAddress? = nil,
        options: LoopDatagramOptions = LoopDatagramOptions(),
        makeProtocol: () -> any LoopDatagramProtocol
    ) throws(LoopError) -> LoopDatagramTransport {
        checkThread("createDatagramEndpoint", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { throw LoopError(.closed, operation: "createDatagramEndpoint") }
        let socket = try DatagramSocket(
            local: local, remote: remote, options: options, flags: backend.socketFlags)
        return endpoint(
            socket, remote: remote, file: options.removesFile ? socket.file : nil, makeProtocol())
    }

    func endpoint(
        _ socket: DatagramSocket, remote: LoopAddress?, file: SocketFile?,
        _ proto: any LoopDatagramProtocol
    ) -> LoopDatagramTransport {
        let transport = LoopDatagramTransport(
            fd: socket.fd, loop: self, proto: proto, family: socket.family, remote: remote,
            file: file, keepsErrors: socket.keepsErrors)
        transport.begin()
        return transport
    }

    /// Opens a UDP endpoint that is connected to `host`, a name or a number.
    ///
    /// As ``createDatagramEndpoint(local:remote:options:makeProtocol:)``. A name is looked up on
    /// another thread; of its addresses the first is taken that a way leads to. `completion` is
    /// called on the loop's thread, in a later iteration.
    public func createDatagramEndpoint(
        host: String, port: Int, options: LoopDatagramOptions = LoopDatagramOptions(),
        makeProtocol: @escaping () -> any LoopDatagramProtocol,
        completion: @escaping (Result<LoopDatagramTransport, LoopError>) -> Void
    ) {
        _ = beginEndpoint(host, port, options, makeProtocol, completion)
    }

    func beginEndpoint(
        _ host: String, _ port: Int, _ options: LoopDatagramOptions,
        _ makeProtocol: @escaping () -> any LoopDatagramProtocol,
        _ completion: @escaping (Result<LoopDatagramTransport, LoopError>) -> Void
    ) -> LookUps {
        checkThread("createDatagramEndpoint", instead: "handle.callSoonThreadSafe")
        let query = Resolver.Query(host: host, port: port, isPassive: false)
        let lookUps = LookUps([query], on: self) { [self] result in
            callSoonPlainly { [self] in
                completion(
                    Result { () throws(LoopError) in
                        try connectedEndpoint(result.get().flatMap { $0 }, options, makeProtocol)
                    })
            }
        }
        lookUps.begin()
        return lookUps
    }

    private func connectedEndpoint(
        _ remotes: [LoopAddress], _ options: LoopDatagramOptions,
        _ makeProtocol: () -> any LoopDatagramProtocol
    ) throws(LoopError) -> LoopDatagramTransport {
        var failure = LoopError(
            .nameNotResolved, operation: "createDatagramEndpoint", detail: "no address")
        for remote in remotes {
            do throws(LoopError) {
                return try createDatagramEndpoint(
                    remote: remote, options: options, makeProtocol: makeProtocol)
            } catch {
                failure = error
            }
        }
        throw failure
    }
}

extension LoopError {
    fileprivate static var differentFamilies: LoopError {
        LoopError(
            .invalidArgument, operation: "createDatagramEndpoint",
            detail: "the local and the remote address are of two families")
    }
}

/// A datagram socket that is ready for use.
struct DatagramSocket {
    let fd: CInt
    let family: CInt
    var file: SocketFile?
    var keepsErrors = false

    init(
        local: LoopAddress?, remote: LoopAddress?, options: LoopDatagramOptions, flags: CInt
    ) throws(LoopError) {
        guard let first = local ?? remote else {
            throw LoopError(
                .invalidArgument, operation: "createDatagramEndpoint",
                detail: "an endpoint needs a local or a remote address")
        }
        if let local, let remote, local.family != remote.family {
            throw .differentFamilies
        }
        family = first.family
        fd = socket(family, CInt(SOCK_DGRAM.rawValue) | flags, 0)
        guard fd >= 0 else {
            throw LoopError(errno: errno, operation: "socket", detail: first.description)
        }
        do throws(LoopError) {
            try prepare(options, isConnected: remote != nil)
            if let local { try bind(to: local) }
            if let remote { try connect(to: remote) }
        } catch {
            file?.remove()
            Glibc.close(fd)
            throw error
        }
    }

    /// Takes over a socket of others.
    ///
    /// When it throws, the socket stays theirs.
    init(
        adopting fd: CInt, options: LoopDatagramOptions, flags: CInt
    ) throws(LoopError) {
        let operation = "createDatagramEndpoint"
        guard try Socket.option(SO_TYPE, of: fd, operation) == CInt(SOCK_DGRAM.rawValue) else {
            throw LoopError(
                .invalidArgument, operation: operation,
                detail: "descriptor \(fd) is no socket for datagrams")
        }
        self.fd = fd
        family = try Socket.option(SO_DOMAIN, of: fd, operation)
        try prepareAny(options, isConnected: Socket.peerAddress(of: fd) != nil)
        try Socket.adopt(fd, flags: flags)
    }

    private mutating func prepare(
        _ options: LoopDatagramOptions, isConnected: Bool
    ) throws(LoopError) {
        if options.reusePort {
            try Socket.set(SOL_SOCKET, SO_REUSEPORT, 1, on: fd, "SO_REUSEPORT")
        }
        // Otherwise an IPv6 socket takes the IPv4 port too, and binding both addresses fails.
        if family == AF_INET6 {
            try Socket.set(CInt(IPPROTO_IPV6), IPV6_V6ONLY, 1, on: fd, "IPV6_V6ONLY")
        }
        try prepareAny(options, isConnected: isConnected)
    }

    /// What can be set on a bound socket, too.
    private mutating func prepareAny(
        _ options: LoopDatagramOptions, isConnected: Bool
    ) throws(LoopError) {
        if options.allowsBroadcast {
            try Socket.set(SOL_SOCKET, SO_BROADCAST, 1, on: fd, "SO_BROADCAST")
        }
        if let size = options.receiveBufferSize {
            try Socket.set(SOL_SOCKET, SO_RCVBUF, CInt(clamping: size), on: fd, "SO_RCVBUF")
        }
        guard family != AF_UNIX, isConnected || options.reportsErrors else { return }
        keepsErrors = gyre_datagrams_keep_errors(fd, family) == 0
    }

    private mutating func bind(to address: LoopAddress) throws(LoopError) {
        guard address.isUnix else {
            guard address.withSocketAddress({ Glibc.bind(fd, $0, $1) }) == 0 else {
                throw LoopError(errno: errno, operation: "bind", detail: address.description)
            }
            return
        }
        file = try SocketFile.bind(fd, to: address)
    }

    private func connect(to address: LoopAddress) throws(LoopError) {
        while address.withSocketAddress({ Glibc.connect(fd, $0, $1) }) != 0 {
            guard errno == EINTR else {
                throw LoopError(errno: errno, operation: "connect", detail: address.description)
            }
        }
    }
}
