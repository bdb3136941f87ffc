// SPDX-License-Identifier: Apache-2.0

/// The place in the source where something was scheduled or made: the name it has in reports.
public struct CallSite: Sendable, CustomStringConvertible {
    @usableFromInline let file: StaticString
    @usableFromInline let line: UInt32

    /// The place `file`:`line`.
    @inlinable
    public init(file: StaticString, line: UInt) {
        self.file = file
        self.line = UInt32(truncatingIfNeeded: line)
    }

    /// `Module/File.swift:line`.
    public var description: String { "\(file):\(line)" }
}
