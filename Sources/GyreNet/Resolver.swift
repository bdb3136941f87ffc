// SPDX-License-Identifier: Apache-2.0

import Glibc
package import GyreCore

/// Names to addresses, by `getaddrinfo`.
///
/// Look-ups block, so they run on threads of their own, never shared with other work: a slow name
/// server delays nobody else. Numeric hosts are converted on the spot and take no thread.
package enum Resolver {
    /// As many as libuv has.
    ///
    /// A look-up waits for the network, not for a core.
    private static let pool = BlockingPool(threadsMax: 4)

    package struct Query: Sendable {
        package let host: String?
        package let port: Int
        /// For binding: no host means every interface instead of this machine.
        package let isPassive: Bool

        package init(host: String?, port: Int, isPassive: Bool) {
            self.host = host == "" ? nil : host
            self.port = port
            self.isPassive = isPassive
        }
    }

    /// The addresses, when they take no look-up: a numeric host, or none.
    ///
    /// Nil for a name.
    package static func resolveNumeric(_ query: Query) throws(LoopError) -> [LoopAddress]? {
        guard (0...65535).contains(query.port) else {
            throw LoopError(
                .invalidArgument, operation: "getaddrinfo",
                detail: "\(query.port) is not a port between 0 and 65535")
        }
        switch lookUp(query, flags: AI_NUMERICHOST) {
        case .success(let addresses): return addresses
        case .failure(let error):
            guard query.host != nil, error.code == .nameNotResolved else { throw error }
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
        try loop.runBlocking(on: pool, { lookUp(query, flags: 0) }, then: then)
    }

    private static func lookUp(
        _ query: Query, flags: CInt
    ) -> Result<[LoopAddress], LoopError> {
        var hints = addrinfo()
        hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        hints.ai_flags = flags | AI_NUMERICSERV | (query.isPassive ? AI_PASSIVE : 0)
        var list: UnsafeMutablePointer<addrinfo>?
        let error = getaddrinfo(query.host, String(query.port), &hints, &list)
        guard error == 0 else { return .failure(failure(error, errno, query)) }
        defer { freeaddrinfo(list) }
        // SAFETY: a list made by getaddrinfo, read until its end and not after it is freed.
        var addresses: [LoopAddress] = []
        var next = list
        while let entry = next?.pointee {
            if let address = LoopAddress(entry.ai_addr, length: entry.ai_addrlen),
                !addresses.contains(address)
            {
                addresses.append(address)
            }
            next = entry.ai_next
        }
        return .success(addresses)
    }

    private static func failure(_ error: CInt, _ number: CInt, _ query: Query) -> LoopError {
        let host = query.host ?? "*"
        if error == EAI_SYSTEM {
            return LoopError(errno: number, operation: "getaddrinfo", detail: host)
        }
        let text = gai_strerror(error).map { String(cString: $0) } ?? "error \(error)"
        let code: LoopError.Code = error == EAI_MEMORY ? .noMemory : .nameNotResolved
        return LoopError(code, operation: "getaddrinfo", detail: "\(host): \(text)")
    }
}
