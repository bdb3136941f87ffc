// SPDX-License-Identifier: Apache-2.0

import CGyre
public import GyreCore

extension Loop {
    /// Listens at the Unix socket `path`, and serves each connection with a protocol object from
    /// `makeProtocol`.
    ///
    /// A path that begins with a zero byte is an abstract name, which lies in no file system. A
    /// socket file that a program left behind is replaced; to tell, the path is connected to once.
    /// The file is removed when the server is closed, unless another is there by then.
    ///
    /// - Throws: ``LoopError``: ``LoopError/Code/addressInUse`` when another server listens there
    ///   or a file of another kind is there, which is left alone;
    ///   ``LoopError/Code/invalidArgument`` when the path is empty, or has more than 107 bytes.
    ///   Nothing stays open then.
    public func createUnixServer(
        path: String, options: LoopUnixServerOptions = LoopUnixServerOptions(),
        makeProtocol: @escaping () -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopServer {
        checkThread("createUnixServer", instead: "handle.callSoonThreadSafe")
        return try createServer(
            addresses: [Self.unixAddress(path, "createUnixServer")],
            options: options.serverOptions, makeProtocol: makeProtocol)
    }

    /// Connects to the Unix socket `path`, and serves the connection with the protocol object from
    /// `makeProtocol`.
    ///
    /// A path that begins with a zero byte is an abstract name. While the server has as many that
    /// wait as it wants, the connection waits too. `completion` is called on the loop's thread, in
    /// a later iteration, after ``LoopStreamProtocol/connectionMade(_:)`` has returned.
    ///
    /// - Returns: A handle with which it can be cancelled.
    @discardableResult
    public func createUnixConnection(
        path: String, options: LoopUnixConnectionOptions = LoopUnixConnectionOptions(),
        makeProtocol: @escaping () -> any LoopStreamProtocol,
        completion: @escaping (LoopConnecting.Outcome) -> Void = { _ in }
    ) -> LoopConnecting {
        checkThread("createUnixConnection", instead: "handle.callSoonThreadSafe")
        do throws(LoopError) {
            return createConnection(
                addresses: [try Self.unixAddress(path, "createUnixConnection")],
                options: options.connectionOptions, makeProtocol: makeProtocol,
                completion: completion)
        } catch {
            let connecting = LoopConnecting(
                loop: self, options: options.connectionOptions, makeProtocol: makeProtocol,
                completion: completion)
            connecting.begin(failing: error)
            return connecting
        }
    }

    /// Connects to the Unix socket `path`, and serves the connection with the protocol object from
    /// `makeProtocol`.
    ///
    /// As ``createUnixConnection(path:options:makeProtocol:completion:)``.
    ///
    /// - Throws: ``LoopError`` when nobody serves the path; `CancellationError` when the task is
    ///   cancelled, and nothing is open then.
    public func createUnixConnection<Proto: LoopStreamProtocol>(
        path: String, options: LoopUnixConnectionOptions = LoopUnixConnectionOptions(),
        makeProtocol: @escaping () -> Proto
    ) async throws -> (transport: LoopTransport, protocol: Proto) {
        try await createConnection(
            addresses: [Self.unixAddress(path, "createUnixConnection")],
            options: options.connectionOptions, makeProtocol: makeProtocol)
    }

    static func unixAddress(
        _ path: String, _ operation: String
    ) throws(LoopError) -> LoopAddress {
        guard !path.isEmpty else {
            throw LoopError(.invalidArgument, operation: operation, detail: "the path is empty")
        }
        return try LoopAddress(unixPath: path)
    }
}

extension LoopTransport {
    /// The process at the other end of a Unix socket; nil for other connections, or when it is
    /// gone.
    public var peerCredentials: LoopPeerCredentials? { Socket.peerCredentials(of: descriptor) }
}

extension LoopConnection {
    /// The process at the other end of a Unix socket; nil for other connections, when it is gone,
    /// or off the loop's thread.
    public var peerCredentials: LoopPeerCredentials? {
        handle.isOnLoop ? core.look(\.peerCredentials) : nil
    }
}

extension Socket {
    fileprivate static func peerCredentials(of fd: CInt) -> LoopPeerCredentials? {
        var (process, user, group) = (Int32(0), UInt32(0), UInt32(0))
        // Without a process there is no peer: it is no Unix socket, or not connected.
        guard fd >= 0, gyre_peer_credentials(fd, &process, &user, &group) == 0, process > 0 else {
            return nil
        }
        return LoopPeerCredentials(processID: process, userID: user, groupID: group)
    }
}
