// SPDX-License-Identifier: Apache-2.0

public import GyreCore

extension Loop {
    // MARK: Servers

    /// Listens at a numeric address, or at every interface when `host` is nil, and serves each
    /// connection with a protocol object from `makeProtocol`.
    ///
    /// Takes no thread and no waiting. For host names use
    /// ``Loop/createServer(hosts:port:options:makeProtocol:completion:)``. Port 0 picks a
    /// free one, see ``LoopServer/addresses``; with several addresses each picks its own.
    ///
    /// - Throws: ``LoopError``: the address is in use or not of this machine, `host` is no
    ///   number, a limit is reached. Nothing stays open then.
    public func createServer(
        host: String?, port: Int, options: LoopServerOptions = LoopServerOptions(),
        makeProtocol: @escaping () -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopServer {
        checkThread("createServer", instead: "handle.callSoonThreadSafe")
        let query = Resolver.Query(
            host: host, port: port, isPassive: true, family: options.family)
        guard let addresses = try Resolver.resolveNumeric(query) else {
            throw LoopError(
                .nameNotResolved, operation: "createServer",
                detail: "\(host ?? "*") is no numeric address; names need the completion form")
        }
        return try makeServer(addresses, options, makeProtocol)
    }

    /// Listens at `addresses`, each with its port; one that repeats is listened at once.
    ///
    /// - Throws: ``LoopError``: an address is in use or not of this machine, a limit is reached.
    ///   Nothing stays open then.
    public func createServer(
        addresses: [LoopAddress], options: LoopServerOptions = LoopServerOptions(),
        makeProtocol: @escaping () -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopServer {
        checkThread("createServer", instead: "handle.callSoonThreadSafe")
        return try makeServer(addresses, options, makeProtocol)
    }

    /// Serves with a socket that is bound already, as a service manager hands it over.
    ///
    /// The server takes the socket over and closes it. Of the options, those that are set before a
    /// socket is bound do not matter.
    ///
    /// - Throws: ``LoopError``: `descriptor` is no such socket, which stays the caller's then.
    public func createServer(
        descriptor: Int32, options: LoopServerOptions = LoopServerOptions(),
        makeProtocol: @escaping () -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopServer {
        checkThread("createServer", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { throw LoopError(.closed, operation: "createServer") }
        let server = try LoopServer(
            loop: self, adopting: descriptor, options: options, makeProtocol: makeProtocol)
        return try started(server, options)
    }

    /// Listens at several hosts, which may be names.
    ///
    /// A host that is named twice is listened at once; an empty list is every interface.
    ///
    /// Names are looked up on another thread. `completion` is called on the loop's thread, in a
    /// later iteration; when one address cannot be bound, none is.
    public func createServer(
        hosts: [String], port: Int, options: LoopServerOptions = LoopServerOptions(),
        makeProtocol: @escaping () -> any LoopStreamProtocol,
        completion: @escaping (Result<LoopServer, LoopError>) -> Void
    ) {
        _ = beginServer(hosts, port, options.family, completion) {
            [self] addresses throws(LoopError) in
            try makeServer(addresses, options, makeProtocol)
        }
    }

    /// Listens at several hosts, which may be names.
    ///
    /// As ``createServer(hosts:port:options:makeProtocol:completion:)``.
    ///
    /// - Throws: ``LoopError``, as the form with one host; `CancellationError` when the task is
    ///   cancelled, and nothing listens then.
    public func createServer(
        hosts: [String], port: Int, options: LoopServerOptions = LoopServerOptions(),
        makeProtocol: @escaping () -> any LoopStreamProtocol
    ) async throws -> LoopServer {
        try await completion(
            { done in
                let lookUps = beginServer(hosts, port, options.family, done) {
                    [self] addresses throws(LoopError) in
                    try makeServer(addresses, options, makeProtocol)
                }
                return { lookUps.cancel() }
            }, drop: { $0.close() })
    }

    /// Looks `hosts` up, and hands `completion` the server that `make` makes for the addresses.
    func beginServer(
        _ hosts: [String], _ port: Int, _ family: LoopAddressInfo.Family,
        _ completion: @escaping (Result<LoopServer, LoopError>) -> Void,
        make: @escaping ([LoopAddress]) throws(LoopError) -> LoopServer
    ) -> LookUps {
        checkThread("createServer", instead: "handle.callSoonThreadSafe")
        let queries = (hosts.isEmpty ? [""] : hosts).map {
            Resolver.Query(host: $0, port: port, isPassive: true, family: family)
        }
        let lookUps = LookUps(queries, on: self) { [self] result in
            let server = result.flatMap { found in
                Result { () throws(LoopError) in try make(found.flatMap { $0 }) }
            }
            callSoon { completion(server) }
        }
        lookUps.begin()
        return lookUps
    }

    private func makeServer(
        _ addresses: [LoopAddress], _ options: LoopServerOptions,
        _ makeProtocol: @escaping () -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopServer {
        guard !isClosed else { throw LoopError(.closed, operation: "createServer") }
        let server = try LoopServer(
            loop: self, addresses: addresses, options: options, makeProtocol: makeProtocol)
        return try started(server, options)
    }

    func started(
        _ server: LoopServer, _ options: LoopServerOptions
    ) throws(LoopError) -> LoopServer {
        guard options.startsServing else { return server }
        do throws(LoopError) {
            try server.start()
        } catch {
            server.close()
            throw error
        }
        return server
    }

    // MARK: Clients

    /// Connects to `host`, a number or a name, and serves the connection with the protocol object
    /// from `makeProtocol`.
    ///
    /// The addresses of a name are tried as RFC 8305 says, see
    /// ``LoopConnectionOptions/happyEyeballsDelay``. `completion` is called on the loop's thread,
    /// in a later iteration, after ``LoopStreamProtocol/connectionMade(_:)`` has returned. When
    /// every address failed, its error has that of each in ``LoopError/causes``.
    ///
    /// - Returns: A handle with which it can be cancelled.
    @discardableResult
    public func createConnection(
        host: String, port: Int, options: LoopConnectionOptions = LoopConnectionOptions(),
        makeProtocol: @escaping () -> any LoopStreamProtocol,
        completion: @escaping (LoopConnecting.Outcome) -> Void = { _ in }
    ) -> LoopConnecting {
        beginConnection(.host(host, port: port), options, makeProtocol, completion)
    }

    /// Connects to one of `addresses`, and serves the connection with the protocol object from
    /// `makeProtocol`.
    ///
    /// As ``createConnection(host:port:options:makeProtocol:completion:)``.
    @discardableResult
    public func createConnection(
        addresses: [LoopAddress], options: LoopConnectionOptions = LoopConnectionOptions(),
        makeProtocol: @escaping () -> any LoopStreamProtocol,
        completion: @escaping (LoopConnecting.Outcome) -> Void = { _ in }
    ) -> LoopConnecting {
        beginConnection(.addresses(addresses), options, makeProtocol, completion)
    }

    private func beginConnection(
        _ target: LoopConnecting.Target, _ options: LoopConnectionOptions,
        _ makeProtocol: @escaping () -> any LoopStreamProtocol,
        _ completion: @escaping (LoopConnecting.Outcome) -> Void
    ) -> LoopConnecting {
        checkThread("createConnection", instead: "handle.callSoonThreadSafe")
        let connecting = LoopConnecting(
            loop: self, options: options, makeProtocol: makeProtocol, completion: completion)
        connecting.begin(target)
        return connecting
    }

    /// Connects to `host`, a number or a name, and serves the connection with the protocol object
    /// from `makeProtocol`.
    ///
    /// As ``createConnection(host:port:options:makeProtocol:completion:)``.
    ///
    /// - Throws: ``LoopError`` when no address could be connected to; `CancellationError` when the
    ///   task is cancelled, and nothing is open then.
    public func createConnection<Proto: LoopStreamProtocol>(
        host: String, port: Int, options: LoopConnectionOptions = LoopConnectionOptions(),
        makeProtocol: @escaping () -> Proto
    ) async throws -> (transport: LoopTransport, protocol: Proto) {
        try await connection(.host(host, port: port), options, makeProtocol)
    }

    /// Connects to one of `addresses`, and serves the connection with the protocol object from
    /// `makeProtocol`.
    ///
    /// As ``createConnection(host:port:options:makeProtocol:)``.
    public func createConnection<Proto: LoopStreamProtocol>(
        addresses: [LoopAddress], options: LoopConnectionOptions = LoopConnectionOptions(),
        makeProtocol: @escaping () -> Proto
    ) async throws -> (transport: LoopTransport, protocol: Proto) {
        try await connection(.addresses(addresses), options, makeProtocol)
    }

    private func connection<Proto: LoopStreamProtocol>(
        _ target: LoopConnecting.Target, _ options: LoopConnectionOptions,
        _ makeProtocol: @escaping () -> Proto
    ) async throws -> (transport: LoopTransport, protocol: Proto) {
        var made: Proto?
        let transport = try await completion(
            { done in
                let connecting = beginConnection(
                    target, options,
                    {
                        let proto = makeProtocol()
                        made = proto
                        return proto
                    }, done)
                return { connecting.cancel() }
            }, drop: { $0.abort() })
        guard let made else { throw CancellationError() }
        return (transport, made)
    }
}
