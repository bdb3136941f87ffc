// SPDX-License-Identifier: Apache-2.0

import GyreTesting
import Testing

@testable import GyreCore

@Suite("TimerHeap")
struct TimerHeapTests {
    private let site = CallSite(file: #fileID, line: #line)

    /// Takes what is due out of the heap and runs it.
    private func fire(_ heap: inout TimerHeap, now: Int64) throws {
        var due: [DueTimer] = []
        heap.popDue(now: now, into: &due)
        for timer in due { try heap.remove(timer)?.body() }
    }

    /// The heap against the simplest thing that does the same: a list that is sorted when asked.
    @Test("Agrees with a sorted list over many random steps", arguments: 0..<8)
    func agreesWithAModel(_ seed: UInt64) throws {
        struct Expected {
            let number: Int
            let deadline: Int64
            let name: TimerName
        }
        var random = SeededRandom(seed: seed)
        var heap = TimerHeap()
        var model: [Expected] = []
        var fired: [Int] = []
        var now: Int64 = 0
        // Seeds differ in how crowded the heap is, and how many deadlines are equal.
        let crowd = [4, 40, 400, 4000][Int(seed) % 4]
        let span = seed < 4 ? 50 : 1_000_000
        for number in 0..<20_000 {
            switch random.next(below: 10) {
            case 0..<4 where model.count < crowd, 0..<10 where model.isEmpty:
                let deadline = now + Int64(random.next(below: span))
                let name = heap.insert(deadline: deadline, site: site) { fired.append(number) }
                #expect(heap.contains(name) == true)
                model.append(Expected(number: number, deadline: deadline, name: name))
            case 4..<8:
                let victim = model.remove(at: random.next(below: model.count))
                #expect(heap.cancel(victim.name) != nil)
                #expect(heap.cancel(victim.name) == nil)
                #expect(heap.contains(victim.name) == false)
            default:
                now += Int64(random.next(below: span / 10))
                // Stable, so equal deadlines stay in the order of creation.
                let due = model.filter { $0.deadline <= now }.sorted { $0.deadline < $1.deadline }
                model.removeAll { $0.deadline <= now }
                fired = []
                try fire(&heap, now: now)
                #expect(fired == due.map(\.number))
            }
            #expect(heap.count == model.count)
            #expect(heap.nextDeadline() == model.map(\.deadline).min())
            #expect(heap.storedCount <= max(65, 2 * heap.count + 1))
        }
    }

    @Test("The debris of cancelled timers is swept although nothing comes due")
    func sweeps() throws {
        var heap = TimerHeap()
        var fired: [Int] = []
        let names = (0..<10_000).map { number in
            heap.insert(deadline: Int64(1_000_000 - number), site: site) { fired.append(number) }
        }
        #expect(heap.storedCount == 10_000)
        for (number, name) in names.enumerated() where number % 100 != 7 {
            #expect(heap.cancel(name) != nil)
        }
        #expect(heap.count == 100)
        #expect(heap.storedCount <= 201)
        try fire(&heap, now: .max)
        #expect(fired == (0..<100).reversed().map { $0 * 100 + 7 })
        #expect(heap.count == 0 && heap.storedCount == 0)
    }

    @Test("A timer can be cancelled after it came due and before it ran")
    func cancelBetweenDueAndRun() {
        var heap = TimerHeap()
        let names = (0..<3).map { _ in heap.insert(deadline: 1, site: site) {} }
        var due: [DueTimer] = []
        heap.popDue(now: 1, into: &due)
        #expect(due.count == 3)
        #expect(heap.count == 3)
        #expect(heap.cancel(names[1]) != nil)
        // Its slot goes to another, which is not due and must not run in its place.
        let other = heap.insert(deadline: 9, site: site) {}
        #expect(due.map { heap.remove($0) != nil } == [true, false, true])
        #expect(heap.contains(other) == true)
        #expect(heap.count == 1)
    }

    @Test("A name never means another timer, also when its slot is used again")
    func namesAreNotReused() {
        var heap = TimerHeap()
        let first = heap.insert(deadline: 1, site: site) {}
        _ = heap.cancel(first)
        let second = heap.insert(deadline: 1, site: site) {}
        #expect(heap.contains(first) == false)
        #expect(heap.cancel(first) == nil)
        #expect(heap.contains(second) == true)
        #expect(heap.count == 1)
    }

    @Test("The ends of the clock's range are deadlines like any other")
    func extremeDeadlines() throws {
        var heap = TimerHeap()
        var fired: [Int64] = []
        for deadline in [Int64.max, 0, .min, -1, .max, .min] {
            _ = heap.insert(deadline: deadline, site: site) { fired.append(deadline) }
        }
        try fire(&heap, now: -1)
        #expect(fired == [.min, .min, -1])
        try fire(&heap, now: .max)
        #expect(fired.suffix(3) == [0, .max, .max])
    }

    @Test("Callbacks are released when they are cancelled, ran, or the heap goes")
    func callbacksAreReleased() throws {
        let live = SharedValue(0)
        func callback() -> () -> Void {
            let token = LifeToken(live)
            return { token.touch() }
        }
        do {
            var heap = TimerHeap()
            let names = (0..<200).map {
                heap.insert(deadline: Int64($0), site: site, body: callback())
            }
            #expect(live.value == 200)
            for name in names[..<50] { _ = heap.cancel(name) }
            #expect(live.value == 150)
            try fire(&heap, now: 99)
            #expect(live.value == 100)
        }
        #expect(live.value == 0)
    }
}
