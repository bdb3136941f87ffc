// SPDX-License-Identifier: Apache-2.0

import GyreTesting
import Testing

@testable import GyreCore

@Suite("ReadyQueue")
struct ReadyQueueTests {
    private let site = CallSite(file: #fileID, line: #line)

    private func isCancelled(_ entry: ReadyEntry) -> Bool {
        if case .cancelled = entry.work { true } else { false }
    }

    @Test("Entries leave in order, and a cancelled one leaves empty in its place")
    func orderWithCancelled() throws {
        var queue = ReadyQueue()
        var ran: [Int] = []
        let positions = (0..<200).map { number in
            queue.append(.callback { ran.append(number) }, site: site)
        }
        for position in positions where position % 3 == 0 {
            #expect(queue.contains(position) == true)
            #expect(queue.cancel(position) != nil)
            #expect(queue.contains(position) == false)
            #expect(queue.cancel(position) == nil)
        }
        #expect(queue.count == 200)
        while !queue.isEmpty {
            if case .callback(let body) = queue.removeFirst().work { try body() }
        }
        #expect(ran == (0..<200).filter { $0 % 3 != 0 })
    }

    @Test("A position that left or never was is not in the queue")
    func unknownPositions() {
        var queue = ReadyQueue()
        #expect(queue.contains(0) == false)
        #expect(queue.cancel(0) == nil)
        let position = queue.append(.callback {}, site: site)
        #expect(queue.contains(position + 1) == false)
        #expect(queue.contains(.max) == false)
        _ = queue.removeFirst()
        #expect(queue.contains(position) == false)
        #expect(queue.cancel(position) == nil)
        #expect(queue.append(.callback {}, site: site) != position)
    }

    @Test("What a cancelled entry held is handed back, and released by who cancelled")
    func cancelHandsBack() {
        let live = SharedValue(0)
        var queue = ReadyQueue()
        let token = LifeToken(live)
        let position = queue.append(.callback { token.touch() }, site: site)
        do {
            let entry = queue.cancel(position)
            #expect(entry != nil)
        }
        let left = queue.removeFirst()
        #expect(isCancelled(left))
        _ = consume token
        #expect(live.value == 0)
    }
}
