// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore

/// The file of a Unix socket that was bound here.
///
/// Binding makes it and closing leaves it, so whoever made it removes it. By then somebody else may
/// have put another in its place, which is told by device and inode.
struct SocketFile {
    private let path: String
    private let device: dev_t
    private let inode: ino_t

    /// Binds `fd` to the Unix socket at `address`.
    ///
    /// A socket file at the path that nobody serves any more is replaced; one that is served, or
    /// a file of another kind, is left alone.
    ///
    /// Returns nil where the name is none of the file system.
    static func bind(_ fd: CInt, to address: LoopAddress) throws(LoopError) -> SocketFile? {
        if isStale(address), let path = address.unixPath { unlink(path) }
        guard address.withSocketAddress({ Glibc.bind(fd, $0, $1) }) == 0 else {
            throw LoopError(
                errno: errno, operation: "bind", detail: reason(errno, address))
        }
        guard let path = address.unixPath, let first = path.utf8.first, first != 0 else {
            return nil
        }
        return SocketFile(path)
    }

    private init?(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        self.path = path
        device = status.st_dev
        inode = status.st_ino
    }

    /// Removes the file, unless it is another by now.
    func remove() {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_dev == device, status.st_ino == inode else {
            return
        }
        unlink(path)
    }

    private static func isSocket(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    }

    /// Whether a socket file without a socket is there: connecting is refused then, whatever kind
    /// the socket had.
    private static func isStale(_ address: LoopAddress) -> Bool {
        guard let path = address.unixPath, path.utf8.first != 0, isSocket(path) else {
            return false
        }
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let probe = socket(AF_UNIX, kind, 0)
        guard probe >= 0 else { return false }
        defer { Glibc.close(probe) }
        let isConnected = address.withSocketAddress { connect(probe, $0, $1) == 0 }
        return !isConnected && errno == ECONNREFUSED
    }

    private static func reason(_ number: CInt, _ address: LoopAddress) -> String {
        guard number == EADDRINUSE, let path = address.unixPath, path.utf8.first != 0 else {
            return address.description
        }
        return isSocket(path)
            ? "\(path): another socket serves there" : "\(path): a file that is no socket is there"
    }
}
