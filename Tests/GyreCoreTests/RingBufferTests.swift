// SPDX-License-Identifier: Apache-2.0

import GyreTesting
import Testing

@testable import GyreCore

@Suite("RingBuffer")
struct RingBufferTests {
    @Test("Elements come out in the order they went in, also when it wraps and grows")
    func firstInFirstOut() {
        var random = SeededRandom(seed: 1)
        var buffer = RingBuffer<Int>(capacity: 2)
        var model: [Int] = []
        for number in 0..<20_000 {
            // Long runs of either kind, so that it is empty and large in turns.
            if random.next(below: 1000) < (number / 500 % 2 == 0 ? 600 : 400) || model.isEmpty {
                buffer.append(number)
                model.append(number)
            } else {
                #expect(buffer.removeFirst() == model.removeFirst())
            }
            #expect(buffer.count == model.count)
            #expect(buffer.isEmpty == model.isEmpty)
        }
        while !model.isEmpty { #expect(buffer.removeFirst() == model.removeFirst()) }
    }

    @Test("A position is the name of an element for as long as it is in")
    func positionsAreStable() {
        var buffer = RingBuffer<String>(capacity: 1)
        buffer.append("a")
        buffer.append("b")
        let position = buffer.tail - 1
        _ = buffer.removeFirst()
        for number in 0..<100 { buffer.append("\(number)") }
        #expect(buffer[position] == "b")
        buffer[position] = "c"
        #expect(buffer.removeFirst() == "c")
        #expect(buffer.head == position + 1)
    }

    @Test("Elements are released when they leave and with the buffer, each once")
    func elementsAreReleased() {
        let live = SharedValue(0)
        do {
            var buffer = RingBuffer<LifeToken>(capacity: 4)
            for _ in 0..<3 { buffer.append(LifeToken(live)) }
            _ = buffer.removeFirst()
            #expect(live.value == 2)
            for _ in 0..<10 { buffer.append(LifeToken(live)) }
            #expect(live.value == 12)
        }
        #expect(live.value == 0)
    }
}
