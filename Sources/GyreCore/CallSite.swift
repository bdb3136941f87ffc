// SPDX-License-Identifier: Apache-2.0

/// The place in the source where something was scheduled or made: the name it has in reports.
public struct CallSite: Sendable, CustomStringConvertible {
    // Small, since every callback, timer and future has one.
    // SAFETY: a static string is in memory for as long as the program runs, and ends with a zero.
    @usableFromInline let fileAddress: UInt
    @usableFromInline let line: UInt32

    /// The place `file`:`line`.
    @inlinable
    public init(file: StaticString, line: UInt) {
        fileAddress = UInt(bitPattern: file.utf8Start)
        self.line = UInt32(truncatingIfNeeded: line)
    }

    /// `Module/File.swift:line`.
    public var description: String {
        let file = UnsafePointer<CChar>(bitPattern: fileAddress).map { String(cString: $0) }
        return "\(file ?? ""):\(line)"
    }
}
