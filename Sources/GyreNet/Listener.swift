// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
import GyreCore

/// One listening socket.
final class Listener: OperationTarget, LoopResource {
    /// How long to wait when no descriptor is left, doubled up to the maximum.
    private static let pauseMinimum = Duration.milliseconds(50)
    private static let pauseMaximum = Duration.seconds(1)
    /// How many connections in a row may fail with errors of their own before it is taken for more
    /// than that.
    private static let strayErrorsMax = 16

    private let loop: Loop
    private(set) var fd: CInt
    private var resource: Int32 = -1
    private var acceptID = OperationID.none
    private var pause: Duration?
    private var retry: LoopTimer?
    private var strayErrors = 0
    private var isClosed = false
    /// The socket is non-blocking, which a ring takes for the wish not to wait: it is waited for
    /// first, and then accepted from directly.
    private var waitsFirst = false
    /// The file of a Unix socket, to be removed with it.
    private var file: SocketFile?
    var server: LoopServer?

    /// A socket that is bound to `address`.
    init(_ address: LoopAddress, _ options: LoopServerOptions, _ loop: Loop) throws(LoopError) {
        self.loop = loop
        fd = try Socket.make(address, flags: loop.backend.socketFlags)
        do throws(LoopError) {
            if address.isUnix {
                let file = try SocketFile.bind(fd, to: address)
                if options.removesFile { self.file = file }
            } else {
                try Self.prepareInternet(fd, address, options)
            }
        } catch {
            Glibc.close(fd)
            throw error
        }
        loop.claimDescriptor(fd)
        resource = loop.register(self)
    }

    /// Takes over a bound socket of others, and lets it listen unless that is for later.
    ///
    /// It becomes non-blocking, on every loop: other processes may accept from it as well, and
    /// whoever comes too late must not wait there. When this throws, the socket stays theirs.
    init(
        adopting fd: CInt, _ options: LoopServerOptions, _ loop: Loop
    ) throws(LoopError) {
        self.loop = loop
        self.fd = fd
        try Socket.checkStream(fd, "createServer")
        if options.startsServing { try listen(backlog: options.backlog) }
        try Socket.adopt(fd, flags: CInt(SOCK_NONBLOCK.rawValue))
        loop.claimDescriptor(fd)
        resource = loop.register(self)
    }

    private static func prepareInternet(
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

    // MARK: Accepting

    func listen(backlog: Int) throws(LoopError) {
        guard Glibc.listen(fd, CInt(clamping: backlog)) == 0 else {
            throw LoopError(
                errno: errno, operation: "listen",
                detail: Socket.localAddress(of: fd)?.description)
        }
    }

    func accept() {
        retry = nil
        guard !isClosed, acceptID == .none else { return }
        acceptID =
            waitsFirst
            ? loop.submitReady(.read, on: fd, target: self)
            : loop.submitAccept(on: fd, target: self)
    }

    func operationCompleted(_ completion: Completion) {
        if !completion.more { acceptID = .none }
        if completion.kind == .ready, completion.result >= 0 {
            acceptWaiting()
        } else {
            accepted(completion.result)
        }
    }

    /// A descriptor, or the negative number of an error.
    private func accepted(_ result: CInt) {
        if result >= 0 {
            pause = nil
            strayErrors = 0
            guard let server, !isClosed else {
                Glibc.close(result)
                return
            }
            return server.accepted(result)
        }
        guard !isClosed else { return closeDescriptor() }
        switch -result {
        case EAGAIN:
            waitsFirst = true
            accept()
        case EMFILE, ENFILE, ENOBUFS, ENOMEM: backOff(errno: -result)
        case EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP:
            loop.handle(
                thrown: LoopError(errno: -result, operation: "accept"),
                message: "A server cannot accept any more")
        case let number:
            // An error of the one connection that was to be accepted, accept(2); not of ours.
            strayErrors += 1
            guard strayErrors < Self.strayErrorsMax else { return backOff(errno: number) }
            loop.callSoonPlainly { [self] in accept() }
        }
    }

    /// Takes what waits, a bounded number per turn.
    private func acceptWaiting() {
        for _ in 0..<64 {
            guard !isClosed else { return closeDescriptor() }
            let result = gyre_accept(fd, loop.backend.socketFlags)
            if result < 0, errno == EINTR { continue }
            accepted(result < 0 ? -errno : result)
            // Whatever follows an error was begun there.
            if result < 0 { return }
        }
        loop.callSoonPlainly { [self] in accept() }
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

    /// Tries again at once where it waits: a descriptor was given back.
    func retryNow() {
        guard let retry else { return }
        retry.cancel()
        accept()
    }

    // MARK: Closing

    func close() {
        guard !isClosed else { return }
        isClosed = true
        server = nil
        removeFile()
        retry?.cancel()
        retry = nil
        if acceptID == .none {
            closeDescriptor()
        } else {
            // The descriptor goes when the accept has ended, soon. No shutdown before: that would
            // end the socket for everybody who has it, say a process that goes on serving it.
            loop.cancel(acceptID)
        }
    }

    private func removeFile() {
        file?.remove()
        file = nil
    }

    private func closeDescriptor() {
        guard fd >= 0 else { return }
        loop.closeDescriptor(fd)
        fd = -1
        loop.unregister(resource)
    }

    func loopDidClose() {
        isClosed = true
        retry = nil
        removeFile()
        closeDescriptor()
        server.take()?.loopDidClose()
    }
}
