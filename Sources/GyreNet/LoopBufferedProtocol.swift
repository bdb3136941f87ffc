// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// A protocol object that lends the memory into which the loop puts what arrives: asyncio's
/// `BufferedProtocol`.
///
/// It is used wherever a ``LoopStreamProtocol`` is. In place of its `dataReceived` come
/// ``getBuffer(sizeHint:_:)`` and ``bufferUpdated(_:)`` in turns, for one piece as often as it
/// takes. So a program that assembles messages needs no other copy of them.
public protocol LoopBufferedProtocol: LoopStreamProtocol {
    /// Lends memory for what arrived: call `fill` with it, once.
    ///
    /// `sizeHint` bytes wait. As many of them as fit are put there, from the start on; for the rest
    /// another buffer is asked for. An empty buffer is an error, which aborts the connection, as is
    /// none.
    ///
    ///     func getBuffer(sizeHint: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
    ///         buffer.withUnsafeMutableBytes(fill)
    ///     }
    // SAFETY: the memory is lent for the call of `fill`. (A MutableRawSpan would say so to the
    // compiler, which in Swift 6.3 cannot make one of a property of a class.)
    func getBuffer(sizeHint: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) throws

    /// `count` bytes were put into the buffer, one at least.
    func bufferUpdated(_ count: Int) throws
}

extension LoopBufferedProtocol {
    /// Puts all of `data` into the protocol's buffers, for those who call the protocol without a
    /// transport.
    public func dataReceived(_ data: RawSpan) throws {
        // SAFETY: the bytes are copied before the borrow ends.
        try data.withUnsafeBytes { bytes in
            var taken = 0
            while taken < bytes.count {
                taken += try take(UnsafeRawBufferPointer(rebasing: bytes[taken...]))
            }
        }
    }

    /// Puts as many of `bytes` into one buffer as it has room for, and returns how many.
    func take(_ bytes: UnsafeRawBufferPointer) throws -> Int {
        var taken: Int?
        try getBuffer(sizeHint: bytes.count) { buffer in
            guard taken == nil else { return }
            let count = min(buffer.count, bytes.count)
            taken = count
            // There is room for that many, and the buffer is another's memory.
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
        }
        guard let taken, taken > 0 else {
            throw LoopError(
                .invalidArgument, operation: "getBuffer",
                detail: taken == nil ? "it lent no buffer" : "the buffer is empty")
        }
        try bufferUpdated(taken)
        return taken
    }
}
