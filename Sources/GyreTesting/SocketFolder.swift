// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreNet

/// A folder for the Unix sockets of a test, removed with the object.
final class SocketFolder: Sendable {
    private let folder: String

    init() throws {
        let wildcard = String(repeating: "X", count: 6)
        var template = Array("/tmp/gyre-sockets-\(wildcard)".utf8CString)
        try expect(mkdtemp(&template) != nil, "no folder: errno \(errno)")
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for name in names where unlink(path(name)) != 0 { rmdir(path(name)) }
        rmdir(folder)
    }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    /// An abstract name that nobody else has.
    var abstractName: String { "\u{0}\(folder)" }

    /// What is there, sorted.
    var names: [String] {
        guard let directory = opendir(folder) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            // SAFETY: the kernel ends the name with a zero inside the array.
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Makes a socket without a loop and binds it to `name`.
    func bindSocket(_ name: String, _ kind: __socket_type) throws -> CInt {
        let fd = socket(AF_UNIX, CInt(kind.rawValue | SOCK_CLOEXEC.rawValue), 0)
        let address = try LoopAddress(unixPath: path(name))
        let result = address.withSocketAddress { bind(fd, $0, $1) }
        try expect(fd >= 0 && result == 0, "cannot bind: errno \(errno)")
        return fd
    }

    func writeFile(_ name: String, _ text: String) throws {
        let fd = open(path(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
        try expect(fd >= 0, "cannot write: errno \(errno)")
        defer { close(fd) }
        try expect(write(fd, text, text.utf8.count), equals: text.utf8.count)
    }

    func readFile(_ name: String) throws -> String {
        let fd = open(path(name), O_RDONLY | O_CLOEXEC)
        try expect(fd >= 0, "cannot read: errno \(errno)")
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(fd, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
}
