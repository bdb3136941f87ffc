// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
public import GyreCore
import GyreTasks

// Calls on sockets that the program owns. Each tries the system call, waits for the descriptor when
// that would block, and tries again; so one that is cancelled while it waits has taken nothing.

extension Loop {
    // MARK: Receiving

    /// Receives up to `count` bytes from `socket`, as soon as there are some; `sock_recv` of
    /// asyncio.
    ///
    /// Empty at the end of file. Works for blocking and non-blocking sockets alike, and never
    /// blocks the thread. Cancelling the task loses no byte.
    ///
    /// As all calls whose name begins with `sock`: the socket stays the caller's, who closes it
    /// with ``sockClose(_:)`` if a call may wait for it. One call at a time waits for a socket to
    /// become readable, and one to become writable; they are independent of each other.
    ///
    /// - Throws: ``LoopError``: that of the system call; ``LoopError/Code/inUse`` when another call
    ///   or a reader waits, or the socket belongs to a transport; ``LoopError/Code/closed`` when it
    ///   was closed meanwhile. `CancellationError` when the task is cancelled.
    public func sockReceive(_ socket: CInt, _ count: Int) async throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: try Self.checked(count, "sockReceive"))
        let received = try await sockReceiveInto(socket, &bytes)
        bytes.removeLast(bytes.count - received)
        return bytes
    }

    /// Receives into `buffer`, from its start, at most as many bytes as it has; `sock_recv_into` of
    /// asyncio.
    ///
    /// See ``sockReceive(_:_:)``.
    ///
    /// - Returns: How many bytes there are now, 0 at the end of file.
    public func sockReceiveInto(_ socket: CInt, _ buffer: inout [UInt8]) async throws -> Int {
        try await whenReady(.read, socket, "recv") {
            // SAFETY: recv writes inside the buffer, during the call.
            buffer.withUnsafeMutableBytes {
                recv(socket, $0.baseAddress, $0.count, CInt(MSG_DONTWAIT))
            }
        }
    }

    /// Receives a datagram of up to `count` bytes, with the address of who sent it;
    /// `sock_recvfrom` of asyncio.
    ///
    /// What a datagram has beyond that is lost. See ``sockReceive(_:_:)``.
    public func sockReceiveFrom(
        _ socket: CInt, _ count: Int
    ) async throws -> (bytes: [UInt8], address: LoopAddress?) {
        var bytes = [UInt8](repeating: 0, count: try Self.checked(count, "sockReceiveFrom"))
        let (received, address) = try await sockReceiveFromInto(socket, &bytes)
        bytes.removeLast(bytes.count - received)
        return (bytes, address)
    }

    /// Receives a datagram into `buffer`, from its start; `sock_recvfrom_into` of asyncio.
    ///
    /// See ``sockReceiveFrom(_:_:)``.
    public func sockReceiveFromInto(
        _ socket: CInt, _ buffer: inout [UInt8]
    ) async throws -> (count: Int, address: LoopAddress?) {
        var address: LoopAddress?
        let count = try await whenReady(.read, socket, "recvfrom") {
            // SAFETY: recvfrom writes inside the buffer, during the call.
            buffer.withUnsafeMutableBytes { bytes in
                LoopAddress.receiving(into: &address) {
                    recvfrom(socket, bytes.baseAddress, bytes.count, CInt(MSG_DONTWAIT), $0, $1)
                }
            }
        }
        return (count, address)
    }

    private static func checked(_ count: Int, _ operation: String) throws(LoopError) -> Int {
        guard count < 0 else { return count }
        throw LoopError(.invalidArgument, operation: operation, detail: "\(count) bytes")
    }

    // MARK: Sending

    /// Sends all of `bytes`, waiting for room as often as needed; `sock_sendall` of asyncio.
    ///
    /// See ``sockReceive(_:_:)``. When the task is cancelled, or the call fails, some of the bytes
    /// may have been sent, and nobody knows how many.
    public func sockSendAll(_ socket: CInt, _ bytes: [UInt8]) async throws {
        var use: DescriptorUse?
        defer { use?.end() }
        try await sendAll(bytes, to: socket, &use) { _ in }
    }

    private func sendAll(
        _ bytes: [UInt8], to socket: CInt, _ use: inout DescriptorUse?, _ tell: (Int) -> Void
    ) async throws {
        var sent = 0
        repeat {
            let start = sent
            let count = try await whenReady(.write, socket, "send", &use) {
                // SAFETY: send reads inside the array, during the call.
                bytes.withUnsafeBytes {
                    let rest = UnsafeRawBufferPointer(rebasing: $0[start...])
                    return send(
                        socket, rest.baseAddress, rest.count, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
                }
            }
            sent += count
            tell(count)
        } while sent < bytes.count
    }

    /// Sends `bytes` as one datagram to `address`; `sock_sendto` of asyncio.
    ///
    /// See ``sockReceive(_:_:)``.
    ///
    /// - Returns: How many bytes were sent.
    @discardableResult
    public func sockSendTo(
        _ socket: CInt, _ bytes: [UInt8], _ address: LoopAddress
    ) async throws -> Int {
        try await whenReady(.write, socket, "sendto") {
            bytes.withUnsafeBytes { bytes in
                address.withSocketAddress {
                    sendto(
                        socket, bytes.baseAddress, bytes.count,
                        CInt(MSG_DONTWAIT | MSG_NOSIGNAL), $0, $1)
                }
            }
        }
    }

    /// Sends the bytes of `file` from `offset` on, `count` of them or all up to its end;
    /// `sock_sendfile` of asyncio.
    ///
    /// Whatever the end, the position of `file` is then behind the last byte that was sent, also
    /// when the task is cancelled. See ``sockReceive(_:_:)``.
    ///
    /// - Returns: How many bytes were sent, fewer than `count` where the file is shorter.
    /// - Throws: As ``sockReceive(_:_:)``, and the errors of the file;
    ///   ``LoopError/Code/invalidArgument`` when the socket is a blocking one, or `offset` or
    ///   `count` negative.
    @discardableResult
    public func sockSendFile(
        _ socket: CInt, _ file: CInt, offset: Int = 0, count: Int? = nil,
        method: LoopSendFileMethod = .automatic
    ) async throws -> Int {
        try checkSocket(socket, .write, "sendfile")
        try Self.checkNonBlocking(socket, "sendfile")
        var range = try FileRange(file, offset: offset, count: count)
        defer { range.finish() }
        let use = try use(socket, .write, "sendfile")
        defer { use.end() }
        if method != .copying {
            guard try await sendNatively(&range, to: socket, use) else { return range.sent }
            if method == .native { throw LoopError(errno: EINVAL, operation: "sendfile") }
        }
        try await sendCopied(&range, to: socket, use)
        return range.sent
    }

    /// True when the kernel refuses the file, and a copy is due.
    private func sendNatively(
        _ range: inout FileRange, to socket: CInt, _ use: DescriptorUse
    ) async throws -> Bool {
        while !range.isSent {
            switch range.send(to: socket) {
            case .finished(0): return false
            case .finished(let error) where error < 0:
                if FileRange.isOfConnection(-error) {
                    throw LoopError(errno: -error, operation: "sendfile")
                }
                return true
            // One piece an iteration, also while there is room for more.
            case .finished, .wouldBlock: if !range.isSent { try await waitUntilReady(use) }
            }
        }
        return false
    }

    private func sendCopied(
        _ range: inout FileRange, to socket: CInt, _ use: DescriptorUse
    ) async throws {
        var kept: DescriptorUse? = use
        while !range.isSent {
            let read = range.nextPiece
            let bytes = try await runInExecutor { try read() }.value
            if bytes.isEmpty { return }
            try await sendAll(bytes, to: socket, &kept) { range.advance(by: $0) }
        }
    }

    // MARK: Connections

    /// Connects `socket` to `address`; `sock_connect` of asyncio.
    ///
    /// When the task is cancelled, the socket is connected halfway, and good for nothing but
    /// ``sockClose(_:)``. See ``sockReceive(_:_:)``.
    ///
    /// - Throws: ``LoopError/Code/invalidArgument`` when the socket is a blocking one, since
    ///   connecting it would block the thread.
    public func sockConnect(_ socket: CInt, _ address: LoopAddress) async throws {
        try checkSocket(socket, .write, "connect")
        try Self.checkNonBlocking(socket, "connect")
        guard address.withSocketAddress({ connect(socket, $0, $1) }) != 0 else { return }
        switch errno {
        // It goes on by itself, interrupted or not.
        case EINPROGRESS, EINTR: break
        case let number: throw Self.connectError(number, address)
        }
        let use = try use(socket, .write, "connect")
        defer { use.end() }
        try await waitUntilReady(use)
        let number = Socket.pendingError(of: socket)
        if number != 0 { throw Self.connectError(number, address) }
    }

    private static func connectError(_ number: CInt, _ address: LoopAddress) -> LoopError {
        LoopError(errno: number, operation: "connect", detail: address.description)
    }

    /// Accepts a connection from `socket`, which listens; `sock_accept` of asyncio.
    ///
    /// The new socket is non-blocking, closed on exec, and the caller's to close. A task that is
    /// cancelled has accepted none. See ``sockReceive(_:_:)``.
    ///
    /// - Returns: The new socket, with the address of the peer.
    /// - Throws: ``LoopError/Code/invalidArgument`` when the socket is a blocking one: a connection
    ///   that is gone before it is accepted would block the thread.
    public func sockAccept(
        _ socket: CInt
    ) async throws -> (socket: CInt, address: LoopAddress?) {
        try checkSocket(socket, .read, "accept")
        try Self.checkNonBlocking(socket, "accept")
        let flags = CInt(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        var address: LoopAddress?
        let accepted = try await whenReady(.read, socket, "accept") {
            LoopAddress.receiving(into: &address) {
                while true {
                    let accepted = gyre_accept_from(socket, $0, $1, flags)
                    // An error of that one connection, which is gone.
                    if accepted < 0, errno == ECONNABORTED { continue }
                    return Int(accepted)
                }
            }
        }
        return (CInt(accepted), address)
    }

    private static func checkNonBlocking(
        _ socket: CInt, _ operation: String
    ) throws(LoopError) {
        let flags = fcntl(socket, F_GETFL)
        guard flags >= 0 else { throw LoopError(errno: errno, operation: operation) }
        guard flags & O_NONBLOCK == 0 else { return }
        throw LoopError(
            .invalidArgument, operation: operation,
            detail: "descriptor \(socket) must be non-blocking")
    }

    /// Closes `socket`, and ends the calls that wait for it with ``LoopError/Code/closed``.
    ///
    /// The kernel does not tell who waits for a descriptor that it was closed: they would wait
    /// until they are cancelled.
    public func sockClose(_ socket: CInt) {
        checkThread("sockClose", instead: "handle.callSoonThreadSafe")
        endUses(of: socket)
        Glibc.close(socket)
    }

    // MARK: Waiting

    private func checkSocket(
        _ fd: CInt, _ direction: Operation.Direction, _ operation: String
    ) throws(LoopError) {
        checkThread("a call on a socket", instead: "handle.createTaskThreadSafe")
        try checkUse(of: fd, direction, operation)
    }

    /// Makes `call`, now and whenever `fd` is ready, until it does not block.
    private func whenReady(
        _ direction: Operation.Direction, _ fd: CInt, _ operation: String, _ call: () -> Int
    ) async throws -> Int {
        var use: DescriptorUse?
        defer { use?.end() }
        return try await whenReady(direction, fd, operation, &use, call)
    }

    /// The same for a call of several parts, which keeps the descriptor in `use` once it waited.
    private func whenReady(
        _ direction: Operation.Direction, _ fd: CInt, _ operation: String,
        _ kept: inout DescriptorUse?, _ call: () -> Int
    ) async throws -> Int {
        if kept == nil { try checkSocket(fd, direction, operation) }
        while true {
            switch attempting(call) {
            case .finished(let result) where result >= 0: return Int(result)
            case .finished(let error): throw LoopError(errno: -error, operation: operation)
            case .wouldBlock: break
            }
            let held = if let kept { kept } else { try use(fd, direction, operation) }
            kept = held
            try await waitUntilReady(held)
        }
    }

    /// Waits until the descriptor is ready, or has an error that a call on it will tell.
    func waitUntilReady(_ use: DescriptorUse) async throws {
        let ready = LoopFuture<Void>(on: self)
        use.wait { error in
            // Cancelled meanwhile, it is done already.
            if ready.isDone { return }
            if let error { try? ready.setError(error) } else { try? ready.setResult(()) }
        }
        try await ready.value
    }
}
