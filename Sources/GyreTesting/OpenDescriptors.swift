// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The descriptors that the process has open, to find out which ones a piece of code leaks.
public struct OpenDescriptors: Sendable {
    /// What each descriptor is open on, as `/proc/self/fd` says: `socket:[4711]`, a path.
    public let targets: [CInt: String]

    /// The descriptors that are open now.
    public init() {
        var targets: [CInt: String] = [:]
        if let directory = opendir("/proc/self/fd") {
            let own = dirfd(directory)
            while let entry = readdir(directory) {
                // SAFETY: the kernel ends the name with a zero inside the array.
                let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                    pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                guard let fd = CInt(name), fd != own else { continue }
                let target = linkTarget("/proc/self/fd/\(fd)")
                // Another thread closed it since it was listed.
                if !target.isEmpty { targets[fd] = target }
            }
            closedir(directory)
        }
        self.targets = targets
    }

    /// How many are open.
    public var count: Int { targets.count }

    /// Descriptors that are open here and were not open, or open on something else, in `earlier`.
    ///
    /// Timers are left out: no loop makes any, and Dispatch makes one for the process whenever
    /// something in it first needs a timer.
    public func opened(since earlier: OpenDescriptors) -> [String] {
        targets
            .filter { earlier.targets[$0.key] != $0.value && $0.value != "anon_inode:[timerfd]" }
            .sorted { $0.key < $1.key }
            .map { "\($0.key) -> \($0.value)" }
    }
}

/// Where the symbolic link `path` leads; empty when it is none.
func linkTarget(_ path: String) -> String {
    var buffer = [CChar](repeating: 0, count: 1024)
    let length = readlink(path, &buffer, buffer.count)
    let bytes = buffer.prefix(max(0, length)).map { UInt8(bitPattern: $0) }
    return String(decoding: bytes, as: UTF8.self)
}
