// SPDX-License-Identifier: Apache-2.0

/// The place in the source where something was scheduled or made: the name it has in reports.
public struct CallSite: Sendable, CustomStringConvertible {
    let file: StaticString
    let line: UInt32

    /// The place `file`:`line`.
    @inlinable
    public init(file: StaticString, line: UInt) {
        self.init(file: file, shortLine: UInt32(truncatingIfNeeded: line))
    }

    @usableFromInline
    init(file: StaticString, shortLine: UInt32) {
        self.file = file
        self.line = shortLine
    }

    /// `Module/File.swift:line`.
    public var description: String { "\(file):\(line)" }
}
