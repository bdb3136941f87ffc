// SPDX-License-Identifier: Apache-2.0

import GyreTesting
import Testing

@testable import GyreCore

@Suite("TaskTable")
struct TaskTableTests {
    private final class Thing {}

    private func found(_ table: borrowing TaskTable, _ identity: UInt) -> AnyObject? {
        table.find(identity)?.takeUnretainedValue()
    }

    /// Few identities close together, so that many want the same place, around the end too.
    @Test("Agrees with a dictionary over many random steps", arguments: 0..<8)
    func agreesWithAModel(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let things = (0..<400).map { _ in Thing() }
        var table = TaskTable(capacity: 2)
        var model: [UInt: Thing] = [:]
        for step in 0..<20_000 {
            // Grows for a while, and shrinks for a while.
            let inserts = (step / 2000).isMultiple(of: 2) ? 6 : 3
            let identity = UInt(1 + Int.random(in: 0..<400, using: &random)) * 16
            if Int.random(in: 0..<10, using: &random) < inserts {
                let thing = things[Int.random(in: 0..<400, using: &random)]
                table.insert(thing, identity: identity)
                model[identity] = thing
            } else {
                table.remove(identity)
                model[identity] = nil
            }
            #expect(table.count == model.count)
            let other = UInt(1 + Int.random(in: 0..<400, using: &random)) * 16
            #expect(found(table, other) === model[other])
        }
        for number in 1...400 {
            #expect(found(table, UInt(number) * 16) === model[UInt(number) * 16])
        }
        #expect(
            Set(table.all.map(ObjectIdentifier.init))
                == Set(model.values.map(ObjectIdentifier.init)))
        withExtendedLifetime(things) {}
    }

    @Test("No task has the identity of code outside of tasks")
    func zeroIsNobody() {
        let thing = Thing()
        var table = TaskTable(capacity: 2)
        table.insert(thing, identity: 16)
        table.remove(0)
        #expect(found(table, 0) == nil)
        #expect(table.count == 1)
        #expect(found(table, 16) === thing)
    }
}
