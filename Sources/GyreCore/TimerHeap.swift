// SPDX-License-Identifier: Apache-2.0

/// The timers of a loop: a heap of deadlines over a slab of callbacks.
///
/// The heap is four-ary and holds plain numbers, so that a sift stays within few cache lines. A
/// cancelled timer releases its callback and its slot at once; its number stays in the heap until
/// it comes up, or until more than half of the heap is such debris, when it is swept in one go.
/// That costs a cancel nothing and moves no other timer, which knowing every timer's place would.
struct TimerHeap: ~Copyable {
    /// A deadline in the heap.
    ///
    /// The order of creation breaks ties.
    private struct Entry {
        let deadline: Int64
        let sequence: UInt64
        let slot: UInt32

        @inline(__always)
        func isBefore(_ other: Entry) -> Bool {
            deadline != other.deadline ? deadline < other.deadline : sequence < other.sequence
        }
    }

    private struct Slot {
        var body: (() throws -> Void)?
        /// Which timer the slot belongs to; no other timer ever has the same.
        var sequence: UInt64
        var nextFree: UInt32
        var site: CallSite
    }

    // SAFETY: `entries` owns room for `entryCapacity` values, the first `entryCount` initialized
    // (they are trivial). `slots` owns room for `slotCapacity`, the first `slotCount` initialized
    // and kept so until the heap goes. Indices come from the heap itself or are checked against
    // `slotCount`. Only the loop's thread touches it.
    private var entries: UnsafeMutablePointer<Entry>
    private var entryCapacity: Int
    private var entryCount = 0
    private var slots: UnsafeMutablePointer<Slot>
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
        entries = .allocate(capacity: entryCapacity)
        slots = .allocate(capacity: slotCapacity)
    }

    deinit {
        slots.deinitialize(count: slotCount)
        slots.deallocate()
        entries.deallocate()
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

    mutating func insert(
        deadline: Int64, site: CallSite, body: @escaping () throws -> Void
    ) -> (slot: UInt32, sequence: UInt64) {
        let sequence = nextSequence
        nextSequence &+= 1
        let slot: UInt32
        if firstFree != .max {
            slot = firstFree
            let pointer = slots + Int(slot)
            firstFree = pointer.pointee.nextFree
            pointer.pointee.body = body
            pointer.pointee.sequence = sequence
            pointer.pointee.site = site
        } else {
            if slotCount == slotCapacity { growSlots() }
            slot = UInt32(slotCount)
            (slots + slotCount).initialize(
                to: Slot(body: body, sequence: sequence, nextFree: .max, site: site))
            slotCount += 1
        }
        if entryCount == entryCapacity { growEntries() }
        entryCount += 1
        siftUp(Entry(deadline: deadline, sequence: sequence, slot: slot), from: entryCount - 1)
        count += 1
        return (slot, sequence)
    }

    func contains(slot: UInt32, sequence: UInt64) -> Bool {
        Int(slot) < slotCount && slots[Int(slot)].sequence == sequence
    }

    /// Takes the timer out and hands back its callback, which the caller then runs or releases.
    ///
    /// Nil when it fired or was cancelled before.
    @inline(__always)
    mutating func remove(
        slot: UInt32, sequence: UInt64
    ) -> (body: () throws -> Void, site: CallSite)? {
        guard contains(slot: slot, sequence: sequence) else { return nil }
        let pointer = slots + Int(slot)
        guard let body = pointer.pointee.body.take() else { return nil }
        let site = pointer.pointee.site
        pointer.pointee.sequence = 0
        pointer.pointee.nextFree = firstFree
        firstFree = slot
        count -= 1
        return (body, site)
    }

    mutating func cancel(slot: UInt32, sequence: UInt64) -> (() throws -> Void)? {
        let removed = remove(slot: slot, sequence: sequence)
        if removed != nil, entryCount > Self.sweepMinimum, entryCount > 2 * count { sweep() }
        return removed?.body
    }

    /// Moves every timer whose deadline is not after `now` from the heap to `due`, earliest first.
    ///
    /// They keep their slots, so each can still be cancelled until it runs.
    mutating func popDue(now: Int64, into due: inout [DueTimer]) {
        while entryCount > 0, entries[0].deadline <= now {
            let top = entries[0]
            if isLive(top) { due.append(DueTimer(slot: top.slot, sequence: top.sequence)) }
            removeTop()
        }
    }

    @inline(__always)
    private func isLive(_ entry: Entry) -> Bool {
        slots[Int(entry.slot)].sequence == entry.sequence
    }

    // MARK: The heap

    @inline(__always)
    private mutating func removeTop() {
        entryCount -= 1
        if entryCount > 0 { siftDown(entries[entryCount], from: 0) }
    }

    @inline(__always)
    private mutating func siftUp(_ entry: Entry, from start: Int) {
        var hole = start
        while hole > 0 {
            let parent = (hole - 1) >> 2
            guard entry.isBefore(entries[parent]) else { break }
            entries[hole] = entries[parent]
            hole = parent
        }
        entries[hole] = entry
    }

    @inline(__always)
    private mutating func siftDown(_ entry: Entry, from start: Int) {
        var hole = start
        while true {
            let first = hole << 2 + 1
            guard first < entryCount else { break }
            var least = first
            for child in first + 1..<max(first + 1, min(first + 4, entryCount))
            where entries[child].isBefore(entries[least]) { least = child }
            guard entries[least].isBefore(entry) else { break }
            entries[hole] = entries[least]
            hole = least
        }
        entries[hole] = entry
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

    private mutating func growEntries() {
        let larger = UnsafeMutablePointer<Entry>.allocate(capacity: entryCapacity * 2)
        larger.moveInitialize(from: entries, count: entryCount)
        entries.deallocate()
        entries = larger
        entryCapacity *= 2
    }

    private mutating func growSlots() {
        let larger = UnsafeMutablePointer<Slot>.allocate(capacity: slotCapacity * 2)
        larger.moveInitialize(from: slots, count: slotCount)
        slots.deallocate()
        slots = larger
        slotCapacity *= 2
    }
}

/// A timer that is due and waits for its turn in this iteration.
struct DueTimer {
    let slot: UInt32
    let sequence: UInt64
}
