// SPDX-License-Identifier: Apache-2.0

#if IOUring

import CGyre
import Glibc
import Gyre
import GyreTesting
import Testing

@testable import GyreCore

private var reasonToSkip: String? {
    guard case .failure(let reason) = LoopPolicy.ioUring.probe() else { return nil }
    return "this machine gives no ring: \(reason)"
}

/// What is special to the ring: its queues, its buffers, its thread.
@Suite("IOUringBackend", .disabled(if: reasonToSkip != nil, "\(reasonToSkip ?? "")"))
struct IOUringBackendTests {
    private struct Rig {
        let operations = OperationTable()
        let backend: IOUringBackend

        init(_ options: gyre_ring_options = IOUringBackend.options) throws {
            backend = try IOUringBackend(operations: operations, options: options)
        }

        func submit(_ kind: Operation.Kind, on fd: CInt, _ target: NotingTarget) -> OperationID {
            let id = operations.insert(
                Operation(kind: kind, fd: fd, direction: .read), target: target)
            backend.submit(id)
            return id
        }

        func cancel(_ id: OperationID) {
            operations.markCancelled(id)
            backend.cancel(id)
        }

        func run(until condition: () -> Bool) throws {
            let deadline = LoopClock.monotonic.now.advanced(by: .seconds(20))
            while !condition() {
                try #require(LoopClock.monotonic.now < deadline, "it never came")
                backend.wait(nanoseconds: 100_000_000)
                backend.deliver()
            }
        }
    }

    // MARK: The queues

    /// Eight times the submission queue, and more than the completion queue holds.
    @Test(
        "A full submission queue is handed over, and nothing in it is lost",
        arguments: [2000, 5000], [true, false])
    func fullSubmissionQueue(_ count: Int, _ hasRun: Bool) throws {
        let rig = try Rig()
        let pair = SocketPair()
        // Before the first enter nothing may reach the kernel: it would bind the ring to a thread
        // that only sets things up.
        if hasRun { rig.backend.wait(nanoseconds: 0) }
        let targets = (0..<count).map { _ in NotingTarget() }
        let ids = targets.map { rig.submit(.poll, on: pair.near, $0) }
        pair.sendToNear()
        try rig.run(until: { targets.allSatisfy { !$0.results.isEmpty } })
        for id in ids { rig.cancel(id) }
        try rig.run(until: { rig.operations.active == 0 })
        for target in targets {
            #expect(target.lasts == 1)
            #expect(target.results.last == -ECANCELED)
        }
    }

    @Test("An operation that is cancelled before the kernel got it ends once")
    func cancelBeforeSubmission() throws {
        let rig = try Rig()
        let pair = SocketPair()
        let targets = (0..<1000).map { _ in NotingTarget() }
        let ids = targets.map { rig.submit(.poll, on: pair.near, $0) }
        for id in ids { rig.cancel(id) }
        for target in targets { #expect(target.results.isEmpty) }
        try rig.run(until: { rig.operations.active == 0 })
        for target in targets { #expect(target.results == [-ECANCELED]) }
    }

    @Test("Descriptors that are always ready do not keep a delivery going")
    func deliveryIsBounded() throws {
        let rig = try Rig()
        let pair = SocketPair()
        pair.sendToNear()
        let targets = (0..<1000).map { _ in NotingTarget() }
        for target in targets { _ = rig.submit(.poll, on: pair.near, target) }
        for turn in 1...20 {
            rig.backend.wait(nanoseconds: 0)
            rig.backend.deliver()
            #expect(targets.allSatisfy { $0.results.count <= turn })
        }
        #expect(targets.allSatisfy { $0.results.count >= 5 })
    }

    @Test("What was submitted last can be taken back until the wait, and never completes")
    func takeBack() throws {
        let rig = try Rig()
        let pair = SocketPair()
        pair.sendToNear()
        let targets = (0..<3).map { _ in NotingTarget() }
        let ids = targets.map { rig.submit(.poll, on: pair.near, $0) }
        #expect(!rig.backend.takeBack(ids[0]))
        for id in ids.dropFirst().reversed() {
            #expect(rig.backend.takeBack(id))
            rig.operations.withdraw(id)
        }
        #expect(rig.operations.active == 1)
        #expect(rig.operations.submitted == 1)
        rig.backend.wait(nanoseconds: 0)
        #expect(!rig.backend.takeBack(ids[0]))
        try rig.run(until: { !targets[0].results.isEmpty })
        #expect(targets[1].results.isEmpty && targets[2].results.isEmpty)
        rig.cancel(ids[0])
        try rig.run(until: { rig.operations.active == 0 })
    }

    @Test("An immediate send takes what there is room for, and waits for none")
    func immediateSend() throws {
        let rig = try Rig()
        let pair = SocketPair()
        let bytes = [UInt8](repeating: 7, count: 4 << 20)
        var results: [CInt] = []
        for _ in 0..<2 {
            let target = NotingTarget()
            bytes.withUnsafeBytes { bytes in
                let id = rig.operations.insert(
                    Operation(
                        kind: .send, fd: pair.near, direction: .write,
                        pointer: bytes.baseAddress, count: bytes.count, isImmediate: true),
                    target: target)
                rig.backend.submit(id)
                rig.backend.wait(nanoseconds: 0)
                rig.backend.deliver()
            }
            #expect(target.lasts == 1)
            results += target.results
        }
        try #require(results.count == 2)
        #expect(results[0] > 0 && results[0] < 4 << 20)
        #expect(results[1] == -EAGAIN)
    }

    // MARK: Receive buffers

    private static func options(
        buffers: UInt32, of size: UInt32, isOld: Bool
    ) -> gyre_ring_options {
        var options = IOUringBackend.options
        options.incremental_buffer_count = buffers
        options.incremental_buffer_size = size
        options.plain_buffer_count = buffers
        options.plain_buffer_size = size
        options.avoids_new_features = isOld
        return options
    }

    /// A buffer that is lost stops the flow for good; one that is given back twice is filled while
    /// another reader still has it.
    ///
    /// Both show in the bytes.
    @Test(
        "With more data than buffers every byte arrives, round after round",
        arguments: [1, 2, 16] as [UInt32], [true, false])
    func exhaustedBuffers(_ buffers: UInt32, _ isOld: Bool) throws {
        let rig = try Rig(Self.options(buffers: buffers, of: 4096, isOld: isOld))
        let count = 24
        let rounds = 40
        let pairs = (0..<count).map { _ in SocketPair() }
        let targets = pairs.map { _ in NotingTarget() }
        for (pair, target) in zip(pairs, targets) {
            _ = rig.submit(.receive, on: pair.near, target)
        }
        for round in 0..<rounds {
            for (number, pair) in pairs.enumerated() {
                // Sizes around the buffer's, different for each.
                let size = 1 + (number * 997 + round * 131) % 12_000
                let bytes = [UInt8](repeating: UInt8(number * 8 + round % 8), count: size)
                let sent = send(pair.far, bytes, size, CInt(MSG_NOSIGNAL))
                try #require(sent == size)
            }
            let expected = (0..<count).map { 1 + ($0 * 997 + round * 131) % 12_000 }
            try rig.run(until: {
                zip(targets, expected).allSatisfy { $0.bytes.count >= $1 }
            })
            for (number, target) in targets.enumerated() {
                #expect(target.bytes.count == expected[number])
                let value = UInt8(number * 8 + round % 8)
                #expect(target.bytes.allSatisfy { $0 == value }, "bytes of another connection")
                target.bytes = []
            }
        }
        #expect(targets.allSatisfy { $0.lasts == 0 })
        rig.backend.close()
        rig.operations.removeAll()
    }

    @Test("A receiver that goes away in the middle keeps no buffer", arguments: [true, false])
    func cancelledReceiversKeepNoBuffer(_ isOld: Bool) throws {
        let rig = try Rig(Self.options(buffers: 2, of: 4096, isOld: isOld))
        for _ in 0..<100 {
            let pair = SocketPair()
            let target = NotingTarget()
            let id = rig.submit(.receive, on: pair.near, target)
            rig.backend.wait(nanoseconds: 0)
            pair.sendToNear(3000)
            // Cancelled while data is on its way: it may come, or not.
            rig.cancel(id)
            try rig.run(until: { target.lasts > 0 })
            #expect(target.results.last == -ECANCELED || target.results.last == 3000)
        }
        let pair = SocketPair()
        let target = NotingTarget()
        _ = rig.submit(.receive, on: pair.near, target)
        for round in 1...20 {
            pair.sendToNear(4096)
            try rig.run(until: { target.bytes.count == 4096 * round })
        }
        rig.backend.close()
        rig.operations.removeAll()
    }

    // MARK: The thread

    @Test("A loop may be made and set up on one thread and run on another")
    func runsOnAnotherThread() throws {
        let loop = try LoopPolicy.ioUring.makeLoop()
        let pairs = (0..<400).map { _ in SocketPair() }
        for pair in pairs { try loop.addReader(pair.near) { Loop.running.stop() } }
        pairs.last?.sendToNear()
        nonisolated(unsafe) let moved = loop
        let thread = try TestThread {
            try moved.runForever()
            try moved.close()
        }
        try thread.join()
    }

    @Test("The features that were found are those that were asked for")
    func features() throws {
        let features = try Rig().backend.features
        #expect(features.multishot_receive)
        #expect(features.submission_entries >= 256)
        #expect(features.completion_entries >= 2048)
        let old = try Rig(IOUringBackend.optionsOfOldKernels).backend.features
        #expect(!old.incremental_buffers && !old.deferred_task_work)
    }
}

#endif
