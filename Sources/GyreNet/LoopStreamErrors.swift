// SPDX-License-Identifier: Apache-2.0

/// The stream ended before everything came that was asked for: asyncio's `IncompleteReadError`.
public struct LoopIncompleteReadError: Error, Sendable, Hashable {
    /// What came before the end.
    public let partial: [UInt8]
    /// How many bytes were asked for; nil when it was a separator.
    public let expected: Int?

    /// An error after `partial`.
    public init(partial: [UInt8], expected: Int?) {
        self.partial = partial
        self.expected = expected
    }
}

extension LoopIncompleteReadError: CustomStringConvertible {
    /// How many bytes came, and how many were asked for.
    public var description: String {
        let wanted = expected.map { "\($0) bytes" } ?? "a separator"
        return "the stream ended after \(partial.count) bytes, expected \(wanted)"
    }
}

/// What stands before a separator is longer than the reader's limit: asyncio's
/// `LimitOverrunError`.
public struct LoopLimitOverrunError: Error, Sendable, Hashable {
    /// How many bytes were looked at and stand before the separator, as far as it came.
    public let consumed: Int
    /// The limit.
    public let limit: Int

    /// An error after `consumed` bytes.
    public init(consumed: Int, limit: Int) {
        self.consumed = consumed
        self.limit = limit
    }
}

extension LoopLimitOverrunError: CustomStringConvertible {
    /// How many bytes came, and the limit.
    public var description: String {
        "\(consumed) bytes without a separator, and the limit is \(limit)"
    }
}
