// SPDX-License-Identifier: Apache-2.0

import Gyre

extension MicroCase {
    /// A thousand are queued at a time, as in a busy loop.
    ///
    /// The closure captures two values, which takes a context on the heap: most closures do.
    static let callSoon = MicroCase(
        name: "call_soon", about: "schedule a callback and run it"
    ) { policy in
        let loop = try policy.makeLoop()
        defer { try? loop.close() }
        let (batches, batchSize) = (200, 1000)
        let counter = Counter()
        func repetition() throws -> Double {
            counter.value = 0
            let cost = try cpuNanoseconds(per: batches * batchSize) {
                for _ in 0..<batches {
                    for step in 0..<batchSize {
                        loop.callSoon { counter.value &+= step }
                    }
                    try loop.run(.noWait)
                }
            }
            guard counter.value == batches * batchSize * (batchSize - 1) / 2 else {
                throw BenchError("not every callback ran once")
            }
            return cost
        }
        _ = try repetition()
        return [
            try MicroResult("call_soon", unit: "ns", (0..<15).map { _ in try repetition() })
        ]
    }
}
