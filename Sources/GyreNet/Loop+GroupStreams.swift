// SPDX-License-Identifier: Apache-2.0

public import GyreCore

extension Loop {
    /// Listens as ``startServer(host:port:limit:options:handler:)``, and runs `handler` for each
    /// connection in a task on a loop of `group`.
    ///
    /// The server itself belongs to this loop. An error that a handler throws is reported to the
    /// exception handler of its loop.
    ///
    /// - Throws: ``LoopError`` when the address cannot be had; `CancellationError` when the task is
    ///   cancelled meanwhile, and then nothing listens.
    /// - Important: In tasks of this loop only.
    public func startServer(
        host: String?, port: Int, limit: Int = LoopStreamReader.defaultLimit,
        options: LoopServerOptions = LoopServerOptions(), group: LoopGroup,
        handler: @escaping LoopStreamHandler
    ) async throws -> LoopServer {
        try await startServer(
            hosts: host.map { [$0] } ?? [], port: port, limit: limit, options: options,
            group: group, handler: handler)
    }

    /// Listens at several hosts, which may be names, as
    /// ``startServer(host:port:limit:options:group:handler:)``.
    public func startServer(
        hosts: [String], port: Int, limit: Int = LoopStreamReader.defaultLimit,
        options: LoopServerOptions = LoopServerOptions(), group: LoopGroup,
        handler: @escaping LoopStreamHandler
    ) async throws -> LoopServer {
        try await createServer(
            hosts: hosts, port: port, options: options, group: group,
            makeProtocol: try servingGroup(limit: limit, handler))
    }

    /// Listens at `addresses`, as ``startServer(host:port:limit:options:group:handler:)``.
    public func startServer(
        addresses: [LoopAddress], limit: Int = LoopStreamReader.defaultLimit,
        options: LoopServerOptions = LoopServerOptions(), group: LoopGroup,
        handler: @escaping LoopStreamHandler
    ) throws(LoopError) -> LoopServer {
        try createServer(
            addresses: addresses, options: options, group: group,
            makeProtocol: try servingGroup(limit: limit, handler))
    }

    /// Serves with a socket that is bound already, as
    /// ``startServer(host:port:limit:options:group:handler:)``.
    ///
    /// The server takes the socket over and closes it.
    public func startServer(
        descriptor: Int32, limit: Int = LoopStreamReader.defaultLimit,
        options: LoopServerOptions = LoopServerOptions(), group: LoopGroup,
        handler: @escaping LoopStreamHandler
    ) throws(LoopError) -> LoopServer {
        try createServer(
            descriptor: descriptor, options: options, group: group,
            makeProtocol: try servingGroup(limit: limit, handler))
    }

    /// Listens at the Unix socket `path`, as ``startUnixServer(path:limit:options:handler:)``, and
    /// runs `handler` for each connection in a task on a loop of `group`.
    public func startUnixServer(
        path: String, limit: Int = LoopStreamReader.defaultLimit,
        options: LoopUnixServerOptions = LoopUnixServerOptions(), group: LoopGroup,
        handler: @escaping LoopStreamHandler
    ) throws(LoopError) -> LoopServer {
        try createUnixServer(
            path: path, options: options, group: group,
            makeProtocol: try servingGroup(limit: limit, handler))
    }
}
