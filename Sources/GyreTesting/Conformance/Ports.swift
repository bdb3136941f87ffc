// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreNet

// Ports at which connecting does not simply succeed.

/// A port at which nobody listens, and at which nobody will: it stays bound.
final class ClosedPort {
    let fd: CInt
    let number: Int

    init() throws {
        fd = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        number = try boundPort(of: fd)
    }

    deinit { close(fd) }
}

/// A port at which connections are neither accepted nor refused: its queue is full.
final class FullPort {
    let listener: CInt
    let number: Int
    private var fillers: [CInt] = []

    init() throws {
        listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        number = try boundPort(of: listener)
        try expect(listen(listener, 0), equals: 0, "listen")
        // The kernel takes one more than it was told, and drops what comes then.
        let kind = CInt(
            SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        for _ in 0..<8 {
            let fd = socket(AF_INET, kind, 0)
            _ = RawPeer.connect(fd, port: number)
            fillers.append(fd)
        }
    }

    deinit {
        for fd in fillers { close(fd) }
        close(listener)
    }
}

/// A port at which nobody is, at any address of IPv4.
///
/// From below those that the kernel hands out, to whoever runs beside this test as well.
func freePort() throws -> Int {
    while true {
        let number = UInt16.random(in: 20_000..<32_000)
        let fd = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(fd) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = number.bigEndian
        // SAFETY: a sockaddr_in is a socket address, by its definition.
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if result == 0 { return Int(number) }
        try expect(errno, equals: EADDRINUSE, "bind")
    }
}

/// Binds `fd` to a free port of 127.0.0.1.
func boundPort(of fd: CInt) throws -> Int {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    // SAFETY: a sockaddr_in is a socket address, by its definition.
    let result = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(fd, $0, length) == 0 ? getsockname(fd, $0, &length) : -1
        }
    }
    try expect(result, equals: 0, "bind")
    return Int(UInt16(bigEndian: address.sin_port))
}
