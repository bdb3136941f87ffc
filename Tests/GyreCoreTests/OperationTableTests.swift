// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreTesting
import Testing

@testable import GyreCore

/// Notes what it is told.
final class NotingTarget: OperationTarget {
    var results: [CInt] = []
    var bytes: [UInt8] = []
    var lasts = 0
    var onCompletion: (Completion) -> Void = { _ in }

    func operationCompleted(_ completion: Completion) {
        results.append(completion.result)
        if completion.result > 0 { bytes += completion.bytes }
        if !completion.more { lasts += 1 }
        onCompletion(completion)
    }
}

@Suite("OperationTable")
struct OperationTableTests {
    private let poll = Operation(kind: .poll, fd: 7, direction: .read)

    @Test("A completion after the last one is dropped")
    func lateCompletionIsDropped() {
        let table = OperationTable()
        let target = NotingTarget()
        let id = table.insert(poll, target: target)
        table.complete(id, 1, more: true)
        table.complete(id, 0)
        table.complete(id, 2)
        table.complete(id, 3, more: true)
        #expect(target.results == [1, 0])
        #expect(table[id] == nil)
        #expect(table.active == 0)
        #expect(table.completed == 2)
    }

    @Test("A late completion never reaches the next operation in the slot")
    func slotIsReusedUnderAnotherName() {
        let table = OperationTable(capacity: 2)
        let (first, second) = (NotingTarget(), NotingTarget())
        let old = table.insert(poll, target: first)
        table.markCancelled(old)
        #expect(table[old]?.isCancelled == true)
        table.complete(old, -ECANCELED)
        let new = table.insert(poll, target: second)
        #expect(new.slot == old.slot)
        #expect(new != old)
        #expect(table[new]?.isCancelled == false)
        table.complete(old, 1)
        #expect(second.results.isEmpty)
        table.complete(new, 2)
        #expect(first.results == [-ECANCELED])
        #expect(second.results == [2])
    }

    @Test("No operation is ever numbered zero, and names are not repeated")
    func namesAreUnique() {
        let table = OperationTable(capacity: 4)
        var random = SeededRandom(seed: 5)
        var active: [OperationID] = []
        var seen: Set<OperationID> = []
        for _ in 0..<5000 {
            if random.next(below: 3) > 0 {
                let id = table.insert(poll, target: NotingTarget())
                #expect(id != .none)
                #expect(seen.insert(id).inserted)
                active.append(id)
            } else if !active.isEmpty {
                table.complete(active.remove(at: random.next(below: active.count)), 0)
            }
            #expect(table.active == active.count)
        }
        #expect(Set(table.activeIDs) == Set(active))
        #expect(table.submitted == UInt64(seen.count))
    }

    @Test("Growing keeps what is under way")
    func growing() {
        let table = OperationTable(capacity: 2)
        let targets = (0..<500).map { _ in NotingTarget() }
        let ids = targets.enumerated().map { number, target in
            table.insert(
                Operation(kind: .receive, fd: CInt(number), direction: .read), target: target)
        }
        for (number, id) in ids.enumerated() {
            #expect(table[id]?.fd == CInt(number))
            table.complete(id, CInt(number))
        }
        for (number, target) in targets.enumerated() { #expect(target.results == [CInt(number)]) }
    }

    @Test("A target may submit again from inside its last completion")
    func submittingInsideACompletion() {
        let table = OperationTable(capacity: 2)
        let target = NotingTarget()
        var ids = [table.insert(poll, target: target)]
        target.onCompletion = { [unowned target] _ in
            if ids.count < 200 { ids.append(table.insert(self.poll, target: target)) }
        }
        while let last = ids.last, table.isActive(last) { table.complete(last, 1) }
        #expect(ids.count == 200)
        #expect(target.results.count == 200)
    }

    @Test("A target is held until the last completion, and no longer")
    func targetsAreHeld() {
        let table = OperationTable()
        weak var held: NotingTarget?
        let id: OperationID
        do {
            let target = NotingTarget()
            held = target
            id = table.insert(poll, target: target)
        }
        #expect(held != nil)
        table.complete(id, 1, more: true)
        #expect(held != nil)
        table.complete(id, 0)
        #expect(held == nil)
    }

    @Test("Removing all releases the targets and tells nobody")
    func removeAll() {
        final class Ending: OperationTarget {
            let table: OperationTable
            let live: SharedValue<Int>
            init(_ table: OperationTable, _ live: SharedValue<Int>) {
                self.table = table
                self.live = live
                live.update { $0 += 1 }
            }
            deinit {
                live.update { $0 -= 1 }
                // The table is consistent while it lets go.
                _ = table.activeIDs.count
            }
            func operationCompleted(_ completion: Completion) { live.update { $0 += 1000 } }
        }
        let table = OperationTable()
        let live = SharedValue(0)
        let ids = (0..<100).map { _ in table.insert(poll, target: Ending(table, live)) }
        #expect(live.value == 100)
        table.removeAll()
        #expect(live.value == 0)
        #expect(table.active == 0)
        table.complete(ids[0], 0)
        #expect(live.value == 0)
    }
}
