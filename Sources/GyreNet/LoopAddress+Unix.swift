// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore

// Unix sockets have one of three kinds of names: a path in the file system; an abstract name, which
// begins with a zero byte and is gone with its socket; none, as those that connect.

extension LoopAddress {
    /// The longest path, in bytes.
    ///
    /// The kernel takes one more without the zero at its end, which other programs cannot read.
    static var unixPathMax: Int { MemoryLayout.size(ofValue: sockaddr_un().sun_path) - 1 }

    /// The address of the Unix socket at `path`.
    ///
    /// A path that begins with a zero byte is an abstract name, which lies in no file system. An
    /// empty one is no name; binding to it lets the system pick an abstract one.
    ///
    /// - Throws: ``LoopError/Code/invalidArgument`` when the path has more than 107 bytes, or a
    ///   zero byte inside.
    public init(unixPath path: String) throws(LoopError) {
        try self.init(unixBytes: Array(path.utf8))
    }

    init(unixBytes path: [UInt8]) throws(LoopError) {
        let isAbstract = path.first == 0
        // An abstract name has no zero at its end, so there is room for one byte more.
        guard path.count <= Self.unixPathMax + (isAbstract ? 1 : 0) else {
            throw LoopError(
                .invalidArgument, operation: "address",
                detail: "the path of a Unix socket has at most \(Self.unixPathMax) bytes, and "
                    + "\(String(decoding: path, as: UTF8.self)) has \(path.count)")
        }
        guard isAbstract || !path.contains(0) else {
            throw LoopError(
                .invalidArgument, operation: "address",
                detail: "the path of a Unix socket has a zero byte inside")
        }
        var storage = sockaddr_storage()
        storage.ss_family = sa_family_t(AF_UNIX)
        // SAFETY: the path fits behind the family, as was checked.
        withUnsafeMutableBytes(of: &storage) { bytes in
            for (index, byte) in path.enumerated() { bytes[Self.pathOffset + index] = byte }
        }
        let ending = isAbstract || path.isEmpty ? 0 : 1
        self.init(storage: storage, length: socklen_t(Self.pathOffset + path.count + ending))
    }

    /// Of a Unix socket without a name.
    static var unnamedUnix: LoopAddress {
        var storage = sockaddr_storage()
        storage.ss_family = sa_family_t(AF_UNIX)
        return LoopAddress(storage: storage, length: socklen_t(pathOffset))
    }

    /// Where the name begins.
    private static var pathOffset: Int { MemoryLayout<sa_family_t>.size }

    /// Whether it is the address of a Unix socket.
    public var isUnix: Bool { family == AF_UNIX }

    /// The path of a Unix socket, an abstract name with its zero byte in front, or empty for a
    /// socket without a name; nil for other addresses.
    public var unixPath: String? {
        isUnix ? String(decoding: unixBytes, as: UTF8.self) : nil
    }

    /// The path as in ``unixPath``, byte for byte.
    var unixBytes: [UInt8] {
        // SAFETY: the kernel's length, which is that of the storage at most, ends the name.
        let bytes = withUnsafeBytes(of: storage) { bytes in
            Array(bytes[Self.pathOffset..<max(Self.pathOffset, Int(length))])
        }
        guard let first = bytes.first, first != 0 else { return bytes }
        return Array(bytes.prefix { $0 != 0 })
    }

    var unixDescription: String {
        let bytes = unixBytes
        guard let first = bytes.first else { return "unnamed" }
        let name = String(decoding: first == 0 ? bytes.dropFirst() : bytes[...], as: UTF8.self)
        return first == 0 ? "@\(name)" : name
    }
}
