// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore

/// Options of a connection over a socket that is connected already.
public struct LoopSocketOptions: Sendable {
    /// Sends small pieces at once instead of collecting them (`TCP_NODELAY`).
    ///
    /// This and the next two are for TCP.
    public var noDelay = true
    /// Probes an idle connection, so that a peer that vanished is noticed.
    public var keepAlive = false
    /// The congestion control, such as `cubic`; nil leaves what the socket has.
    public var congestionControl: String?
    /// The connection over a Unix socket passes descriptors, see
    /// ``LoopUnixServerOptions/passesDescriptors``.
    public var passesDescriptors = false

    /// The defaults.
    public init() {}
}

extension Loop {
    /// Serves a connection that was accepted elsewhere with the protocol object from
    /// `makeProtocol`: asyncio's `connect_accepted_socket`.
    ///
    /// `descriptor` is a TCP or Unix socket that is connected, however that came about: accepted by
    /// ``sockAccept(_:)`` or by a thread of its own, one of a `socketpair`, passed by another
    /// process. ``LoopStreamProtocol/connectionMade(_:)`` is called before this returns.
    ///
    /// The transport takes the socket over, and closes it.
    ///
    /// - Throws: ``LoopError`` when `descriptor` is no such socket, is not connected (any more), or
    ///   belongs to a transport. It stays the caller's then.
    @discardableResult
    public func connectAcceptedSocket(
        _ descriptor: Int32, options: LoopSocketOptions = LoopSocketOptions(),
        makeProtocol: () -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopTransport {
        checkThread("connectAcceptedSocket", instead: "handle.callSoonThreadSafe")
        try prepare(descriptor, options, "connectAcceptedSocket")
        return serve(descriptor, options, makeProtocol())
    }

    /// Serves a connection over a socket that was connected elsewhere with the protocol object from
    /// `makeProtocol`: asyncio's `create_connection` with `sock`.
    ///
    /// As ``connectAcceptedSocket(_:options:makeProtocol:)``.
    @discardableResult
    public func createConnection<Proto: LoopStreamProtocol>(
        descriptor: Int32, options: LoopSocketOptions = LoopSocketOptions(),
        makeProtocol: () -> Proto
    ) throws(LoopError) -> (transport: LoopTransport, protocol: Proto) {
        checkThread("createConnection", instead: "handle.callSoonThreadSafe")
        try prepare(descriptor, options, "createConnection")
        let proto = makeProtocol()
        return (serve(descriptor, options, proto), proto)
    }

    /// The two directions of a connection over a socket that was accepted or connected elsewhere:
    /// asyncio's `open_connection` with `sock`.
    ///
    /// The streams take the socket over, and closing the writer closes it. `limit` is that of the
    /// reader, in bytes.
    ///
    /// - Throws: ``LoopError`` as ``connectAcceptedSocket(_:options:makeProtocol:)``; `descriptor`
    ///   stays the caller's then.
    public func openConnection(
        descriptor: Int32, limit: Int = LoopStreamReader.defaultLimit,
        options: LoopSocketOptions = LoopSocketOptions()
    ) throws(LoopError) -> (reader: LoopStreamReader, writer: LoopStreamWriter) {
        checkThread("openConnection", instead: "handle.callSoonThreadSafe")
        let core = try connecting(limit: limit)()
        try prepare(descriptor, options, "openConnection")
        serve(descriptor, options, core)
        return (LoopStreamReader(core), LoopStreamWriter(core))
    }

    /// Makes the socket what the loop wants.
    private func prepare(
        _ fd: CInt, _ options: LoopSocketOptions, _ operation: String
    ) throws(LoopError) {
        guard !isClosed else { throw LoopError(.closed, operation: operation) }
        try Socket.checkStream(fd, operation)
        try checkWatchable(fd, operation)
        guard let peer = Socket.peerAddress(of: fd) else {
            throw LoopError(
                errno: errno, operation: operation, detail: "descriptor \(fd) has no peer")
        }
        if !peer.isUnix {
            guard !options.passesDescriptors else {
                throw LoopError(
                    .notSupported, operation: operation,
                    detail: "only Unix sockets pass descriptors")
            }
            try Socket.setStreamOptions(
                on: fd, noDelay: options.noDelay, keepAlive: options.keepAlive,
                congestionControl: options.congestionControl)
        }
        try Socket.adopt(fd, flags: backend.socketFlags)
    }

    @discardableResult
    private func serve(
        _ fd: CInt, _ options: LoopSocketOptions, _ proto: any LoopStreamProtocol
    ) -> LoopTransport {
        let transport = LoopTransport(
            fd: fd, loop: self, proto: proto, server: nil,
            kind: options.passesDescriptors ? .passing : .socket)
        transport.begin()
        return transport
    }
}

/// Runs `body` with a connection over a socket that was accepted or connected elsewhere, and closes
/// it when `body` has ended.
///
/// When `body` throws, what was not sent is dropped.
///
/// - Throws: What `body` throws; ``LoopError`` as
///   ``Loop/connectAcceptedSocket(_:options:makeProtocol:)``, and then `descriptor` stays the
///   caller's.
public func withConnection<Result>(
    descriptor: Int32, options: LoopSocketOptions = LoopSocketOptions(),
    _ body: (LoopConnection) async throws -> Result
) async throws -> Result {
    let loop = try runningLoop("withConnection")
    let core = try loop.createConnection(
        descriptor: descriptor, options: options,
        makeProtocol: try loop.connecting(limit: LoopConnection.limit)
    ).protocol
    return try await withConnection(core, body)
}
