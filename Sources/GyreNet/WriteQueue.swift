// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Bytes that wait to be sent, in order.
///
/// While the kernel reads from the front chunk, that chunk must not move, so what is written
/// meanwhile collects in a second one.
final class WriteQueue {
    private struct Chunk {
        // SAFETY: `bytes` owns room for `capacity` bytes, those at `head ..< tail` initialized; it
        // is freed when the chunk is emptied for good, in `release`. Only the loop's thread touches
        // it.
        var bytes: UnsafeMutableRawPointer?
        var capacity = 0
        var head = 0
        var tail = 0

        var count: Int { tail - head }

        mutating func append(_ source: UnsafeRawBufferPointer) {
            guard let address = source.baseAddress, source.count > 0 else { return }
            if tail + source.count > capacity { makeRoom(source.count) }
            (bytes.unsafelyUnwrapped + tail).copyMemory(from: address, byteCount: source.count)
            tail += source.count
        }

        private mutating func makeRoom(_ extra: Int) {
            let newCapacity = max(4096, count + extra, capacity)
            let grown = newCapacity > capacity ? max(newCapacity, 2 * capacity) : capacity
            let larger = UnsafeMutableRawPointer.allocate(byteCount: grown, alignment: 16)
            if let bytes {
                larger.copyMemory(from: bytes + head, byteCount: count)
                bytes.deallocate()
            }
            bytes = larger
            capacity = grown
            tail -= head
            head = 0
        }

        mutating func release() {
            bytes?.deallocate()
            self = Chunk()
        }
    }

    private var front = Chunk()
    private var back = Chunk()
    /// How many bytes were appended, and sent, since the queue was made.
    private var appended = 0
    private var sent = 0
    /// Descriptors, and the position of the byte that each goes with.
    private var passed: [(position: Int, descriptors: PassedDescriptors)] = []
    /// The kernel reads from the front chunk.
    var isFrontLent = false

    deinit {
        front.release()
        back.release()
    }

    var count: Int { front.count + back.count }

    func append(_ bytes: UnsafeRawBufferPointer) {
        appended += bytes.count
        if isFrontLent || back.count > 0 {
            back.append(bytes)
        } else {
            front.append(bytes)
        }
    }

    /// Lets descriptors go with the next byte that is appended.
    func append(_ descriptors: PassedDescriptors) { passed.append((appended, descriptors)) }

    /// The descriptors that go with the first byte of ``next()``.
    var descriptorsInFront: PassedDescriptors? {
        passed.first.flatMap { $0.position == sent ? $0.descriptors : nil }
    }

    /// The oldest bytes, in one piece, up to one that has descriptors of its own.
    ///
    /// They stay in place until the next call.
    func next() -> UnsafeRawBufferPointer {
        if front.count == 0 {
            front.release()
            swap(&front, &back)
        }
        guard let bytes = front.bytes else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        var count = front.count
        if !passed.isEmpty, let next = passed.first(where: { $0.position > sent }) {
            count = min(count, next.position - sent)
        }
        return UnsafeRawBufferPointer(start: bytes + front.head, count: count)
    }

    /// The first `count` bytes of ``next()`` are sent.
    func consume(_ count: Int) {
        front.head += count
        sent += count
        while let first = passed.first, first.position < sent { passed.removeFirst() }
    }
}
