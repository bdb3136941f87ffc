// SPDX-License-Identifier: Apache-2.0

public import GyreCore

extension Loop {
    // MARK: Names to addresses

    /// The addresses of `host`, a number or a name, and `port`; asyncio's `getaddrinfo`.
    ///
    /// Without a host they are those of this machine. A number takes no thread, and keeps the scope
    /// it has, as in `fe80::1%eth0`. Names are looked up on a few threads that do nothing else.
    /// `completion` is called on the loop's thread, in a later iteration.
    ///
    /// - Returns: A handle with which it can be cancelled.
    @discardableResult
    public func getAddressInfo(
        host: String?, port: Int = 0, hints: LoopAddressInfo.Hints = LoopAddressInfo.Hints(),
        completion: @escaping (Result<[LoopAddressInfo], LoopError>) -> Void
    ) -> LoopLookUp {
        lookUp(Resolver.Query(host: host, port: port, hints: hints), completion)
    }

    /// The addresses of `host` and `service`, such as `http` or `443`.
    ///
    /// See ``getAddressInfo(host:port:hints:completion:)``. The name of a service is looked up on
    /// another thread, too.
    @discardableResult
    public func getAddressInfo(
        host: String?, service: String, hints: LoopAddressInfo.Hints = LoopAddressInfo.Hints(),
        completion: @escaping (Result<[LoopAddressInfo], LoopError>) -> Void
    ) -> LoopLookUp {
        lookUp(Resolver.Query(host: host, service: service, hints: hints), completion)
    }

    /// The addresses of `host`, a number or a name, and `port`; asyncio's `getaddrinfo`.
    ///
    /// As ``getAddressInfo(host:port:hints:completion:)``. Cancelling the task that waits forgets
    /// the look-up.
    ///
    /// - Throws: ``LoopError/Code/nameNotResolved``; another ``LoopError`` when the hints or the
    ///   port make no sense; `CancellationError` when the task is cancelled.
    public func getAddressInfo(
        host: String?, port: Int = 0, hints: LoopAddressInfo.Hints = LoopAddressInfo.Hints()
    ) async throws -> [LoopAddressInfo] {
        try await completion(
            { done in
                let lookUp = getAddressInfo(host: host, port: port, hints: hints, completion: done)
                return { lookUp.cancel() }
            })
    }

    /// The addresses of `host` and `service`, such as `http` or `443`.
    ///
    /// See ``getAddressInfo(host:port:hints:)``.
    public func getAddressInfo(
        host: String?, service: String, hints: LoopAddressInfo.Hints = LoopAddressInfo.Hints()
    ) async throws -> [LoopAddressInfo] {
        try await completion(
            { done in
                let lookUp = getAddressInfo(
                    host: host, service: service, hints: hints, completion: done)
                return { lookUp.cancel() }
            })
    }

    private func lookUp(
        _ query: Resolver.Query,
        _ completion: @escaping (Result<[LoopAddressInfo], LoopError>) -> Void
    ) -> LoopLookUp {
        checkThread("getAddressInfo", instead: "handle.callSoonThreadSafe")
        var numeric: Result<[LoopAddressInfo], LoopError>?
        do throws(LoopError) {
            numeric = try Resolver.numericEntries(query).map { .success($0) }
        } catch {
            numeric = .failure(error)
        }
        return LoopLookUp(
            on: self, numeric: numeric,
            start: { then throws(LoopError) in
                try Resolver.entries(query, on: self, then: then)
            }, completion: completion)
    }

    // MARK: Addresses to names

    /// The names of the host and the service of `address`; asyncio's `getnameinfo`.
    ///
    /// With the flags ``LoopNameInfo/Flags/numericHost`` and
    /// ``LoopNameInfo/Flags/numericService`` it takes no thread. `completion` is called on the
    /// loop's thread, in a later iteration.
    ///
    /// - Returns: A handle with which it can be cancelled.
    @discardableResult
    public func getNameInfo(
        _ address: LoopAddress, flags: LoopNameInfo.Flags = [],
        completion: @escaping (Result<LoopNameInfo, LoopError>) -> Void
    ) -> LoopLookUp {
        checkThread("getNameInfo", instead: "handle.callSoonThreadSafe")
        return LoopLookUp(
            on: self, numeric: Resolver.numericNames(of: address, flags),
            start: { then throws(LoopError) in
                try Resolver.names(of: address, flags, on: self, then: then)
            }, completion: completion)
    }

    /// The names of the host and the service of `address`; asyncio's `getnameinfo`.
    ///
    /// As ``getNameInfo(_:flags:completion:)``. Cancelling the task that waits forgets the look-up.
    ///
    /// - Throws: ``LoopError/Code/nameNotResolved`` when there is no name and one is required;
    ///   `CancellationError` when the task is cancelled.
    public func getNameInfo(
        _ address: LoopAddress, flags: LoopNameInfo.Flags = []
    ) async throws -> LoopNameInfo {
        try await completion(
            { done in
                let lookUp = getNameInfo(address, flags: flags, completion: done)
                return { lookUp.cancel() }
            })
    }
}
