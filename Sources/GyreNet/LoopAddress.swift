// SPDX-License-Identifier: Apache-2.0

package import Glibc

/// The address of a socket: an IPv4 or IPv6 address and a port.
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

    package var family: CInt { CInt(storage.ss_family) }

    /// The host as a number, `127.0.0.1` or `::1`, with the scope where there is one.
    public var host: String { names().host }

    /// The port.
    public var port: Int { Int(names().port) ?? 0 }

    package func withSocketAddress<Result>(
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        // SAFETY: a sockaddr_storage holds any kind of socket address, by its definition.
        withUnsafePointer(to: storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
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
    /// Whether host, scope and port are the same.
    public static func == (left: LoopAddress, right: LoopAddress) -> Bool {
        left.description == right.description
    }

    /// Feeds host and port into `hasher`.
    public func hash(into hasher: inout Hasher) { hasher.combine(description) }

    /// `127.0.0.1:80` or `[::1]:80`.
    public var description: String {
        let (host, port) = names()
        return family == AF_INET6 ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
