// SPDX-License-Identifier: Apache-2.0

import CGyre

/// The tasks of a loop, found by the task of Swift that runs the body of each: a task asks for
/// itself whenever it waits.
///
/// Holds no reference: a task of Swift, and what its closure holds, lives until it has ended.
struct TaskTable: ~Copyable {
    // SAFETY: `slots` owns room for `mask + 1` slots, all initialized, and every index is masked.
    // Who inserts a task removes it before it can be released.
    private struct Slot {
        /// 0 where the slot is free.
        var identity: UInt
        var task: Unmanaged<AnyObject>?
    }

    private var slots: UnsafeMutablePointer<Slot>
    private var mask: Int
    private(set) var count = 0

    init(capacity: Int = 16) {
        precondition(capacity > 0 && capacity & (capacity - 1) == 0)
        mask = capacity - 1
        slots = .allocate(capacity: capacity)
        slots.initialize(repeating: Slot(identity: 0, task: nil), count: capacity)
    }

    deinit { slots.deallocate() }

    /// The task that `identity` runs.
    @inline(__always)
    func find(_ identity: UInt) -> Unmanaged<AnyObject>? { slots[index(of: identity)].task }

    /// Adds `task`, whose body `identity` runs; one that is there already is replaced.
    mutating func insert(_ task: AnyObject, identity: UInt) {
        // At most three quarters full.
        if (count + 1) * 4 > (mask + 1) * 3 { grow() }
        let index = index(of: identity)
        if slots[index].identity == 0 { count += 1 }
        slots[index] = Slot(identity: identity, task: .passUnretained(task))
    }

    mutating func remove(_ identity: UInt) {
        var hole = index(of: identity)
        guard identity != 0, slots[hole].identity == identity else { return }
        count -= 1
        // What stands behind moves up, unless it would come before its home.
        var next = (hole + 1) & mask
        while slots[next].identity != 0 {
            let distance = (next - home(of: slots[next].identity)) & mask
            if distance >= (next - hole) & mask {
                slots[hole] = slots[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        slots[hole] = Slot(identity: 0, task: nil)
    }

    /// All of them, in no particular order.
    var all: [AnyObject] {
        (0...mask).compactMap { slots[$0].task?.takeUnretainedValue() }
    }

    // MARK: Places

    /// Where `identity` is, or would be.
    @inline(__always)
    private func index(of identity: UInt) -> Int {
        var index = home(of: identity)
        while slots[index].identity != identity, slots[index].identity != 0 {
            index = (index + 1) & mask
        }
        return index
    }

    /// The addresses of tasks differ in the middle most.
    @inline(__always)
    private func home(of identity: UInt) -> Int {
        Int(truncatingIfNeeded: (identity &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
    }

    private mutating func grow() {
        var larger = TaskTable(capacity: (mask + 1) * 2)
        for index in 0...mask where slots[index].identity != 0 {
            let place = larger.index(of: slots[index].identity)
            larger.slots[place] = slots[index]
        }
        larger.count = count
        swap(&self, &larger)
    }
}

/// What a loop asks of its tasks.
package protocol RegisteredTask: AnyObject {
    /// What reports call it.
    var name: String { get }
    /// What is said of it when the loop closes before its body has ended.
    var pendingReport: LoopExceptionContext { get }
}

extension Loop {
    /// Which task of Swift the caller is a step of; 0 outside of tasks.
    package static var stepIdentity: UInt { gyre_current_swift_task() }

    /// The task of the loop that the caller is a step of; nil in child tasks that Swift made.
    package static var taskOfStep: Unmanaged<AnyObject>? {
        withCurrent { $0.state.pointee.tasks.find(gyre_current_swift_task()) } ?? nil
    }

    /// The loop that runs on this thread, not counted: it is not released meanwhile.
    @inline(__always)
    private static func withCurrent<Result>(_ body: (Loop) -> Result) -> Result? {
        guard let pointer = gyre_current_loop() else { return nil }
        return Unmanaged<Loop>.fromOpaque(pointer)._withUnsafeGuaranteedRef(body)
    }

    /// Adds `task`, whose body the task `identity` of Swift runs, until ``removeTask(_:)``.
    @usableFromInline
    package func addTask(_ task: AnyObject, identity: UInt) {
        state.pointee.tasks.insert(task, identity: identity)
    }

    /// Adds a task that was made on another thread, in its first step.
    package func addTaskOfStep(_ task: any RegisteredTask) {
        addTask(task, identity: Self.stepIdentity)
        if isDebug { inspection.taskOfStep = task.name }
    }

    /// The body of a task has ended, whose step the caller is.
    package static func removeTask(_ identity: UInt) {
        let isRemoved: Void? = withCurrent { $0.state.pointee.tasks.remove(identity) }
        if isRemoved == nil { trap("a task ended outside of its loop") }
    }

    /// The tasks whose bodies have not ended, in no particular order.
    package var tasks: [any RegisteredTask] {
        state.pointee.tasks.all.compactMap { $0 as? any RegisteredTask }
    }

    /// The name of the task whose body `identity` runs.
    func taskName(_ identity: UInt) -> String? {
        let task = state.pointee.tasks.find(identity)?.takeUnretainedValue()
        return (task as? any RegisteredTask)?.name
    }
}
