// SPDX-License-Identifier: Apache-2.0

package import Glibc
public import GyreCore

/// The address of a socket: an IPv4 or IPv6 address and a port, or the name of a Unix socket.
public struct LoopAddress: Sendable {
    package private(set) var storage: sockaddr_storage
    package let length: socklen_t

    package init(storage: sockaddr_storage, length: socklen_t) {
        self.storage = storage
        self.length = length
    }

    package init?(_ pointer: UnsafePointer<sockaddr>?, length: socklen_t) {
        guard let pointer, length <= MemoryLayout<sockaddr_storage>.size else { return nil }
        var storage = sockaddr_storage()
        // SAFETY: the kernel or getaddrinfo gave `length` bytes there, and they fit.
        withUnsafeMutableBytes(of: &storage) {
            $0.copyMemory(from: UnsafeRawBufferPointer(start: pointer, count: Int(length)))
        }
        self.init(storage: storage, length: length)
    }

    /// The address of `host`, a number, and `port`.
    ///
    /// Without a host it is that of every interface, for binding.
    ///
    /// - Throws: ``LoopError/Code/nameNotResolved`` when `host` is no number,
    ///   ``LoopError/Code/invalidArgument`` when `port` is none.
    public init(host: String?, port: Int) throws(LoopError) {
        let query = Resolver.Query(host: host, port: port, isPassive: host == nil)
        guard let address = try Resolver.resolveNumeric(query)?.first else {
            throw LoopError(
                .nameNotResolved, operation: "address",
                detail: "\(host ?? "*") is no numeric address")
        }
        self = address
    }

    /// The address that the socket `fd` is bound to; nil when it is none, or not open.
    public init?(localAddressOf fd: CInt) {
        guard let address = Socket.localAddress(of: fd) else { return nil }
        self = address
    }

    /// The address of the peer of the socket `fd`; nil when it is not connected.
    public init?(peerAddressOf fd: CInt) {
        guard let address = Socket.peerAddress(of: fd) else { return nil }
        self = address
    }

    package var family: CInt { CInt(storage.ss_family) }

    /// The host as a number, `127.0.0.1` or `::1`, with the scope where there is one; empty for a
    /// Unix socket.
    public var host: String { isUnix ? "" : names().host }

    /// The port; 0 for a Unix socket.
    public var port: Int { isUnix ? 0 : Int(names().port) ?? 0 }

    package func withSocketAddress<Result>(
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        // SAFETY: a sockaddr_storage holds any kind of socket address, by its definition.
        withUnsafePointer(to: storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }

    /// Makes a call that says the address of a peer, which is nil when it has none.
    static func receiving(
        into address: inout LoopAddress?,
        _ call: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int
    ) -> Int {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        // SAFETY: a sockaddr_storage holds any kind of socket address, by its definition.
        let result = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { call($0, &length) }
        }
        let hasName = result >= 0 && Int(length) > MemoryLayout<sa_family_t>.size
        address = hasName ? LoopAddress(storage: storage, length: length) : nil
        return result
    }

    private func names() -> (host: String, port: String) {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1056) { buffer in
            let host = UnsafeMutableBufferPointer(rebasing: buffer[..<1024])
            let port = UnsafeMutableBufferPointer(rebasing: buffer[1024...])
            let result = withSocketAddress { address, length in
                getnameinfo(
                    address, length, host.baseAddress, socklen_t(host.count), port.baseAddress,
                    socklen_t(port.count), NI_NUMERICHOST | NI_NUMERICSERV)
            }
            guard result == 0, let host = host.baseAddress, let port = port.baseAddress else {
                return ("", "")
            }
            return (String(cString: host), String(cString: port))
        }
    }
}

extension LoopAddress: Hashable, CustomStringConvertible {
    /// Whether host, scope and port are the same, or the name of the Unix socket.
    public static func == (left: LoopAddress, right: LoopAddress) -> Bool {
        guard left.family == right.family else { return false }
        guard left.length == right.length || !left.isUnix else { return false }
        return left.withSignificantBytes { leftBytes in
            right.withSignificantBytes { leftBytes.elementsEqual($0) }
        }
    }

    /// Feeds host and port, or the name of the Unix socket, into `hasher`.
    public func hash(into hasher: inout Hasher) {
        withSignificantBytes { hasher.combine(bytes: $0) }
    }

    // SAFETY: the members of the structures lie inside the storage, and the pointer ends with the
    // call.
    /// What tells addresses of one family apart.
    private func withSignificantBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result
    {
        withUnsafeBytes(of: storage) { bytes in
            switch family {
            // Port and address; what follows is padding.
            case AF_INET: body(UnsafeRawBufferPointer(rebasing: bytes[2..<8]))
            case AF_INET6: withSignificantBytesOfIPv6(bytes, body)
            default: body(UnsafeRawBufferPointer(rebasing: bytes[..<Int(length)]))
            }
        }
    }

    /// The flow label, bytes 4 to 7, is no part of the name.
    private func withSignificantBytesOfIPv6<Result>(
        _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        var copy = storage
        return withUnsafeMutableBytes(of: &copy) { copy in
            for index in 4..<8 { copy[index] = 0 }
            return body(UnsafeRawBufferPointer(rebasing: copy[2..<28]))
        }
    }

    /// `127.0.0.1:80` or `[::1]:80`; for a Unix socket its path, `@` and its abstract name, or
    /// `unnamed`.
    public var description: String {
        if isUnix { return unixDescription }
        let (host, port) = names()
        return family == AF_INET6 ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
