// SPDX-License-Identifier: Apache-2.0

import Glibc
package import GyreCore

/// Names to addresses and back, by `getaddrinfo` and `getnameinfo`.
///
/// Look-ups block, so they run on threads of their own, never shared with other work: a slow name
/// server delays nobody else. Numeric hosts are converted on the spot and take no thread.
package enum Resolver {
    /// As many as libuv has.
    ///
    /// A look-up waits for the network, not for a core.
    package static let threadsMax = 4
    package static let pool = BlockingPool(threadsMax: threadsMax)

    package struct Query: Sendable {
        package let host: String?
        /// A port number, or the name of a service.
        package let service: String?
        package let hints: LoopAddressInfo.Hints
        /// The port, where it was given as a number that may be out of range.
        private let port: Int?

        /// The addresses of `host` for connections; for binding with `isPassive`: no host means
        /// every interface instead of this machine.
        package init(
            host: String?, port: Int, isPassive: Bool, family: LoopAddressInfo.Family = .any
        ) {
            self.init(
                host: host, port: port,
                hints: LoopAddressInfo.Hints(
                    family: family, kind: .stream, flags: isPassive ? .passive : []))
        }

        package init(host: String?, port: Int, hints: LoopAddressInfo.Hints) {
            self.host = host == "" ? nil : host
            self.port = port
            service = String(port)
            self.hints = hints
        }

        package init(host: String?, service: String, hints: LoopAddressInfo.Hints) {
            self.host = host == "" ? nil : host
            port = nil
            self.service = service
            self.hints = hints
        }

        /// Whether the service takes no look-up.
        var isServiceNumeric: Bool {
            guard let service else { return true }
            return service.utf8.allSatisfy { (48...57).contains($0) }
        }

        func check() throws(LoopError) {
            guard let port, !(0...65535).contains(port) else { return }
            throw LoopError(
                .invalidArgument, operation: "getaddrinfo",
                detail: "\(port) is not a port between 0 and 65535")
        }
    }

    /// The addresses, when they take no look-up: a numeric host, or none.
    ///
    /// Nil for a name.
    package static func resolveNumeric(_ query: Query) throws(LoopError) -> [LoopAddress]? {
        try numericEntries(query).map(addresses)
    }

    /// The entries, when they take no look-up, as ``resolveNumeric(_:)``.
    package static func numericEntries(
        _ query: Query
    ) throws(LoopError) -> [LoopAddressInfo]? {
        try query.check()
        guard query.isServiceNumeric else { return nil }
        switch lookUp(query, flags: AI_NUMERICHOST | AI_NUMERICSERV) {
        case .success(let entries): return entries
        case .failure(let failure):
            // No name has a colon: a scope that does not exist, say. Nobody need be asked.
            guard let host = query.host, !host.contains(":"), failure.number == EAI_NONAME,
                !query.hints.flags.contains(.numericHost)
            else { throw failure.error(query) }
            return nil
        }
    }

    /// Looks `query` up on a thread of the pool and hands the answer to `then` on the loop's
    /// thread.
    ///
    /// - Returns: A token for ``Loop/forget(_:)``.
    package static func resolve(
        _ query: Query, on loop: Loop,
        then: @escaping (Result<[LoopAddress], LoopError>) -> Void
    ) throws(LoopError) -> UInt64 {
        try entries(query, on: loop) { then($0.map(addresses)) }
    }

    /// Looks `query` up, as ``resolve(_:on:then:)``.
    package static func entries(
        _ query: Query, on loop: Loop,
        then: @escaping (Result<[LoopAddressInfo], LoopError>) -> Void
    ) throws(LoopError) -> UInt64 {
        try loop.runBlocking(
            on: pool, { lookUp(query, flags: 0).mapError { $0.error(query) } }, then: then)
    }

    private static func addresses(_ entries: [LoopAddressInfo]) -> [LoopAddress] {
        var addresses: [LoopAddress] = []
        for entry in entries where !addresses.contains(entry.address) {
            addresses.append(entry.address)
        }
        return addresses
    }

    private static func lookUp(
        _ query: Query, flags: CInt
    ) -> Result<[LoopAddressInfo], Failure> {
        var hints = addrinfo()
        hints.ai_family = query.hints.family.rawValue
        hints.ai_socktype = query.hints.kind.rawValue
        hints.ai_protocol = query.hints.protocolNumber
        hints.ai_flags = query.hints.flags.rawValue | flags
        var list: UnsafeMutablePointer<addrinfo>?
        let error = getaddrinfo(query.host, query.service, &hints, &list)
        guard error == 0 else { return .failure(Failure(number: error, errno: errno)) }
        defer { freeaddrinfo(list) }
        // SAFETY: a list made by getaddrinfo, read until its end and not after it is freed.
        var entries: [LoopAddressInfo] = []
        var next = list
        while let entry = next?.pointee {
            if let address = LoopAddress(entry.ai_addr, length: entry.ai_addrlen) {
                entries.append(
                    LoopAddressInfo(
                        family: LoopAddressInfo.Family(rawValue: entry.ai_family),
                        kind: LoopAddressInfo.Kind(rawValue: entry.ai_socktype),
                        protocolNumber: entry.ai_protocol,
                        canonicalName: entry.ai_canonname.map { String(cString: $0) },
                        address: address))
            }
            next = entry.ai_next
        }
        return .success(entries)
    }

    // MARK: Addresses to names

    /// The names, when they take no look-up: both are wanted as numbers.
    package static func numericNames(
        of address: LoopAddress, _ flags: LoopNameInfo.Flags
    ) -> Result<LoopNameInfo, LoopError>? {
        guard flags.isSuperset(of: [.numericHost, .numericService]) else { return nil }
        return names(of: address, flags)
    }

    /// Looks the names of `address` up, as ``resolve(_:on:then:)``.
    package static func names(
        of address: LoopAddress, _ flags: LoopNameInfo.Flags, on loop: Loop,
        then: @escaping (Result<LoopNameInfo, LoopError>) -> Void
    ) throws(LoopError) -> UInt64 {
        try loop.runBlocking(on: pool, { names(of: address, flags) }, then: then)
    }

    private static func names(
        of address: LoopAddress, _ flags: LoopNameInfo.Flags
    ) -> Result<LoopNameInfo, LoopError> {
        var host = [CChar](repeating: 0, count: 1025)
        var service = [CChar](repeating: 0, count: 64)
        let error = address.withSocketAddress { address, length in
            getnameinfo(
                address, length, &host, socklen_t(host.count), &service,
                socklen_t(service.count), flags.rawValue)
        }
        guard error == 0 else {
            let failure = Failure(number: error, errno: errno)
            return .failure(failure.error("getnameinfo", of: address.description))
        }
        return .success(LoopNameInfo(host: text(host), service: text(service)))
    }

    private static func text(_ characters: [CChar]) -> String {
        String(decoding: characters.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// An error of the C library's.
    private struct Failure: Error {
        let number: CInt
        let errno: CInt

        func error(_ query: Query) -> LoopError {
            error("getaddrinfo", of: query.host ?? "*")
        }

        func error(_ operation: String, of subject: String) -> LoopError {
            if number == EAI_SYSTEM {
                return LoopError(errno: errno, operation: operation, detail: subject)
            }
            let text = gai_strerror(number).map { String(cString: $0) } ?? "error \(number)"
            return LoopError(code, operation: operation, detail: "\(subject): \(text)")
        }

        private var code: LoopError.Code {
            switch number {
            case EAI_MEMORY: .noMemory
            case EAI_BADFLAGS, EAI_FAMILY, EAI_SOCKTYPE: .invalidArgument
            default: .nameNotResolved
            }
        }
    }
}
