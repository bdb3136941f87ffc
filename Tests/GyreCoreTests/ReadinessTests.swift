// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreTesting
import Testing

@testable import GyreCore

/// What is made of reports, without a poller: the test reports by hand.
@Suite("Readiness")
struct ReadinessTests {
    private static let receiveSize = 64

    private struct Rig {
        let operations = OperationTable()
        let readiness: Readiness
        let pair = SocketPair()
        let target = NotingTarget()

        init() {
            readiness = Readiness(
                operations: operations, socketFlags: CInt(SOCK_NONBLOCK.rawValue),
                receiveSize: receiveSize)
        }

        /// Submits, and says whether the poller has to watch.
        func submit(
            _ kind: Operation.Kind, _ direction: Operation.Direction, on fd: CInt? = nil,
            target: NotingTarget? = nil
        ) -> (id: OperationID, isWatched: Bool) {
            let operation = Operation(kind: kind, fd: fd ?? pair.near, direction: direction)
            let id = operations.insert(operation, target: target ?? self.target)
            return (id, readiness.submit(id, operation))
        }

        func report(_ change: (inout Readiness.Report) -> Void) {
            var report = Readiness.Report(
                fd: pair.near, generation: readiness.generation(of: pair.near))
            change(&report)
            readiness.deliver(report) { _, _ in 0 }
        }

        func deliverPending() { readiness.deliverPending { _, _ in 0 } }
    }

    // MARK: Receiving

    @Test("A short read has drained the socket: nothing is tried again without a report")
    func shortRead() {
        let rig = Rig()
        #expect(rig.submit(.receive, .read).isWatched)
        rig.pair.sendToNear(10)
        rig.report { $0.isReadable = true }
        #expect(rig.target.results == [10])
        #expect(!rig.readiness.hasWork)
        // New data without a report: nobody looks.
        rig.pair.sendToNear(5)
        #expect(!rig.readiness.hasWork)
        rig.report { $0.isReadable = true }
        #expect(rig.target.results == [10, 5])
    }

    @Test("A full read is followed by another in the next turn, one each")
    func fullReads() {
        let rig = Rig()
        _ = rig.submit(.receive, .read)
        rig.pair.sendToNear(3 * Self.receiveSize + 1)
        rig.report { $0.isReadable = true }
        for turn in 1...3 {
            #expect(rig.target.results.count == turn)
            #expect(rig.readiness.hasWork)
            rig.deliverPending()
        }
        #expect(rig.target.results == [64, 64, 64, 1])
        #expect(!rig.readiness.hasWork)
        // Exactly a buffer full: the next try finds nothing, and that is the end of it.
        rig.pair.sendToNear(Self.receiveSize)
        rig.report { $0.isReadable = true }
        #expect(rig.readiness.hasWork)
        rig.deliverPending()
        #expect(rig.target.results == [64, 64, 64, 1, 64])
        #expect(!rig.readiness.hasWork)
    }

    @Test("After a hang-up the socket is read until the end of file, which no report announces")
    func hangUpWithData() {
        let rig = Rig()
        _ = rig.submit(.receive, .read)
        rig.pair.sendToNear(10)
        rig.pair.closeFar()
        rig.report {
            $0.isReadable = true
            $0.readsToEnd = true
        }
        #expect(rig.target.results == [10])
        #expect(rig.readiness.hasWork)
        rig.deliverPending()
        #expect(rig.target.results == [10, 0])
        #expect(rig.target.lasts == 1)
        #expect(!rig.readiness.hasWork)
        #expect(rig.operations.active == 0)
    }

    @Test("A report that came while nobody waited is not lost")
    func reportBeforeOperation() {
        let rig = Rig()
        rig.pair.sendToNear(10)
        // The number is known from an operation that was cancelled.
        let (id, _) = rig.submit(.receive, .read)
        #expect(
            !rig.readiness.cancel(
                id, Operation(kind: .receive, fd: rig.pair.near, direction: .read)))
        #expect(rig.target.results.isEmpty)
        rig.deliverPending()
        #expect(rig.target.results == [-ECANCELED])
        rig.report { $0.isReadable = true }
        #expect(rig.target.results == [-ECANCELED])
        _ = rig.submit(.receive, .read)
        #expect(rig.readiness.hasWork)
        rig.deliverPending()
        #expect(rig.target.results == [-ECANCELED, 10])
    }

    @Test("A report for an earlier owner of the number reaches nobody")
    func lateReport() {
        let rig = Rig()
        _ = rig.submit(.receive, .read)
        let old = Readiness.Report(
            fd: rig.pair.near, generation: rig.readiness.generation(of: rig.pair.near))
        rig.readiness.forget(rig.pair.near)
        let next = NotingTarget()
        _ = rig.submit(.receive, .read, target: next)
        rig.pair.sendToNear(1)
        var late = old
        late.isReadable = true
        late.readsToEnd = true
        rig.readiness.deliver(late) { _, _ in 0 }
        #expect(next.results.isEmpty)
        #expect(!rig.readiness.hasWork)
        rig.report { $0.isReadable = true }
        #expect(next.results == [1])
    }

    @Test("A target that closes the descriptor ends the attempt")
    func closingInsideACompletion() {
        let rig = Rig()
        _ = rig.submit(.receive, .read)
        let writer = NotingTarget()
        _ = rig.submit(.send, .write, target: writer)
        rig.target.onCompletion = { [unowned readiness = rig.readiness, fd = rig.pair.near] _ in
            readiness.forget(fd)
        }
        rig.pair.sendToNear(1)
        rig.report {
            $0.isReadable = true
            $0.isWritable = true
        }
        #expect(rig.target.results == [1])
        #expect(writer.results.isEmpty)
    }

    // MARK: Accepting

    @Test("Connections are accepted in bounded numbers per turn")
    func acceptBudget() throws {
        let rig = Rig()
        let backend = try BackendRig(try #require(BackendRig.Kind.usable.first))
        let listener = try ListeningSocket(backend)
        let peers = try (0..<200).map { _ in try RawPeer(port: listener.port) }
        var accepted: [CInt] = []
        defer { for fd in accepted { close(fd) } }
        rig.target.onCompletion = { accepted.append($0.result) }
        _ = rig.submit(.accept, .read, on: listener.fd)
        var report = Readiness.Report(
            fd: listener.fd, generation: rig.readiness.generation(of: listener.fd))
        report.isReadable = true
        rig.readiness.deliver(report) { _, _ in 0 }
        var turns = 1
        while rig.readiness.hasWork {
            #expect(accepted.count <= 64 * turns)
            turns += 1
            rig.deliverPending()
        }
        #expect(accepted.count == peers.count)
        #expect(turns >= 4)
    }

    // MARK: Filing

    @Test("Two operations for the same direction are refused, for the two directions are not")
    func oneOperationForEachDirection() {
        let rig = Rig()
        #expect(rig.submit(.receive, .read).isWatched)
        let second = NotingTarget()
        #expect(!rig.submit(.receive, .read, target: second).isWatched)
        let polling = NotingTarget()
        #expect(!rig.submit(.poll, .write, target: polling).isWatched)
        #expect(rig.submit(.send, .write).isWatched)
        rig.deliverPending()
        #expect(second.results == [-EBUSY])
        #expect(polling.results == [-EBUSY])
        #expect(rig.target.results.isEmpty)
    }

    @Test("A number that is no descriptor ends the operation")
    func invalidDescriptor() {
        let rig = Rig()
        #expect(!rig.submit(.receive, .read, on: -1).isWatched)
        rig.deliverPending()
        #expect(rig.target.results == [-EBADF])
    }

    @Test("Large descriptor numbers have their place")
    func largeNumbers() {
        let rig = Rig()
        let numbers: [CInt] = [63, 64, 1000, 100_000]
        let targets = numbers.map { _ in NotingTarget() }
        for (fd, target) in zip(numbers, targets) {
            #expect(rig.submit(.receive, .read, on: fd, target: target).isWatched)
            #expect(rig.readiness.hasOperation(on: fd, .read))
            #expect(!rig.readiness.hasOperation(on: fd, .write))
        }
        #expect(!rig.readiness.hasOperation(on: 1_000_000, .read))
        #expect(rig.readiness.generation(of: 1_000_000) == 0)
    }

    @Test("Delivery that is interrupted keeps the rest in order")
    func interruption() {
        let rig = Rig()
        let targets = (0..<4).map { _ in NotingTarget() }
        for (number, target) in targets.enumerated() {
            target.onCompletion = { _ in rig.operations.isInterrupted = true }
            _ = rig.submit(.receive, .read, on: -CInt(number) - 1, target: target)
        }
        for told in 1...4 {
            #expect(rig.readiness.hasWork)
            rig.operations.isInterrupted = false
            rig.deliverPending()
            #expect(targets.map(\.lasts) == (0..<4).map { $0 < told ? 1 : 0 })
        }
        #expect(!rig.readiness.hasWork)
    }
}
