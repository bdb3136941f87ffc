// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore

/// A TCP server: listening sockets and the connections they accepted.
///
/// Made by `createServer`. The loop keeps it while it listens.
public final class LoopServer {
    let loop: Loop
    private let options: LoopServerOptions
    private let makeProtocol: () -> any LoopStreamProtocol
    private var listeners: [Listener] = []
    private var waiters: [() -> Void] = []
    /// Whether connections are accepted.
    public private(set) var isServing = false
    /// Whether ``close()`` was called.
    public private(set) var isClosed = false
    /// Accepted connections that have not ended yet.
    public private(set) var connectionCount = 0

    /// Binds every address, or none.
    init(
        loop: Loop, addresses: [LoopAddress], options: LoopServerOptions,
        makeProtocol: @escaping () -> any LoopStreamProtocol
    ) throws(LoopError) {
        self.loop = loop
        self.options = options
        self.makeProtocol = makeProtocol
        do throws(LoopError) {
            for address in addresses {
                let listener = try Listener(address, options, loop)
                listeners.append(listener)
            }
        } catch {
            for listener in listeners { listener.close() }
            throw error
        }
        for listener in listeners { listener.server = self }
    }

    /// Begins to accept connections.
    ///
    /// Does nothing when it does already.
    ///
    /// - Throws: ``LoopError/Code/closed`` on a closed server.
    public func start() throws(LoopError) {
        loop.checkThread("start", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { throw LoopError(.closed, operation: "start") }
        guard !isServing else { return }
        isServing = true
        for listener in listeners { try listener.start(backlog: options.backlog) }
    }

    /// Stops accepting and closes the listening sockets.
    ///
    /// Connections that were accepted go on. Does nothing the second time.
    public func close() {
        loop.checkThread("close", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { return }
        isClosed = true
        isServing = false
        for listener in listeners { listener.close() }
        listeners = []
        wakeWaiters()
    }

    /// Calls `body` in a later iteration, once the server is closed and its last connection has
    /// ended, in either order.
    public func waitClosed(_ body: @escaping () -> Void) {
        waiters.append(body)
        wakeWaiters()
    }

    /// The addresses that are listened at, with the ports that the system picked.
    ///
    /// Empty once closed.
    public var addresses: [LoopAddress] {
        listeners.compactMap { Socket.localAddress(of: $0.fd) }
    }

    fileprivate func accepted(_ fd: CInt) {
        connectionCount += 1
        let transport = LoopTransport(
            fd: fd, loop: loop, proto: makeProtocol(), server: self)
        transport.begin()
    }

    func connectionEnded() {
        connectionCount -= 1
        wakeWaiters()
    }

    private func wakeWaiters() {
        guard isClosed, connectionCount == 0 else { return }
        for waiter in waiters { loop.callSoonPlainly { waiter() } }
        waiters = []
    }
}

@available(*, unavailable)
extension LoopServer: Sendable {}

/// One listening socket.
private final class Listener: OperationTarget, LoopResource {
    /// How long to wait when no descriptor is left, doubled up to the maximum.
    private static let pauseMinimum = Duration.milliseconds(50)
    private static let pauseMaximum = Duration.seconds(1)

    private let loop: Loop
    private(set) var fd: CInt
    private var resource: Int32 = -1
    private var acceptID = OperationID.none
    private var pause: Duration?
    private var retry: LoopTimer?
    private var isClosed = false
    var server: LoopServer?

    init(_ address: LoopAddress, _ options: LoopServerOptions, _ loop: Loop) throws(LoopError) {
        self.loop = loop
        fd = try Socket.make(address, flags: loop.backend.socketFlags)
        do throws(LoopError) {
            try Self.prepare(fd, address, options)
        } catch {
            Glibc.close(fd)
            throw error
        }
        loop.claimDescriptor(fd)
        resource = loop.register(self)
    }

    private static func prepare(
        _ fd: CInt, _ address: LoopAddress, _ options: LoopServerOptions
    ) throws(LoopError) {
        if options.reuseAddress {
            try Socket.set(SOL_SOCKET, SO_REUSEADDR, 1, on: fd, "SO_REUSEADDR")
        }
        if options.reusePort {
            try Socket.set(SOL_SOCKET, SO_REUSEPORT, 1, on: fd, "SO_REUSEPORT")
        }
        // Otherwise the IPv6 socket takes the IPv4 port too, and binding both addresses fails.
        if address.family == AF_INET6 {
            try Socket.set(CInt(IPPROTO_IPV6), IPV6_V6ONLY, 1, on: fd, "IPV6_V6ONLY")
        }
        try Socket.setStreamOptions(
            on: fd, noDelay: options.noDelay, keepAlive: options.keepAlive,
            congestionControl: options.congestionControl)
        guard address.withSocketAddress({ bind(fd, $0, $1) }) == 0 else {
            throw LoopError(errno: errno, operation: "bind", detail: address.description)
        }
    }

    func start(backlog: Int) throws(LoopError) {
        guard listen(fd, CInt(clamping: backlog)) == 0 else {
            throw LoopError(errno: errno, operation: "listen")
        }
        accept()
    }

    private func accept() {
        retry = nil
        guard !isClosed, acceptID == .none else { return }
        acceptID = loop.submitAccept(on: fd, target: self)
    }

    func operationCompleted(_ completion: Completion) {
        if !completion.more { acceptID = .none }
        if completion.result >= 0 {
            pause = nil
            guard let server, !isClosed else {
                Glibc.close(completion.result)
                return
            }
            return server.accepted(completion.result)
        }
        guard !isClosed else { return closeDescriptor() }
        switch -completion.result {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM: backOff(errno: -completion.result)
        case EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP:
            loop.handle(
                thrown: LoopError(errno: -completion.result, operation: "accept"),
                message: "A server cannot accept any more")
        default:
            // An error of the one connection that was to be accepted, accept(2); not of ours.
            loop.callSoonPlainly { [self] in accept() }
        }
    }

    /// Nothing can be accepted until somebody else gives something back.
    ///
    /// The connections wait in the kernel; trying again and again would only burn time.
    private func backOff(errno number: CInt) {
        if pause == nil {
            loop.handle(
                thrown: LoopError(errno: number, operation: "accept"),
                message: "A server cannot accept connections for now and tries again")
        }
        let next = min(pause.map { $0 * 2 } ?? Self.pauseMinimum, Self.pauseMaximum)
        pause = next
        retry = loop.callLaterPlainly(next) { [self] in accept() }
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        server = nil
        retry?.cancel()
        retry = nil
        if acceptID == .none {
            closeDescriptor()
        } else {
            // Refuses connections from now on; the descriptor goes when the accept has ended.
            shutdown(fd, CInt(SHUT_RDWR))
            loop.cancel(acceptID)
        }
    }

    private func closeDescriptor() {
        guard fd >= 0 else { return }
        loop.closeDescriptor(fd)
        fd = -1
        loop.unregister(resource)
    }

    func loopDidClose() {
        isClosed = true
        server = nil
        retry = nil
        closeDescriptor()
    }
}
