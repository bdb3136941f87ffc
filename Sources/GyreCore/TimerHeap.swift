// SPDX-License-Identifier: Apache-2.0

import CGyre

/// The timers of a loop: a heap of deadlines over a slab of callbacks.
///
/// The heap is four-ary and holds plain numbers, so that a sift stays within few cache lines. A
/// cancelled timer releases its callback and its slot at once; its number stays in the heap until
/// it comes up, or until more than half of the heap is such debris, when it is swept in one go.
/// That costs a cancel nothing and moves no other timer, which knowing every timer's place would.
struct TimerHeap: ~Copyable {
    /// A deadline in the heap; the order of creation breaks ties.
    ///
    /// Sixteen bytes, so that the four children of an entry share a cache line. That leaves 32 bits
    /// for the order of creation, compared modulo their range: it is right for as long as no two
    /// waiting timers of the same nanosecond were made two thousand million timers apart.
    private struct Entry {
        let deadline: Int64
        let order: UInt32
        let slot: UInt32

        @inline(__always)
        func isBefore(_ other: Entry) -> Bool {
            if deadline == other.deadline { return Int32(bitPattern: order &- other.order) < 0 }
            return deadline < other.deadline
        }
    }

    private struct Slot {
        var body: (() throws -> Void)?
        var nextFree: UInt32
        var site: CallSite
    }

    // SAFETY: `entries` owns room for `entryCapacity` values, the first `entryCount` initialized
    // (they are trivial). `slots` and `sequences` own room for `slotCapacity`, the first
    // `slotCount` initialized and kept so until the heap goes. Indices come from the heap itself or
    // are checked against `slotCount`. Only the loop's thread touches it.
    private var entries: UnsafeMutablePointer<Entry>
    private var entryCapacity: Int
    private var entryCount = 0
    private var slots: UnsafeMutablePointer<Slot>
    /// Which timer a slot belongs to; no other timer ever has the same, and 0 is none.
    ///
    /// Apart from the slots, so that a sweep, which asks for them in no order, finds them in the
    /// caches.
    private var sequences: UnsafeMutablePointer<UInt64>
    private var slotCapacity: Int
    private var slotCount = 0
    private var firstFree = UInt32.max
    private var nextSequence: UInt64 = 1
    /// Timers that will still fire.
    private(set) var count = 0

    /// Below this size a sweep is not worth its while.
    private static var sweepMinimum: Int { 64 }

    init() {
        entryCapacity = 64
        slotCapacity = 64
        entries = Self.allocateEntries(entryCapacity)
        slots = .allocate(capacity: slotCapacity)
        sequences = .allocate(capacity: slotCapacity)
    }

    deinit {
        slots.deinitialize(count: slotCount)
        slots.deallocate()
        sequences.deallocate()
        Self.deallocate(entries)
    }

    /// How many deadlines are stored, those of cancelled timers included.
    var storedCount: Int { entryCount }

    /// The earliest deadline, or nil without timers.
    ///
    /// Drops cancelled timers that are in front.
    @inline(__always)
    mutating func nextDeadline() -> Int64? {
        while entryCount > 0 {
            if isLive(entries[0]) { return entries[0].deadline }
            removeTop()
        }
        return nil
    }

    @inline(__always)
    mutating func insert(
        deadline: Int64, site: CallSite, body: consuming @escaping () throws -> Void
    ) -> TimerName {
        let sequence = nextSequence
        nextSequence &+= 1
        let slot: UInt32
        if firstFree != .max {
            slot = firstFree
            let pointer = slots + Int(slot)
            firstFree = pointer.pointee.nextFree
            pointer.pointee.body = consume body
            pointer.pointee.site = site
        } else {
            if slotCount == slotCapacity { growSlots() }
            slot = UInt32(slotCount)
            (slots + slotCount).initialize(
                to: Slot(body: consume body, nextFree: .max, site: site))
            slotCount += 1
        }
        sequences[Int(slot)] = sequence
        if entryCount == entryCapacity { growEntries() }
        entryCount += 1
        let order = UInt32(truncatingIfNeeded: sequence)
        siftUp(Entry(deadline: deadline, order: order, slot: slot), from: entryCount - 1)
        count += 1
        return TimerName(slot: slot, sequence: sequence, deadline: deadline)
    }

    @inline(__always)
    func contains(_ name: TimerName) -> Bool {
        Int(name.slot) < slotCount && sequences[Int(name.slot)] == name.sequence
    }

    /// Takes the timer out and hands back its callback, which the caller then runs or releases.
    ///
    /// Nil when it fired or was cancelled before.
    @inline(__always)
    mutating func remove(_ name: TimerName) -> (body: () throws -> Void, site: CallSite)? {
        guard contains(name) else { return nil }
        let pointer = slots + Int(name.slot)
        guard let body = pointer.pointee.body.take() else { return nil }
        let site = pointer.pointee.site
        sequences[Int(name.slot)] = 0
        pointer.pointee.nextFree = firstFree
        firstFree = name.slot
        count -= 1
        // Empty: the next timers take the slots in order again, which is kind to the caches.
        if count == 0 { (slotCount, firstFree) = (0, .max) }
        return (consume body, site)
    }

    mutating func cancel(_ name: TimerName) -> (() throws -> Void)? {
        let removed = remove(name)
        if removed != nil, entryCount > Self.sweepMinimum, entryCount > 2 * count { sweep() }
        return removed?.body
    }

    /// Moves every timer whose deadline is not after `now` from the heap to `due`, earliest first.
    ///
    /// They keep their slots, so each can still be cancelled until it runs, and cancelled ones are
    /// found then.
    mutating func popDue(now: Int64, into due: inout [DueTimer]) {
        while entryCount > 0, entries[0].deadline <= now {
            due.append(DueTimer(slot: entries[0].slot, order: entries[0].order))
            removeTop()
        }
    }

    /// Takes out a timer that came due, as ``remove(_:)`` does.
    ///
    /// Nil when it was cancelled.
    @inline(__always)
    mutating func remove(_ due: DueTimer) -> (body: () throws -> Void, site: CallSite)? {
        guard Int(due.slot) < slotCount else { return nil }
        let sequence = sequences[Int(due.slot)]
        guard UInt32(truncatingIfNeeded: sequence) == due.order, sequence != 0 else { return nil }
        return remove(TimerName(slot: due.slot, sequence: sequence, deadline: 0))
    }

    /// Fetches what ``remove(_:)-(DueTimer)`` will look at; timers come due in no order of memory.
    @inline(__always)
    func prefetch(_ due: DueTimer) { gyre_prefetch(slots + Int(due.slot)) }

    @inline(__always)
    private func isLive(_ entry: Entry) -> Bool {
        guard Int(entry.slot) < slotCount else { return false }
        let sequence = sequences[Int(entry.slot)]
        return UInt32(truncatingIfNeeded: sequence) == entry.order && sequence != 0
    }

    // MARK: The heap

    @inline(__always)
    private mutating func removeTop() {
        entryCount -= 1
        if entryCount > 0 { siftDown(entries[entryCount], from: 0) }
    }

    @inline(__always)
    private mutating func siftUp(_ entry: Entry, from start: Int, root: Int = 0) {
        var hole = start
        let entries = entries
        while hole > root {
            let parent = (hole - 1) >> 2
            guard entry.isBefore(entries[parent]) else { break }
            entries[hole] = entries[parent]
            hole = parent
        }
        entries[hole] = entry
    }

    /// Fills the hole at `start` with `entry`, which belongs there or below.
    ///
    /// The hole goes all the way down first, each time to the least child, and the entry then comes
    /// up to its place: it was a leaf, and mostly is one again, so comparing it on the way down
    /// would only be a branch that nobody can predict.
    @inline(__always)
    private mutating func siftDown(_ entry: Entry, from start: Int) {
        let entries = entries
        let count = entryCount
        var hole = start
        while hole << 2 + 4 < count {
            let first = hole << 2 + 1
            // Two pairs, then the winners: no comparison waits for more than one other.
            let left = entries[first + 1].isBefore(entries[first]) ? first + 1 : first
            let right = entries[first + 3].isBefore(entries[first + 2]) ? first + 3 : first + 2
            let least = entries[right].isBefore(entries[left]) ? right : left
            entries[hole] = entries[least]
            hole = least
        }
        let first = hole << 2 + 1
        if first < count {
            var least = first
            for child in first + 1..<max(first + 1, count)
            where entries[child].isBefore(entries[least]) { least = child }
            entries[hole] = entries[least]
            hole = least
        }
        siftUp(entry, from: hole, root: start)
    }

    /// Drops the deadlines of cancelled timers and orders the rest anew, in linear time.
    private mutating func sweep() {
        var kept = 0
        for index in 0..<entryCount where isLive(entries[index]) {
            entries[kept] = entries[index]
            kept += 1
        }
        entryCount = kept
        guard kept > 1 else { return }
        for index in stride(from: (kept - 2) >> 2, through: 0, by: -1) {
            siftDown(entries[index], from: index)
        }
    }

    // MARK: Room

    /// Entries 1 to 4, and so every four siblings, begin a cache line: entry 0 ends one.
    private static var lead: Int { 64 - MemoryLayout<Entry>.size }

    private static func allocateEntries(_ count: Int) -> UnsafeMutablePointer<Entry> {
        let bytes = UnsafeMutableRawPointer.allocate(
            byteCount: lead + count * MemoryLayout<Entry>.stride, alignment: 64)
        return (bytes + lead).bindMemory(to: Entry.self, capacity: count)
    }

    private static func deallocate(_ entries: UnsafeMutablePointer<Entry>) {
        (UnsafeMutableRawPointer(entries) - lead).deallocate()
    }

    private mutating func growEntries() {
        let larger = Self.allocateEntries(entryCapacity * 2)
        larger.moveInitialize(from: entries, count: entryCount)
        Self.deallocate(entries)
        entries = larger
        entryCapacity *= 2
    }

    private mutating func growSlots() {
        let larger = UnsafeMutablePointer<Slot>.allocate(capacity: slotCapacity * 2)
        larger.moveInitialize(from: slots, count: slotCount)
        slots.deallocate()
        slots = larger
        let longer = UnsafeMutablePointer<UInt64>.allocate(capacity: slotCapacity * 2)
        longer.moveInitialize(from: sequences, count: slotCount)
        sequences.deallocate()
        sequences = longer
        slotCapacity *= 2
    }
}

/// Which timer: its slot, and the number that no other timer ever has.
@usableFromInline
struct TimerName {
    @usableFromInline let slot: UInt32
    @usableFromInline let sequence: UInt64
    /// The deadline that was asked for.
    @usableFromInline let deadline: Int64

    @inlinable
    func handle(on loop: Loop) -> LoopTimer { LoopTimer(loop: loop, name: self) }
}

/// A timer that came due and waits for its turn in this iteration.
struct DueTimer {
    let slot: UInt32
    let order: UInt32
}
