// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Bytes that arrived and wait to be read, in order.
struct ReadBuffer {
    private var bytes: [UInt8] = []
    /// How many at the front were taken.
    private var head = 0

    var count: Int { bytes.count - head }

    var isEmpty: Bool { head == bytes.count }

    mutating func append(_ more: UnsafeRawBufferPointer) {
        // Moves at most as many bytes as were taken, so what a byte costs does not grow.
        if head > 0, head >= count {
            bytes.removeSubrange(..<head)
            head = 0
        }
        bytes.append(contentsOf: more)
    }

    /// The first `count` bytes, which are no longer there.
    mutating func take(_ count: Int) -> [UInt8] {
        guard head > 0 || count < bytes.count else {
            let all = bytes
            bytes = []
            return all
        }
        let taken = Array(bytes[head..<head + count])
        drop(count)
        return taken
    }

    /// Forgets the first `count` bytes, and with the last one the memory.
    mutating func drop(_ count: Int) {
        head += count
        guard isEmpty else { return }
        bytes = []
        head = 0
    }

    // SAFETY: the bytes are lent for the call.
    func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try bytes.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[head...])) }
    }
}

/// What ends a piece of a stream: one of several sequences of bytes.
struct Separators {
    private let alternatives: [[UInt8]]
    /// The length of the longest.
    let countMax: Int

    /// A match: where the separator begins, and where it ends.
    typealias Match = (start: Int, end: Int)

    /// Nil when there is none, or an empty one.
    init?(_ alternatives: [[UInt8]]) {
        guard let countMax = alternatives.map(\.count).max(),
            !alternatives.contains(where: \.isEmpty)
        else { return nil }
        // Of two that end at the same byte the shorter one counts.
        self.alternatives =
            alternatives.count == 1 ? alternatives : alternatives.sorted { $0.count < $1.count }
        self.countMax = countMax
    }

    /// The separator that ends first, not looking at what is before `offset`.
    func firstMatch(in bytes: UnsafeRawBufferPointer, from offset: Int) -> Match? {
        var first: Match?
        for separator in alternatives {
            let end = first?.end ?? bytes.count
            guard let start = bytes.position(of: separator, in: offset..<end) else { continue }
            if first.map({ start + separator.count < $0.end }) ?? true {
                first = (start, start + separator.count)
            }
        }
        return first
    }
}

extension UnsafeRawBufferPointer {
    /// Where `byte` stands first at or behind `offset`.
    // SAFETY: memchr looks at the bytes of the range only.
    func position(of byte: UInt8, from offset: Int) -> Int? {
        guard let base = baseAddress, offset < count,
            let hit = memchr(base + offset, CInt(byte), count - offset)
        else { return nil }
        return UnsafeRawPointer(hit) - base
    }

    /// Where `separator`, which is not empty, stands first in `range`.
    ///
    /// For short ones: finds the first byte fast, and compares the others.
    func position(of separator: [UInt8], in range: Range<Int>) -> Int? {
        let first = separator[0]
        let bytes = UnsafeRawBufferPointer(rebasing: self[..<range.upperBound])
        var offset = range.lowerBound
        while let hit = bytes.position(of: first, from: offset) {
            guard hit + separator.count <= bytes.count else { return nil }
            let candidate = UnsafeRawBufferPointer(rebasing: bytes[hit..<hit + separator.count])
            if separator.count == 1 || separator.elementsEqual(candidate) { return hit }
            offset = hit + 1
        }
        return nil
    }
}
