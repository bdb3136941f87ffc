// SPDX-License-Identifier: Apache-2.0

/// One thing for the loop to run, and where it was scheduled.
typealias ReadyEntry = (work: ReadyWork, site: CallSite)

/// Something that was scheduled by itself, which needs no closure.
package protocol LoopDelivery: AnyObject, Sendable {
    /// Called on the loop's thread when its turn came.
    func deliver(on loop: Loop)
}

enum ReadyWork {
    case callback(() throws -> Void)
    /// Scheduled from another thread; is handed the loop.
    case remote(@Sendable (Loop) throws -> Void)
    /// A step of a Swift task or actor.
    case job(Job)
    /// A task that gave way.
    case continuation(UnsafeContinuation<Void, Never>)
    /// An object with something to tell.
    case delivery(any LoopDelivery)
    case cancelled
}

/// The callbacks that are ready, in order.
///
/// The position of an entry is its name for life, so a handle can find and cancel it without a
/// table of handles.
struct ReadyQueue: ~Copyable {
    private var entries = RingBuffer<ReadyEntry>(capacity: 64)

    @inline(__always)
    var count: Int { entries.count }
    @inline(__always)
    var isEmpty: Bool { entries.isEmpty }

    /// Adds an entry behind the others and returns its position.
    @inline(__always)
    mutating func append(_ work: consuming ReadyWork, site: CallSite) -> UInt64 {
        entries.append((work, site))
        return entries.tail &- 1
    }

    @inline(__always)
    mutating func removeFirst() -> ReadyEntry { entries.removeFirst() }

    /// Whether the next is a step of a task.
    @inline(__always)
    var isJobFirst: Bool {
        guard !entries.isEmpty, case .job = entries[entries.head].work else { return false }
        return true
    }

    func contains(_ position: UInt64) -> Bool {
        guard position >= entries.head, position < entries.tail else { return false }
        if case .cancelled = entries[position].work { return false }
        return true
    }

    /// Empties the entry if it still waits, and hands back what it held, so that the caller
    /// releases that when the queue is consistent again.
    mutating func cancel(_ position: UInt64) -> ReadyEntry? {
        guard contains(position) else { return nil }
        let entry = entries[position]
        entries[position].work = .cancelled
        return entry
    }
}
