// SPDX-License-Identifier: Apache-2.0

import CGyreBench
import Gyre
import Synchronization

extension MicroCase {
    /// From one other thread as fast as it can, while the loop takes the calls on another CPU.
    static let threadSubmit = MicroCase(
        name: "thread_submit", about: "schedule a callback from another thread"
    ) { policy in
        let cpus = System.pair
        bench_pin_thread(CInt(cpus.server))
        let loop = try LoopThread(policy, cpu: cpus.load)
        let count = 200_000
        let ran = Ran()
        func repetition() throws -> Double {
            let before = ran.count.load(ordering: .relaxed)
            let handle = loop.handle
            let cost = try cpuNanoseconds(per: count) {
                for _ in 0..<count {
                    try handle.callSoonThreadSafe { _ in
                        ran.count.wrappingAdd(1, ordering: .relaxed)
                    }
                }
            }
            try loop.drain()
            guard ran.count.load(ordering: .relaxed) - before == count else {
                throw BenchError("not every call ran once")
            }
            return cost
        }
        _ = try repetition()
        let costs = try (0..<15).map { _ in try repetition() }
        try loop.stop()
        return [try MicroResult("thread_submit", unit: "ns", costs)]
    }

    private final class Ran: Sendable {
        let count = Atomic(0)
    }
}
