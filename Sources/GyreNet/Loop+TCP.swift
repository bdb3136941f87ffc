// SPDX-License-Identifier: Apache-2.0

public import GyreCore

extension Loop {
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
        guard !isClosed else { throw LoopError(.closed, operation: "createServer") }
        let query = Resolver.Query(host: host, port: port, isPassive: true)
        guard let addresses = try Resolver.resolveNumeric(query) else {
            throw LoopError(
                .nameNotResolved, operation: "createServer",
                detail: "\(host ?? "*") is no numeric address; names need the completion form")
        }
        return try makeServer(addresses, options, makeProtocol)
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
        checkThread("createServer", instead: "handle.callSoonThreadSafe")
        let queries = (hosts.isEmpty ? [""] : hosts).map {
            Resolver.Query(host: $0, port: port, isPassive: true)
        }
        resolveAll(queries[...], found: []) { [self] result in
            let server = result.flatMap { addresses in
                Result { () throws(LoopError) in
                    guard !isClosed else { throw LoopError(.closed, operation: "createServer") }
                    return try makeServer(addresses, options, makeProtocol)
                }
            }
            callSoon { completion(server) }
        }
    }

    /// Connects to `host`, a number or a name, and serves the connection with the protocol object
    /// from `makeProtocol`.
    ///
    /// The addresses of a name are tried in order. `completion` is called on the loop's thread, in
    /// a later iteration, after ``LoopStreamProtocol/connectionMade(_:)`` has returned.
    ///
    /// - Returns: A handle with which it can be cancelled.
    @discardableResult
    public func createConnection(
        host: String, port: Int, options: LoopConnectionOptions = LoopConnectionOptions(),
        makeProtocol: @escaping () -> any LoopStreamProtocol,
        completion: @escaping (LoopConnecting.Outcome) -> Void = { _ in }
    ) -> LoopConnecting {
        checkThread("createConnection", instead: "handle.callSoonThreadSafe")
        let connecting = LoopConnecting(
            loop: self, options: options, makeProtocol: makeProtocol, completion: completion)
        connecting.begin(Resolver.Query(host: host, port: port, isPassive: false))
        return connecting
    }

    private func makeServer(
        _ addresses: [LoopAddress], _ options: LoopServerOptions,
        _ makeProtocol: @escaping () -> any LoopStreamProtocol
    ) throws(LoopError) -> LoopServer {
        let server = try LoopServer(
            loop: self, addresses: addresses, options: options, makeProtocol: makeProtocol)
        guard options.startsServing else { return server }
        do throws(LoopError) {
            try server.start()
        } catch {
            server.close()
            throw error
        }
        return server
    }

    /// Resolves one after the other; most lists have one entry.
    private func resolveAll(
        _ queries: ArraySlice<Resolver.Query>, found: [LoopAddress],
        then: @escaping (Result<[LoopAddress], LoopError>) -> Void
    ) {
        guard let query = queries.first else { return then(.success(found)) }
        let next: (Result<[LoopAddress], LoopError>) -> Void = { [self] result in
            switch result {
            case .success(let addresses):
                let fresh = addresses.filter { !found.contains($0) }
                resolveAll(queries.dropFirst(), found: found + fresh, then: then)
            case .failure(let error): then(.failure(error))
            }
        }
        do throws(LoopError) {
            if let addresses = try Resolver.resolveNumeric(query) {
                next(.success(addresses))
            } else {
                _ = try Resolver.resolve(query, on: self, then: next)
            }
        } catch {
            then(.failure(error))
        }
    }
}
