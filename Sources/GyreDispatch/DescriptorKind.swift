// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What a descriptor is open on, as far as Dispatch needs to be told.
enum DescriptorKind {
    case stream
    case otherSocket
    case pipe
    case other
    /// It cannot be watched, with the error that epoll gives; Dispatch would just never report it.
    case unwatchable(CInt)

    /// The kind of `fd`, by asking the kernel.
    init(of fd: CInt) {
        var status = stat()
        guard fstat(fd, &status) == 0 else {
            self = .unwatchable(errno)
            return
        }
        switch status.st_mode & S_IFMT {
        case S_IFREG, S_IFDIR: self = .unwatchable(EPERM)
        case S_IFIFO: self = .pipe
        case S_IFSOCK: self = Self.isStream(fd) ? .stream : .otherSocket
        default: self = .other
        }
    }

    /// A socket that carries a stream: its hang-ups last, and its errors come with a hang-up.
    var isStream: Bool {
        if case .stream = self { true } else { false }
    }

    private static func isStream(_ fd: CInt) -> Bool {
        var type: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0
            && type == CInt(SOCK_STREAM.rawValue)
    }
}
