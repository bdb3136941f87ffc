// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Glibc
import GyreCore
import GyreDispatch
import GyreTesting
import Synchronization
import Testing

@Suite("A loop embedded in a dispatch queue")
struct DispatchEmbeddingTests {
    /// The policies that can be embedded.
    enum Policy: String, CaseIterable, Sendable {
        case epoll, dispatch

        func makeLoop() throws -> Loop {
            let selection = LoopSelection(policy: rawValue, requested: rawValue, origin: "test")
            return try Loop(selection: selection) { operations throws(LoopError) in
                switch self {
                case .epoll: try EpollBackend(operations: operations)
                case .dispatch: try DispatchBackend(operations: operations)
                }
            }
        }
    }

    private let queue = DispatchQueue(label: "gyre.test")
    private let ended = Latch()

    /// Makes a loop and embeds it, and lets `body` use both, all on the queue.
    ///
    /// Waits until the latch was opened.
    private func embed(
        _ policy: Policy, _ body: @escaping @Sendable (Loop, DispatchEmbedding) throws -> Void
    ) throws {
        try queue.sync {
            let loop = try policy.makeLoop()
            let embedding = try DispatchEmbedding(loop, on: queue) { error in
                Issue.record("\(error)")
            }
            try body(loop, embedding)
        }
        #expect(ended.wait(), "the loop did not get to its end")
    }

    @Test("Callbacks, timers and I/O run on the queue", arguments: Policy.allCases)
    func everythingRunsOnTheQueue(_ policy: Policy) throws {
        try embed(policy) { [queue, ended] loop, embedding in
            let pair = makePair()
            var steps: [String] = []
            func step(_ name: String) {
                dispatchPrecondition(condition: .onQueue(queue))
                steps.append(name)
            }
            loop.callSoon {
                step("soon")
                let start = loop.now
                loop.callLater(.milliseconds(5)) {
                    #expect(start.duration(to: loop.now) >= .milliseconds(5))
                    step("timer")
                    _ = send(pair.far, "hello", 5, CInt(MSG_NOSIGNAL))
                }
            }
            try loop.addReader(pair.near) {
                var bytes = [UInt8](repeating: 0, count: 16)
                let count = recv(pair.near, &bytes, bytes.count, 0)
                step("\(count) bytes")
                loop.callLater(.milliseconds(1)) {
                    step("end")
                    #expect(steps == ["soon", "timer", "5 bytes", "end"])
                    loop.removeReader(pair.near)
                    embedding.stop()
                    #expect(throws: Never.self) {
                        loop.callSoon {
                            // Not before somebody runs it again.
                            Issue.record("ran after the end")
                        }
                    }
                    close(pair.near)
                    close(pair.far)
                    queue.async { ended.open() }
                }
            }
            embedding.start()
        }
    }

    @Test("A thousand calls from another thread all arrive, in order", arguments: Policy.allCases)
    func callsFromOtherThreadsArrive(_ policy: Policy) throws {
        let arrived = Mutex<[Int]>([])
        let handle = Mutex<LoopHandle?>(nil)
        let thread = try queue.sync {
            let loop = try policy.makeLoop()
            let embedding = try DispatchEmbedding(loop, on: queue) { Issue.record("\($0)") }
            embedding.start()
            handle.withCheckedLock { $0 = loop.handle }
            let sender = loop.handle
            return try TestThread { [ended] in
                for number in 0..<1000 {
                    // Some find the loop asleep, some awake.
                    if number % 100 == 0 { usleep(500) }
                    try sender.callSoonThreadSafe { loop in
                        arrived.withCheckedLock { $0.append(number) }
                        if number == 999 {
                            embedding.stop()
                            ended.open()
                        }
                    }
                }
            }
        }
        #expect(ended.wait(), "calls were lost")
        try thread.join()
        #expect(arrived.withCheckedLock { $0 } == Array(0..<1000))
    }

    @Test("A stopped loop can be run by itself, and embedded again", arguments: Policy.allCases)
    func stoppedLoopsCanBeRun(_ policy: Policy) throws {
        try embed(policy) { [queue, ended] loop, embedding in
            Alternation(loop, embedding, queue, ended).drive()
        }
    }

    @Test("A fatal error stops the embedding and is told", arguments: Policy.allCases)
    func fatalErrorsAreTold(_ policy: Policy) throws {
        try queue.sync {
            let loop = try policy.makeLoop()
            let embedding = try DispatchEmbedding(loop, on: queue) { [ended] error in
                #expect(error is LoopInterrupt)
                ended.open()
            }
            loop.callLater(.milliseconds(1)) { throw LoopInterrupt() }
            embedding.start()
        }
        #expect(ended.wait(), "nobody was told")
    }

    @Test("What cannot be embedded is refused")
    func refusals() throws {
        let loop = try Policy.dispatch.makeLoop()
        let embedding = try DispatchEmbedding(loop, on: queue) { _ in }
        let again = #expect(throws: LoopError.self) {
            try DispatchEmbedding(loop, on: queue) { _ in }
        }
        #expect(again?.code == .inUse)
        withExtendedLifetime(embedding) {}
        let selection = LoopSelection(policy: "io_uring", requested: "io_uring", origin: "test")
        let ring = try Loop(selection: selection) { operations throws(LoopError) in
            try EpollBackend(operations: operations)
        }
        let refused = #expect(throws: LoopError.self) {
            try DispatchEmbedding(ring, on: queue) { _ in }
        }
        #expect(refused?.code == .notSupported)
    }
}

/// Runs a loop by turns from its queue and by itself.
private final class Alternation {
    private let loop: Loop
    private let embedding: DispatchEmbedding
    private let queue: DispatchQueue
    private let ended: Latch
    private var rounds = 0

    init(_ loop: Loop, _ embedding: DispatchEmbedding, _ queue: DispatchQueue, _ ended: Latch) {
        self.loop = loop
        self.embedding = embedding
        self.queue = queue
        self.ended = ended
    }

    func drive() {
        loop.callLater(.milliseconds(1)) { [self] in
            embedding.stop()
            queue.async { [box = Box(self)] in box.value.runAlone() }
        }
        embedding.start()
    }

    private func runAlone() {
        loop.callLater(.milliseconds(1)) { [loop] in loop.stop() }
        #expect(throws: Never.self) { try loop.runForever() }
        rounds += 1
        if rounds < 5 { drive() } else { ended.open() }
    }
}

/// Carries what belongs to the queue through a closure that goes to the queue.
private struct Box<Value>: @unchecked Sendable {
    let value: Value

    init(_ value: Value) { self.value = value }
}
