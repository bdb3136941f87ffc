// SPDX-License-Identifier: Apache-2.0

public import GyreCore

// Servers whose connections are served by the loops of a group. They belong to the loop that makes
// them, with their connections on all loops: these are counted, closed and awaited there.

extension Loop {
    /// Listens as ``createServer(host:port:options:makeProtocol:)``, and serves each connection on
    /// a loop of `group`, with a protocol object that `makeProtocol` makes there.
    ///
    /// The server itself belongs to this loop, with its connections on all loops: they are counted,
    /// closed and awaited here.
    public func createServer(
        host: String?, port: Int, options: LoopServerOptions = LoopServerOptions(),
        group: LoopGroup,
        makeProtocol: @escaping @Sendable (Loop) -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopServer {
        checkThread("createServer", instead: "handle.callSoonThreadSafe")
        let query = Resolver.Query(
            host: host, port: port, isPassive: true, family: options.family)
        guard let addresses = try Resolver.resolveNumeric(query) else {
            throw LoopError(
                .nameNotResolved, operation: "createServer",
                detail: "\(host ?? "*") is no numeric address; names need the completion form")
        }
        return try createServer(
            addresses: addresses, options: options, group: group, makeProtocol: makeProtocol)
    }

    /// Listens as ``createServer(addresses:options:makeProtocol:)``, and serves each connection on
    /// a loop of `group`.
    ///
    /// See ``createServer(host:port:options:group:makeProtocol:)``.
    public func createServer(
        addresses: [LoopAddress], options: LoopServerOptions = LoopServerOptions(),
        group: LoopGroup,
        makeProtocol: @escaping @Sendable (Loop) -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopServer {
        try sharing(with: group, options, makeProtocol) { options, proto throws(LoopError) in
            try createServer(addresses: addresses, options: options, makeProtocol: proto)
        }
    }

    /// Listens with a socket that is bound already, as
    /// ``createServer(descriptor:options:makeProtocol:)``, and serves each connection on a loop of
    /// `group`.
    ///
    /// See ``createServer(host:port:options:group:makeProtocol:)``.
    public func createServer(
        descriptor: Int32, options: LoopServerOptions = LoopServerOptions(), group: LoopGroup,
        makeProtocol: @escaping @Sendable (Loop) -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopServer {
        try sharing(with: group, options, makeProtocol) { options, proto throws(LoopError) in
            try createServer(descriptor: descriptor, options: options, makeProtocol: proto)
        }
    }

    /// Listens at several hosts, which may be names, as
    /// ``createServer(hosts:port:options:makeProtocol:completion:)``, and serves each connection on
    /// a loop of `group`.
    ///
    /// See ``createServer(host:port:options:group:makeProtocol:)``.
    public func createServer(
        hosts: [String], port: Int, options: LoopServerOptions = LoopServerOptions(),
        group: LoopGroup,
        makeProtocol: @escaping @Sendable (Loop) -> any LoopStreamProtocol,
        completion: @escaping (Result<LoopServer, LoopError>) -> Void
    ) {
        _ = beginServer(hosts, port, options.family, completion) {
            [self] addresses throws(LoopError) in
            try createServer(
                addresses: addresses, options: options, group: group, makeProtocol: makeProtocol)
        }
    }

    /// Listens at several hosts, which may be names, as
    /// ``createServer(hosts:port:options:makeProtocol:)``, and serves each connection on a loop of
    /// `group`.
    ///
    /// See ``createServer(host:port:options:group:makeProtocol:)``.
    ///
    /// - Throws: ``LoopError`` when an address cannot be had; `CancellationError` when the task is
    ///   cancelled, and nothing listens then.
    public func createServer(
        hosts: [String], port: Int, options: LoopServerOptions = LoopServerOptions(),
        group: LoopGroup,
        makeProtocol: @escaping @Sendable (Loop) -> any LoopStreamProtocol
    ) async throws -> LoopServer {
        try await completion(
            { done in
                let lookUps = beginServer(hosts, port, options.family, done) {
                    [self] addresses throws(LoopError) in
                    try createServer(
                        addresses: addresses, options: options, group: group,
                        makeProtocol: makeProtocol)
                }
                return { lookUps.cancel() }
            }, drop: { $0.close() })
    }

    /// Listens at the Unix socket `path`, as ``createUnixServer(path:options:makeProtocol:)``, and
    /// serves each connection on a loop of `group`.
    ///
    /// See ``createServer(host:port:options:group:makeProtocol:)``.
    public func createUnixServer(
        path: String, options: LoopUnixServerOptions = LoopUnixServerOptions(), group: LoopGroup,
        makeProtocol: @escaping @Sendable (Loop) -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopServer {
        checkThread("createUnixServer", instead: "handle.callSoonThreadSafe")
        return try createServer(
            addresses: [Self.unixAddress(path, "createUnixServer")],
            options: options.serverOptions, group: group, makeProtocol: makeProtocol)
    }

    private func sharing(
        with group: LoopGroup, _ options: LoopServerOptions,
        _ makeProtocol: @escaping @Sendable (Loop) -> any LoopStreamProtocol,
        make: (
            LoopServerOptions, @escaping () -> any LoopStreamProtocol
        ) throws(LoopError) -> LoopServer
    ) throws(LoopError) -> LoopServer {
        // No connection may come before it is known who serves it.
        var bound = options
        bound.startsServing = false
        let server = try make(bound) {
            preconditionFailure("the loops of the group make the protocol objects")
        }
        server.share(with: group, makeProtocol)
        return try started(server, options)
    }
}
