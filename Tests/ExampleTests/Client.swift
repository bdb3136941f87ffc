// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

/// A client of a server under test: a blocking socket.
final class Client {
    struct Failure: Error {
        let what: String
        let number = errno
    }

    private let fd: CInt

    /// Takes over a connected socket.
    init(socket: CInt) {
        fd = socket
        setLimit()
    }

    private func setLimit() {
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    /// Connects to `port` of this machine, over TCP or UDP.
    init(port: UInt16, overUDP: Bool = false) throws {
        fd = socket(AF_INET, CInt(overUDP ? SOCK_DGRAM.rawValue : SOCK_STREAM.rawValue), 0)
        setLimit()
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
        let result = withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw Failure(what: "connect") }
    }

    deinit { close(fd) }

    func send(_ text: String) throws {
        guard write(fd, text, text.utf8.count) == text.utf8.count else {
            throw Failure(what: "write")
        }
    }

    /// Ends the sending side.
    func endSending() { shutdown(fd, CInt(SHUT_WR)) }

    /// The next datagram.
    func receiveDatagram() throws -> String {
        var buffer = [UInt8](repeating: 0, count: 2048)
        let received = read(fd, &buffer, buffer.count)
        guard received >= 0 else { throw Failure(what: "read") }
        return String(decoding: buffer[..<received], as: UTF8.self)
    }

    /// Receives as many bytes as `text` has, which must be those.
    func expect(_ text: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        #expect(try receive(text.utf8.count) == text, sourceLocation: sourceLocation)
    }

    /// Receives `count` bytes, or fewer at the end of the stream.
    func receive(_ count: Int) throws -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: count)
        while bytes.count < count {
            let received = read(fd, &buffer, count - bytes.count)
            guard received >= 0 else { throw Failure(what: "read") }
            if received == 0 { break }
            bytes += buffer[..<received]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
