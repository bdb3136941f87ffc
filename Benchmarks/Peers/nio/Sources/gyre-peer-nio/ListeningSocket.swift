// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

// NIO has no socket option for the congestion control, so the socket is made here, and NIO is given
// it bound.

/// A bound socket whose accepted ones inherit the congestion control, and its port.
func makeListeningSocket(_ options: Options) -> (descriptor: CInt, port: UInt16) {
    let type = CInt(SOCK_STREAM.rawValue)
    let descriptor = socket(AF_INET, type, 0)
    guard descriptor >= 0 else { fail("socket") }
    var on: CInt = 1
    let size = socklen_t(MemoryLayout.size(ofValue: on))
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, size)
    setCongestion(descriptor, options.congestion)

    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = options.port.bigEndian
    guard inet_pton(AF_INET, options.host, &address.sin_addr) == 1 else { usage("bad host") }
    var length = socklen_t(MemoryLayout.size(ofValue: address))
    withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
            guard bind(descriptor, generic, length) == 0 else { fail("bind") }
            guard getsockname(descriptor, generic, &length) == 0 else { fail("getsockname") }
        }
    }
    return (descriptor, UInt16(bigEndian: address.sin_port))
}

/// Sets the named algorithm, or without a name cubic, else reno.
///
/// The pacing of BBR, a frequent default, makes large messages on loopback jump between two rates.
private func setCongestion(_ descriptor: CInt, _ name: String?) {
    func set(_ name: String) -> Bool {
        setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_CONGESTION, name, socklen_t(name.utf8.count))
            == 0
    }
    if let name {
        guard set(name) else { fail("congestion control") }
    } else if !set("cubic") {
        _ = set("reno")
    }
}

func raiseDescriptorLimit() {
    var limit = rlimit()
    #if canImport(Glibc)
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    #else
    let resource = RLIMIT_NOFILE
    #endif
    guard getrlimit(resource, &limit) == 0 else { fail("getrlimit") }
    limit.rlim_cur = limit.rlim_max
    guard setrlimit(resource, &limit) == 0 else { fail("setrlimit") }
}
