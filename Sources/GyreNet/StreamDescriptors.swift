// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// The descriptors that came with the bytes of a connection, until they are taken.
///
/// The kernel says which piece of bytes descriptors came with, and reads no further behind them.
final class StreamDescriptors {
    /// How many bytes arrived in all.
    private var arrivedCount = 0
    /// Those of each piece, and the position of its first byte.
    private var waiting: [(start: Int, descriptors: PassedDescriptors)] = []

    /// Those that came with the next `count` bytes.
    func arrived(_ count: Int, with descriptors: PassedDescriptors?) {
        if let descriptors { waiting.append((arrivedCount, descriptors)) }
        arrivedCount += count
    }

    /// Whether more wait than may.
    var isFull: Bool {
        waiting.reduce(0) { $0 + $1.descriptors.numbers.count } > LoopTransport.passedMax
    }

    /// Whether some came with bytes of the last `unread`, of which none was read.
    func areUnread(_ unread: Int) -> Bool {
        waiting.last.map { $0.start >= arrivedCount - unread } ?? false
    }

    /// Takes those of the bytes before the last `unread`.
    func take(unread: Int) -> [Int32] {
        let read = waiting.prefix { $0.start < arrivedCount - unread }
        waiting.removeFirst(read.count)
        return read.flatMap { $0.descriptors.take() }
    }
}

extension LoopStreamReader {
    /// The descriptors that came with the bytes that were read since the last call, in order.
    ///
    /// The kernel hands bytes without descriptors out together with those behind them that have
    /// some, so descriptors may be there earlier than the byte that they were sent with, and never
    /// later.
    ///
    /// They are the caller's to close; those that nobody takes are closed with the stream, which
    /// breaks when more than 253 wait. A peer that passes many has to wait until the bytes that
    /// they came with are read. They are not inherited by children.
    ///
    /// Empty on a stream that passes none, see ``LoopUnixServerOptions/passesDescriptors``.
    ///
    /// - Important: On the loop's thread only.
    public func takeDescriptors() -> [Int32] {
        core.loop.checkThread("takeDescriptors", instead: "a task of the loop")
        return core.takeDescriptors()
    }
}

extension LoopStreamWriter {
    /// Sends `bytes` behind what was written before, and descriptors with the first of them.
    ///
    /// The peer gets descriptors of its own of the same open files; the caller may close these when
    /// the call returns. On a stream that is closed or broke nothing is sent, and ``drain()`` says
    /// so.
    ///
    /// - Throws: ``LoopError`` as ``LoopTransport/write(_:passing:)``.
    /// - Important: On the loop's thread only.
    public func write(_ bytes: [UInt8], passing descriptors: [Int32]) throws(LoopError) {
        core.loop.checkThread("write", instead: "a task of the loop")
        try core.transport?.write(bytes, passing: descriptors)
    }

    /// Sends the UTF-8 bytes of `text`, and descriptors with the first of them, as
    /// ``write(_:passing:)-([UInt8],_)``.
    public func write(_ text: String, passing descriptors: [Int32]) throws(LoopError) {
        try write(Array(text.utf8), passing: descriptors)
    }
}

extension LoopConnection {
    /// Sends `bytes` behind what was written before, and descriptors with the first of them.
    ///
    /// As ``write(_:)-([UInt8])``, and ``LoopTransport/write(_:passing:)``.
    ///
    /// - Important: In tasks of the connection's loop only.
    public func write(_ bytes: [UInt8], passing descriptors: [Int32]) async throws {
        try core.open().write(bytes, passing: descriptors)
        if core.isWritingPaused { try await core.drain() }
    }

    /// The descriptors that came with the bytes that ``read()`` returned since the last call, in
    /// order, as ``LoopStreamReader/takeDescriptors()``.
    ///
    /// Empty off the loop's thread.
    public func takeDescriptors() -> [Int32] { handle.isOnLoop ? core.takeDescriptors() : [] }
}
