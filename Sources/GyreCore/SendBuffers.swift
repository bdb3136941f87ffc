// SPDX-License-Identifier: Apache-2.0

/// Memory for small sends on their way to the kernel, shared by all connections of a loop.
///
/// Copies lie one behind the other in a few blocks, and a block starts anew once everything in it
/// was sent, which is mostly after the next wait: so the same memory is used again while it is
/// still in the caches, and a connection that sends nothing owns none.
package final class SendBuffers {
    private struct Block {
        var used = 0
        /// Pieces that are not sent yet.
        var lent = 0
    }

    private static var blockSize: Int { 64 << 10 }
    private static var blockCount: Int { 16 }

    // SAFETY: `memory` owns room for `blockCount` blocks, of which the first `used` bytes are
    // initialized; `blocks` owns as many values, all initialized (they are trivial). A piece stays
    // in place from the copy until its release, since a block with pieces is not started anew.
    // Only the loop's thread touches it.
    private let memory: UnsafeMutableRawPointer
    private let blocks: UnsafeMutablePointer<Block>
    private var current = 0

    package init() {
        memory = .allocate(byteCount: Self.blockCount * Self.blockSize, alignment: 4096)
        blocks = .allocate(capacity: Self.blockCount)
        blocks.initialize(repeating: Block(), count: Self.blockCount)
    }

    deinit {
        memory.deallocate()
        blocks.deallocate()
    }

    /// Copies `bytes`, which are then lent until ``release(_:)``.
    ///
    /// Nil when there is no room.
    @inline(__always)
    package func copy(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        // Each piece begins a cache line.
        var start = (blocks[current].used + 63) & ~63
        if start + bytes.count > Self.blockSize {
            guard bytes.count <= Self.blockSize, findBlock() else { return nil }
            start = 0
        }
        let place = memory + current * Self.blockSize + start
        append(bytes, at: place)
        blocks[current].used = start + bytes.count
        blocks[current].lent += 1
        return UnsafeRawBufferPointer(start: place, count: bytes.count)
    }

    /// Adds `bytes` to `piece`, when that is the newest and there is room behind it.
    package func extend(
        _ piece: UnsafeRawBufferPointer, by bytes: UnsafeRawBufferPointer
    ) -> UnsafeRawBufferPointer? {
        let end = memory + current * Self.blockSize + blocks[current].used
        guard let start = piece.baseAddress, start + piece.count == UnsafeRawPointer(end),
            blocks[current].used + bytes.count <= Self.blockSize
        else { return nil }
        append(bytes, at: end)
        blocks[current].used += bytes.count
        return UnsafeRawBufferPointer(start: start, count: piece.count + bytes.count)
    }

    /// Takes `piece` back.
    @inline(__always)
    package func release(_ piece: UnsafeRawBufferPointer) {
        guard let start = piece.baseAddress else { return }
        let block = (start - UnsafeRawPointer(memory)) / Self.blockSize
        blocks[block].lent -= 1
        if blocks[block].lent == 0 { blocks[block].used = 0 }
    }

    @inline(__always)
    private func append(_ bytes: UnsafeRawBufferPointer, at place: UnsafeMutableRawPointer) {
        guard let source = bytes.baseAddress else { return }
        place.copyMemory(from: source, byteCount: bytes.count)
    }

    /// The first free block: those in front were used last.
    private func findBlock() -> Bool {
        for block in 0..<Self.blockCount where blocks[block].lent == 0 {
            current = block
            return true
        }
        return false
    }
}
