// SPDX-License-Identifier: Apache-2.0

/// A queue, first in first out, in a ring that grows.
///
/// Elements are moved, never copied.
struct RingBuffer<Element>: ~Copyable {
    // SAFETY: `elements` owns room for `mask + 1` values. Those at positions `head ..< tail`
    // (modulo the capacity) are initialized, all others are not; every access goes through a
    // position in that range.
    private var elements: UnsafeMutablePointer<Element>
    private var mask: UInt64
    /// The positions of the oldest element and behind the newest.
    ///
    /// They only ever grow, so a position is the name of one element for life.
    private(set) var head: UInt64 = 0
    private(set) var tail: UInt64 = 0

    init(capacity: Int = 16) {
        precondition(capacity > 0 && capacity & (capacity - 1) == 0)
        elements = .allocate(capacity: capacity)
        mask = UInt64(capacity - 1)
    }

    deinit {
        for position in head..<tail { pointer(position).deinitialize(count: 1) }
        elements.deallocate()
    }

    @inline(__always)
    var count: Int { Int(truncatingIfNeeded: tail &- head) }
    @inline(__always)
    var isEmpty: Bool { head == tail }

    @inline(__always)
    mutating func append(_ element: consuming Element) {
        if tail &- head > mask { grow() }
        pointer(tail).initialize(to: element)
        tail &+= 1
    }

    /// Takes the oldest element.
    ///
    /// There must be one.
    @inline(__always)
    mutating func removeFirst() -> Element {
        let element = pointer(head).move()
        head &+= 1
        return element
    }

    /// The element at `position`, which must lie in `head ..< tail`.
    subscript(position: UInt64) -> Element {
        get { pointer(position).pointee }
        set { pointer(position).pointee = newValue }
    }

    @inline(__always)
    private func pointer(_ position: UInt64) -> UnsafeMutablePointer<Element> {
        elements + Int(truncatingIfNeeded: position & mask)
    }

    @inline(never)
    private mutating func grow() {
        let capacity = (mask + 1) * 2
        let larger = UnsafeMutablePointer<Element>.allocate(capacity: Int(capacity))
        for position in head..<tail {
            (larger + Int(position & (capacity - 1)))
                .moveInitialize(from: pointer(position), count: 1)
        }
        elements.deallocate()
        elements = larger
        mask = capacity - 1
    }
}

// SAFETY: it owns its elements alone, as an array does; it is not copyable.
extension RingBuffer: @unchecked Sendable where Element: Sendable {}
