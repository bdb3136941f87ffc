// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore

/// One socket that is being connected to one address.
final class ConnectAttempt: OperationTarget, LoopResource {
    private let loop: Loop
    let peer: LoopAddress
    private var fd: CInt
    private var resource: Int32 = -1
    private var connectID = OperationID.none
    private var isCancelled = false
    /// The address that is connected to: the kernel reads it until the operation ends.
    private let address: UnsafeMutablePointer<sockaddr_storage>
    private var owner: LoopConnecting?
    /// Until it is tried again, when a Unix server has as many waiting as it wants: the kernel does
    /// not tell when it has accepted one.
    private var retry: LoopTimer?
    private var pause = ConnectAttempt.pauseMinimum
    private static let pauseMinimum = Duration.milliseconds(1)
    private static let pauseMaximum = Duration.milliseconds(50)

    /// Begins to connect to `peer`, from one of `locals` where it matters.
    ///
    /// `owner` is told how it ended, in a later iteration.
    init(
        to peer: LoopAddress, from locals: [LoopAddress]?, _ options: LoopConnectionOptions,
        owner: LoopConnecting, on loop: Loop
    ) throws(LoopError) {
        self.loop = loop
        self.peer = peer
        self.owner = owner
        let socket = try Socket.make(peer, flags: loop.backend.socketFlags)
        do throws(LoopError) {
            if !peer.isUnix {
                try Socket.setStreamOptions(
                    on: socket, noDelay: options.noDelay, keepAlive: options.keepAlive,
                    congestionControl: options.congestionControl)
            }
            if let locals { try Self.bind(socket, for: peer, to: locals) }
        } catch {
            Glibc.close(socket)
            throw error
        }
        fd = socket
        // SAFETY: freed in deinit; the operation holds this object for as long as the kernel reads
        // the address.
        address = .allocate(capacity: 1)
        address.initialize(to: peer.storage)
        loop.claimDescriptor(fd)
        resource = loop.register(self)
        submit()
    }

    private func submit() {
        let bytes = UnsafeRawBufferPointer(start: address, count: Int(peer.length))
        connectID = loop.submitConnect(to: bytes, on: fd, target: self)
    }

    private func submitLater() {
        retry = loop.callLaterPlainly(pause) { [self] in
            retry = nil
            submit()
        }
        pause = min(pause * 2, Self.pauseMaximum)
    }

    deinit { address.deallocate() }

    private static func bind(
        _ socket: CInt, for peer: LoopAddress, to locals: [LoopAddress]
    ) throws(LoopError) {
        var failure = LoopError(
            .addressNotAvailable, operation: "bind",
            detail: "no local address is of the family of \(peer)")
        for local in locals where local.family == peer.family {
            guard local.withSocketAddress({ Glibc.bind(socket, $0, $1) }) != 0 else { return }
            failure = LoopError(errno: errno, operation: "bind", detail: local.description)
        }
        throw failure
    }

    func cancel() {
        isCancelled = true
        guard let retry = retry.take() else { return loop.cancel(connectID) }
        retry.cancel()
        loop.callSoonPlainly { [self] in end(-ECANCELED) }
    }

    func operationCompleted(_ completion: Completion) {
        connectID = .none
        switch completion.result {
        // The server is full; or a stop of the process interrupted the ring, which waits for such a
        // server in a thread of the kernel, and nothing has begun.
        case -EAGAIN where peer.isUnix && !isCancelled, -EINTR where peer.isUnix && !isCancelled:
            return submitLater()
        default: break
        }
        end(completion.result)
    }

    private func end(_ result: CInt) {
        loop.unregister(resource)
        let owner = owner.take()
        guard let owner else { return close() }
        owner.attemptEnded(self, result)
    }

    /// Hands the socket over.
    func takeDescriptor() -> CInt {
        defer { fd = -1 }
        return fd
    }

    /// Closes the socket, unless it was handed over.
    ///
    /// Nothing is under way on it.
    func close() {
        if fd >= 0 { loop.closeDescriptor(fd) }
        fd = -1
    }

    func loopDidClose() {
        retry = nil
        close()
        owner.take()?.loopDidClose()
    }
}
