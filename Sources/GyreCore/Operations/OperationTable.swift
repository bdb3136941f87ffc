// SPDX-License-Identifier: Apache-2.0

import CGyre

/// The operations under way, in a slab.
///
/// The hot path of the loop: a completion is one look-up here and one call.
package final class OperationTable {
    private struct Slot {
        var operation: Operation
        /// Even while the slot is in use.
        ///
        /// Identifiers are only made of even ones.
        var generation: UInt32
        /// Who is told.
        ///
        /// Held until the last completion, and with it all the operation points into.
        var target: (any OperationTarget)?
        /// The next free slot, while this one is free; 0 is none.
        var nextFree: UInt32 = 0
        /// A slot is a cache line.
        private var padding: UInt64 = 0

        init(operation: Operation, generation: UInt32) {
            self.operation = operation
            self.generation = generation
        }
    }

    // SAFETY: `slots` owns room for `capacity` slots, all initialized; those in use have a target,
    // but for the one whose target is being told.
    // Growing moves the slab, so no pointer into it outlives the call that made it. Only the loop's
    // thread touches it.
    private var slots: UnsafeMutablePointer<Slot>
    private var capacity: Int
    private var firstFree: UInt32 = 0

    /// Operations submitted and completions delivered since the loop was made.
    package var submitted: UInt64 { submissions }
    package var completed: UInt64 { completions }
    /// Operations whose last completion is still to come.
    package var active: Int { inUse }
    /// A callback threw a fatal error: backends stop delivering and keep the rest for the next run.
    package var isInterrupted: Bool {
        get { interrupted }
        set { interrupted = newValue }
    }

    // Private, so that the compiler can see that no two accesses overlap, and checks none of them
    // at run time.
    private var submissions: UInt64 = 0
    private var completions: UInt64 = 0
    private var inUse = 0
    private var interrupted = false

    package init(capacity: Int = 64) {
        slots = Self.allocate(capacity)
        self.capacity = 0
        addSlots(upTo: capacity)
    }

    deinit {
        slots.deinitialize(count: capacity)
        slots.deallocate()
    }

    package func insert(_ operation: Operation, target: any OperationTarget) -> OperationID {
        if firstFree == 0 { grow() }
        let slot = Int(firstFree)
        firstFree = slots[slot].nextFree
        let generation = slots[slot].generation &+ 1
        slots[slot].generation = generation
        slots[slot].operation = operation
        slots[slot].target = target
        submissions &+= 1
        inUse += 1
        return OperationID(slot: slot, generation: generation)
    }

    /// The operation, or nil after its last completion.
    @inline(__always)
    package subscript(id: OperationID) -> Operation? {
        isActive(id) ? slots[id.slot].operation : nil
    }

    @inline(__always)
    package func isActive(_ id: OperationID) -> Bool {
        id.slot < capacity && slots[id.slot].generation == id.generation
    }

    @inline(__always)
    func isReceive(_ id: OperationID) -> Bool {
        isActive(id) && slots[id.slot].operation.kind == .receive
    }

    package func markCancelled(_ id: OperationID) { slots[id.slot].operation.isCancelled = true }
    package func markUnderWay(_ id: OperationID) { slots[id.slot].operation.isUnderWay = true }

    package var activeIDs: [OperationID] {
        (0..<capacity).filter { slots[$0].generation.isMultiple(of: 2) }
            .map { OperationID(slot: $0, generation: slots[$0].generation) }
    }

    /// Tells the target of `id`.
    ///
    /// The last completion frees the slot first, so that the target can submit again from inside
    /// the call.
    @inline(__always)
    package func complete(
        _ id: OperationID, _ result: CInt, more: Bool = false,
        bytes: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
    ) {
        guard isActive(id) else { return }
        completions &+= 1
        let slot = id.slot
        let kind = slots[slot].operation.kind
        // Taken out and put back, which costs less than to count a reference.
        let target = slots[slot].target.take().unsafelyUnwrapped
        if !more { vacate(slot) }
        target.operationCompleted(
            Completion(id: id, kind: kind, result: result, more: more, bytes: bytes))
        guard more, isActive(id) else { return }
        withUnsafeMutablePointer(to: &slots[slot].target) { $0.initialize(to: target) }
    }

    /// Fetches what ``complete(_:_:more:bytes:)`` will look at, a few completions ahead: with many
    /// connections none of it is in the caches, and it lies in no order of memory.
    @inline(__always)
    package func prefetch(_ id: OperationID) {
        if id.slot < capacity { gyre_prefetch(slots + id.slot) }
    }

    /// Fetches the target of `id`, whose slot was fetched before.
    @inline(__always)
    package func prefetchTarget(of id: OperationID) {
        guard isActive(id) else { return }
        // SAFETY: a reference to an object begins with its address, which is 0 where there is none.
        // It is only fetched, and needs no count of its own for that.
        let address = withUnsafePointer(to: &slots[id.slot].target) {
            UnsafeRawPointer($0).load(as: UnsafeRawPointer?.self)
        }
        guard let address else { return }
        gyre_prefetch(address)
        gyre_prefetch(address + 64)
    }

    /// Frees the slot of an operation that the backend has taken back: it never was.
    package func withdraw(_ id: OperationID) {
        guard isActive(id) else { return }
        let target = slots[id.slot].target.take()
        vacate(id.slot)
        submissions &-= 1
        _ = consume target
    }

    /// Frees every slot without telling anybody.
    ///
    /// For a loop that closes, after its backend has.
    package func removeAll() {
        for id in activeIDs {
            // The target may be released here and run its deinit: the slot is consistent first.
            let target = slots[id.slot].target.take()
            vacate(id.slot)
            _ = consume target
        }
    }

    @inline(__always)
    private func vacate(_ slot: Int) {
        slots[slot].generation &+= 1
        slots[slot].nextFree = firstFree
        firstFree = UInt32(truncatingIfNeeded: slot)
        inUse -= 1
    }

    private static func allocate(_ count: Int) -> UnsafeMutablePointer<Slot> {
        let bytes = UnsafeMutableRawPointer.allocate(
            byteCount: count * MemoryLayout<Slot>.stride, alignment: 64)
        return bytes.bindMemory(to: Slot.self, capacity: count)
    }

    private func grow() {
        let larger = Self.allocate(capacity * 2)
        larger.moveInitialize(from: slots, count: capacity)
        slots.deallocate()
        slots = larger
        addSlots(upTo: capacity * 2)
    }

    private func addSlots(upTo newCapacity: Int) {
        for slot in (capacity..<newCapacity).reversed() {
            (slots + slot).initialize(
                to: Slot(
                    operation: Operation(kind: .poll, fd: -1, direction: .read), generation: 1))
            // Slot 0 stays empty, so that no operation is ever numbered zero.
            guard slot > 0 else { continue }
            slots[slot].nextFree = firstFree
            firstFree = UInt32(slot)
        }
        capacity = newCapacity
    }
}
