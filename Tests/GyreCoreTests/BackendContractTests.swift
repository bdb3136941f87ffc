// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreTesting
import Testing

@testable import GyreCore

/// What the tick may rely on, for every backend: `LoopBackend`.
@Suite("Backend contract")
struct BackendContractTests {
    private func bytes(_ count: Int, from start: Int = 0) -> [UInt8] {
        (start..<start + count).map { UInt8($0 % 251) }
    }

    // MARK: Receiving

    @Test(
        "A receive hands out what comes, and ends with the end of file",
        arguments: BackendRig.Kind.usable)
    func receive(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let pair = try StreamPair(rig)
        let target = NotingTarget()
        let id = rig.submit(.receive, .read, on: pair.near, target)
        var sent = 0
        for size in [1, 10, 5000, 100_000, 3] {
            sent += pair.send(bytes(size, from: sent))
            try rig.run(until: { target.bytes.count == sent })
        }
        #expect(target.bytes == bytes(sent))
        #expect(target.lasts == 0)
        pair.closeFar()
        try rig.run(until: { target.lasts > 0 })
        #expect(target.results.last == 0)
        #expect(target.lasts == 1)
        #expect(!rig.operations.isActive(id))
        rig.settle()
        #expect(target.lasts == 1)
    }

    @Test("Data before a hang-up comes before the end", arguments: BackendRig.Kind.usable)
    func hangUpWithData(_ kind: BackendRig.Kind) throws {
        for size in [1, 4096, 100_000] {
            let rig = try BackendRig(kind)
            let pair = try StreamPair(rig)
            let target = NotingTarget()
            let count = pair.send(bytes(size))
            pair.closeFar()
            _ = rig.submit(.receive, .read, on: pair.near, target)
            try rig.run(until: { target.lasts > 0 })
            #expect(target.bytes == bytes(count))
            #expect(target.results.last == 0)
        }
    }

    @Test(
        "A cancelled receive ends once, and leaves what comes later to the next",
        arguments: BackendRig.Kind.usable)
    func cancelReceive(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let pair = try StreamPair(rig)
        for round in 0..<20 {
            let target = NotingTarget()
            let id = rig.submit(.receive, .read, on: pair.near, target)
            // Sometimes it has reached the kernel, sometimes it has not.
            if round.isMultiple(of: 2) { rig.settle() }
            rig.cancel(id)
            #expect(target.results.isEmpty, "completed inside the cancel")
            try rig.run(until: { target.lasts > 0 })
            #expect(target.results == [-ECANCELED])
            #expect(pair.send(bytes(100)) == 100)
            let next = NotingTarget()
            let nextID = rig.submit(.receive, .read, on: pair.near, next)
            try rig.run(until: { next.bytes.count == 100 })
            rig.cancel(nextID)
            try rig.run(until: { next.lasts > 0 })
            #expect(target.results == [-ECANCELED])
        }
        #expect(rig.operations.active == 0)
    }

    @Test("A busy socket leaves room for another", arguments: BackendRig.Kind.usable)
    func fairness(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let (busy, quiet) = (try StreamPair(rig), try StreamPair(rig))
        let (busyTarget, quietTarget) = (NotingTarget(), NotingTarget())
        // Filled again whenever something was taken: it never runs dry.
        busy.send(bytes(200_000))
        busyTarget.onCompletion = { _ in busy.send(self.bytes(200_000)) }
        _ = rig.submit(.receive, .read, on: busy.near, busyTarget)
        _ = rig.submit(.receive, .read, on: quiet.near, quietTarget)
        for round in 1...10 {
            quiet.send([1])
            let before = busyTarget.results.count
            try rig.run(until: { quietTarget.bytes.count == round })
            // The kernel hands out at most 32 pieces before it turns to another request.
            #expect(busyTarget.results.count - before <= 200)
        }
        #expect(busyTarget.results.count >= 10)
    }

    // MARK: Sending

    @Test("A send waits for room, and says how much was taken", arguments: BackendRig.Kind.usable)
    func send(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let pair = try StreamPair(rig)
        let filled = pair.fillNear()
        let target = NotingTarget()
        let message = bytes(300_000)
        var taken = 0
        var received: [UInt8] = []
        try message.withUnsafeBytes { all in
            while taken < message.count {
                target.results = []
                target.lasts = 0
                let rest = UnsafeRawBufferPointer(rebasing: all[taken...])
                _ = rig.submit(.send, .write, on: pair.near, target, bytes: rest)
                if taken == 0 {
                    rig.settle()
                    #expect(target.results.isEmpty, "there was no room")
                }
                try rig.run(until: {
                    received += pair.receive()
                    return target.lasts > 0
                })
                let result = try #require(target.results.first)
                try #require(result > 0)
                taken += Int(result)
            }
        }
        received += pair.receive()
        #expect(received.dropFirst(filled).elementsEqual(message))
    }

    @Test("Sending to nobody is an error, and no signal", arguments: BackendRig.Kind.usable)
    func sendToNobody(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let pair = try StreamPair(rig)
        _ = pair.fillNear()
        let target = NotingTarget()
        try bytes(10).withUnsafeBytes { message in
            _ = rig.submit(.send, .write, on: pair.near, target, bytes: message)
            rig.settle()
            pair.closeFar()
            try rig.run(until: { target.lasts > 0 })
        }
        #expect(target.results == [-EPIPE] || target.results == [-ECONNRESET])
    }

    @Test("A cancelled send ends once", arguments: BackendRig.Kind.usable)
    func cancelSend(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let pair = try StreamPair(rig)
        _ = pair.fillNear()
        let target = NotingTarget()
        try bytes(10).withUnsafeBytes { message in
            let id = rig.submit(.send, .write, on: pair.near, target, bytes: message)
            rig.settle()
            rig.cancel(id)
            #expect(target.results.isEmpty, "completed inside the cancel")
            try rig.run(until: { target.lasts > 0 })
        }
        #expect(target.results == [-ECANCELED])
    }

    // MARK: Connections

    @Test("Connecting completes, or is refused", arguments: BackendRig.Kind.usable)
    func connect(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let listener = try ListeningSocket(rig)
        let refusing = try ListeningSocket(rig)
        shutdown(refusing.fd, CInt(SHUT_RDWR))
        for (port, expected) in [(listener.port, CInt(0)), (refusing.port, -ECONNREFUSED)] {
            let fd = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | rig.backend.socketFlags, 0)
            let target = NotingTarget()
            var address = ListeningSocket.address(port: port)
            try withUnsafeBytes(of: &address) { bytes in
                _ = rig.submit(.connect, .write, on: fd, target, bytes: bytes)
                #expect(target.results.isEmpty, "completed inside the submit")
                try rig.run(until: { target.lasts > 0 })
            }
            #expect(target.results == [expected])
            rig.backend.closeDescriptor(fd)
        }
    }

    @Test(
        "An accept hands out every connection, until it is cancelled",
        arguments: BackendRig.Kind.usable)
    func accept(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let listener = try ListeningSocket(rig)
        let target = NotingTarget()
        // Not bytes, but descriptors: what they are is checked here.
        var accepted: [CInt] = []
        target.onCompletion = { if $0.result >= 0 { accepted.append($0.result) } }
        let id = rig.submit(.accept, .read, on: listener.fd, target)
        // More than are accepted in one go.
        let peers = try (0..<150).map { _ in try RawPeer(port: listener.port) }
        try rig.run(until: { accepted.count == peers.count })
        #expect(Set(accepted).count == peers.count)
        for fd in accepted {
            #expect(fcntl(fd, F_GETFD) & FD_CLOEXEC != 0)
            #expect(close(fd) == 0)
        }
        rig.cancel(id)
        try rig.run(until: { target.lasts > 0 })
        #expect(target.results.last == -ECANCELED)
        #expect(target.lasts == 1)
    }

    // MARK: Polling

    @Test(
        "A poll completes for as long as the descriptor is ready", arguments: BackendRig.Kind.usable
    )
    func poll(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let pair = try StreamPair(rig)
        let (reader, writer) = (NotingTarget(), NotingTarget())
        let readID = rig.submit(.poll, .read, on: pair.near, reader)
        rig.settle()
        #expect(reader.results.isEmpty)
        pair.send([1])
        try rig.run(until: { reader.results.count > 5 })
        let writeID = rig.submit(.poll, .write, on: pair.near, writer)
        let readsBefore = reader.results.count
        try rig.run(until: { writer.results.count > 5 && reader.results.count > readsBefore + 5 })
        // Drained: the reader is silent, the writer goes on.
        var byte: UInt8 = 0
        #expect(recv(pair.near, &byte, 1, 0) == 1)
        rig.settle()
        let reads = reader.results.count
        let writes = writer.results.count
        try rig.run(until: { writer.results.count > writes + 5 })
        #expect(reader.results.count == reads)
        rig.cancel(writeID)
        try rig.run(until: { writer.lasts > 0 })
        #expect(writer.results.last == -ECANCELED)
        pair.send([1])
        try rig.run(until: { reader.results.count > reads })
        rig.cancel(readID)
        try rig.run(until: { reader.lasts > 0 })
        #expect(reader.lasts == 1 && writer.lasts == 1)
    }

    @Test(
        "A wait for readiness completes once, beside a receive and a send",
        arguments: BackendRig.Kind.usable)
    func ready(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let pair = try StreamPair(rig)
        let (reader, writer) = (NotingTarget(), NotingTarget())
        for round in 1...3 {
            _ = rig.submit(.ready, .read, on: pair.near, reader)
            rig.settle()
            #expect(reader.lasts == round - 1)
            pair.send([1, 2])
            try rig.run(until: { reader.lasts == round })
            var bytes: [UInt8] = [0, 0]
            #expect(recv(pair.near, &bytes, 2, 0) == 2)
        }
        _ = pair.fillNear()
        _ = rig.submit(.ready, .write, on: pair.near, writer)
        let receiver = NotingTarget()
        _ = rig.submit(.receive, .read, on: pair.near, receiver)
        pair.send([3])
        try rig.run(until: { receiver.bytes == [3] })
        #expect(writer.lasts == 0)
        while !pair.receive().isEmpty {}
        try rig.run(until: { writer.lasts == 1 })
        #expect((reader.results + writer.results).allSatisfy { $0 >= 0 })
        // Nothing is said of what comes when nobody waits, and a wait can be given up.
        _ = pair.fillNear()
        let id = rig.submit(.ready, .write, on: pair.near, writer)
        rig.cancel(id)
        try rig.run(until: { writer.lasts == 2 })
        #expect(writer.results.last == -ECANCELED)
        #expect(writer.results.count == 2 && reader.results.count == 3)
    }

    // MARK: Waiting

    @Test("A wake-up ends a wait, also one that comes later", arguments: BackendRig.Kind.usable)
    func wake(_ kind: BackendRig.Kind) throws {
        // On one thread from the first wait on, as a ring wants it.
        let rig = try BackendRig(kind)
        let waker = rig.backend.waker
        let state = ThreadState.current
        for round in 0..<20 {
            let thread = try TestThread {
                if round.isMultiple(of: 2) { try state.waitUntilBlocked() }
                waker.wake()
            }
            if !round.isMultiple(of: 2) { try thread.join() }
            // Without the wake-up it would never come back.
            rig.backend.wait(nanoseconds: -1)
            rig.backend.deliver()
            try thread.join()
        }
    }

    @Test("A wait without an event lasts as long as it was told", arguments: BackendRig.Kind.usable)
    func timeout(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        rig.settle()
        let start = LoopClock.monotonic.now
        let end = start.advanced(by: .milliseconds(30))
        var waits = 0
        while LoopClock.monotonic.now < end {
            waits += 1
            let left = LoopClock.monotonic.now.duration(to: end).nanosecondsRoundedUp
            rig.backend.wait(nanoseconds: max(1, left))
            rig.backend.deliver()
        }
        #expect(waits < 10, "\(waits) waits for 30 milliseconds")
    }

    @Test("An interrupted delivery goes on where it stopped", arguments: BackendRig.Kind.usable)
    func interruption(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let pairs = try (0..<4).map { _ in try StreamPair(rig) }
        let targets = pairs.map { _ in NotingTarget() }
        for (pair, target) in zip(pairs, targets) {
            _ = rig.submit(.receive, .read, on: pair.near, target)
            target.onCompletion = { [unowned operations = rig.operations] _ in
                operations.isInterrupted = true
            }
        }
        rig.settle()
        for pair in pairs { pair.send([1, 2, 3]) }
        for told in 1...4 {
            let deadline = LoopClock.monotonic.now.advanced(by: .seconds(20))
            while targets.count(where: { !$0.bytes.isEmpty }) < told {
                try #require(LoopClock.monotonic.now < deadline, "\(told - 1) of 4 were told")
                rig.operations.isInterrupted = false
                rig.backend.wait(nanoseconds: 100_000_000)
                rig.backend.deliver()
            }
            #expect(targets.count { !$0.bytes.isEmpty } == told)
            // Interrupted, it tells nobody.
            rig.backend.deliver()
            #expect(targets.count { !$0.bytes.isEmpty } == told)
        }
        for target in targets { #expect(target.bytes == [1, 2, 3]) }
    }

    @Test("Closing tells nobody, and gives the descriptors back", arguments: BackendRig.Kind.usable)
    func closing(_ kind: BackendRig.Kind) throws {
        let rig = try BackendRig(kind)
        let pair = try StreamPair(rig)
        let target = NotingTarget()
        _ = rig.submit(.receive, .read, on: pair.near, target)
        rig.settle()
        pair.send([1])
        rig.backend.close()
        rig.backend.close()
        #expect(target.results.isEmpty)
        #expect(rig.operations.active == 1)
        rig.operations.removeAll()
    }
}
