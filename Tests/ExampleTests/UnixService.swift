// SPDX-License-Identifier: Apache-2.0

import Foundation

/// A service at a Unix socket, with blocking calls.
final class UnixService {
    let path = FileManager.default.temporaryDirectory
        .appending(path: "gyre-service-\(UUID().uuidString.prefix(8)).sock").path()
    private let listener: CInt

    init() throws {
        listener = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(
            listener, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
        let result = withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0, listen(listener, 5) == 0 else { throw Client.Failure(what: "listen") }
    }

    deinit {
        close(listener)
        unlink(path)
    }

    /// The next client.
    func accept() throws -> Client {
        let fd = Glibc.accept(listener, nil, nil)
        guard fd >= 0 else { throw Client.Failure(what: "accept") }
        return Client(socket: fd)
    }
}
