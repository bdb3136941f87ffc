// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// Bytes that arrived on a connection.
///
/// As long as the task that received them does not suspend, they stand where the kernel put them,
/// in memory of the loop; a chunk that is kept for longer is copied out of it then, by itself. So a
/// server that sends on what it gets copies nothing. `Array(chunk)` makes them independent, and
/// lets them go to another thread.
public struct LoopChunk {
    let storage: ChunkStorage

    init(storage: ChunkStorage) { self.storage = storage }

    /// A chunk with memory of its own.
    init(copying bytes: [UInt8]) {
        storage = bytes.withUnsafeBytes { ChunkStorage(copying: $0) }
    }

    /// Calls `body` with the bytes, which are lent for the call.
    public func withBytes<Result, Failure>(
        _ body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        // SAFETY: the storage, which is kept for that long, leaves the memory in place during the
        // call.
        defer { extendLifetime(storage) }
        return try Self.lend(storage.bytes, to: body)
    }

    // Apart, since the compiler ends the storage's borrow too early in one piece.
    @inline(never)
    private static func lend<Result, Failure>(
        _ bytes: UnsafeRawBufferPointer, to body: (RawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(RawSpan(_unsafeBytes: bytes))
    }
}

extension LoopChunk: RandomAccessCollection {
    /// The first byte's.
    public var startIndex: Int { 0 }
    /// The count of bytes.
    public var endIndex: Int { storage.bytes.count }

    /// The byte at `index`, which counts from 0.
    public subscript(index: Int) -> UInt8 {
        // SAFETY: checked by the buffer in debug builds only, so here.
        precondition(storage.bytes.indices.contains(index), "the index is not in the chunk")
        return storage.bytes[index]
    }

    // swift-format-ignore: NoLeadingUnderscores
    /// Copies the bytes in one piece, for `Array(chunk)` and `array += chunk`, which would take one
    /// after the other.
    public func _copyContents(
        initializing buffer: UnsafeMutableBufferPointer<UInt8>
    ) -> (IndexingIterator<LoopChunk>, Int) {
        let count = Swift.min(buffer.count, self.count)
        // SAFETY: the buffer has room for as many, and is another's.
        UnsafeMutableRawBufferPointer(buffer).copyMemory(
            from: UnsafeRawBufferPointer(rebasing: storage.bytes[..<count]))
        return (IndexingIterator(_elements: self, _position: count), count)
    }

    /// Calls `body` with the bytes, which is fast for `String(decoding:as:)`.
    public func withContiguousStorageIfAvailable<Result>(
        _ body: (UnsafeBufferPointer<UInt8>) throws -> Result
    ) rethrows -> Result? {
        try storage.bytes.withMemoryRebound(to: UInt8.self, body)
    }
}

@available(*, unavailable)
extension LoopChunk: Sendable {}

/// Where the bytes of a chunk are: lent by the loop, or their own.
///
/// A loop lends the bytes of one delivery at a time, so it has one of these, for one chunk after
/// the other as long as none is kept.
final class ChunkStorage {
    // SAFETY: `bytes` is memory of the loop only while the delivery runs that lent it, after which
    // `detach` copies it if a chunk is left; or it is `owned`, which is freed with this object.
    private(set) var bytes: UnsafeRawBufferPointer
    private var owned: UnsafeMutableRawBufferPointer?

    private init(lent bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    init(copying bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
        detach()
    }

    deinit { owned?.deallocate() }

    /// That of the loop, with the bytes of the delivery that runs.
    static func lending(_ bytes: UnsafeRawBufferPointer, of loop: Loop) -> ChunkStorage {
        guard let kept = loop.chunkStorage.pointee else {
            let made = ChunkStorage(lent: bytes)
            loop.chunkStorage.pointee = made
            return made
        }
        // SAFETY: nothing else is stored there.
        let storage = unsafeDowncast(kept, to: ChunkStorage.self)
        storage.bytes = bytes
        return storage
    }

    /// The delivery ends: what is left of its bytes, in a chunk that is kept, is copied.
    static func takeBack(on loop: Loop) {
        guard !isKnownUniquelyReferenced(&loop.chunkStorage.pointee),
            let kept = loop.chunkStorage.pointee
        else { return }
        loop.chunkStorage.pointee = nil
        // SAFETY: as above.
        unsafeDowncast(kept, to: ChunkStorage.self).detach()
    }

    /// Copies what was lent.
    private func detach() {
        guard owned == nil else { return }
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        copy.copyMemory(from: bytes)
        owned = copy
        bytes = UnsafeRawBufferPointer(copy)
    }
}
