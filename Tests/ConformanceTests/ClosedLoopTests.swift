// SPDX-License-Identifier: Apache-2.0

import Gyre
import GyreCore
import GyreTasks
import GyreTesting
import Testing

/// Tasks outside of loops that wait for what belongs to a loop that is closed.
@Suite("Waiting for a closed loop")
struct ClosedLoopTests {
    private static func makeClosed(
        _ policy: PolicyUnderTest
    ) throws -> (done: LoopFuture<Int>, pending: LoopFuture<Int>, queue: LoopQueue<Int>) {
        let loop = try policy.kit.makeLoop()
        let done = LoopFuture<Int>(on: loop)
        let pending = LoopFuture<Int>(on: loop)
        let queue = LoopQueue<Int>(on: loop.handle)
        try done.setResult(1)
        try loop.close()
        return (done, pending, queue)
    }

    private static func code(_ body: () async throws -> Void) async -> LoopError.Code? {
        do {
            try await body()
            return nil
        } catch {
            return (error as? LoopError)?.code
        }
    }

    @Test("It fails, and does not wait for ever", arguments: PolicyUnderTest.usable)
    func waitingFails(_ policy: PolicyUnderTest) async throws {
        let (done, pending, queue) = try Self.makeClosed(policy)
        #expect(await Self.code { _ = try await done.value } == .closed)
        #expect(await Self.code { _ = try await pending.value } == .closed)
        #expect(await Self.code { _ = try await pending.asTask().value } == .closed)
        #expect(await Self.code { try await queue.put(1) } == .closed)
        #expect(await Self.code { _ = try await queue.get() } == .closed)
    }
}
