// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A file that has no name, with the first `size` bytes of the pattern.
final class TestFile {
    let fd: CInt
    let size: Int

    init(_ size: Int) throws {
        let name = "/tmp/gyre-file-\(getpid())-\(UInt64.random(in: 0 ... .max))"
        fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        self.size = size
        try expect(fd >= 0, "no temporary file: errno \(errno)")
        unlink(name)
        var rest = pattern(size)[...]
        while !rest.isEmpty {
            let bytes = Array(rest)
            let written = write(fd, bytes, bytes.count)
            try expect(written > 0, "cannot write: errno \(errno)")
            rest = rest.dropFirst(written)
        }
        lseek(fd, 0, SEEK_SET)
    }

    deinit { close(fd) }

    /// Where the file is read next.
    var position: Int { Int(lseek(fd, 0, SEEK_CUR)) }
}
