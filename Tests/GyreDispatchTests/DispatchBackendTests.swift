// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreDispatch
import GyreTesting
import Testing

@Suite("The dispatch backend")
struct DispatchBackendTests {
    @Test("What a peer sent before it hung up is received to the end")
    func dataBeforeAHangUpIsReceived() throws {
        let loop = try dispatchKit.makeLoop()
        let pairs = [SocketPair(), SocketPair()]
        // The loop uses what it does not hold.
        defer { withExtendedLifetime(pairs) {} }
        for (pair, isLate) in zip(pairs, [false, true]) {
            let recorder = Recorder { if !$0.more { loop.stop() } }
            if isLate {
                // The thread that polls is in the kernel when all of this happens.
                _ = loop.submitReceive(on: pair.near, target: recorder)
                loop.callLater(.milliseconds(2)) {
                    pair.sendToNear(1000)
                    pair.sendToNear(49_000)
                    pair.closeFar()
                }
            } else {
                pair.sendToNear(50_000)
                pair.closeFar()
                _ = loop.submitReceive(on: pair.near, target: recorder)
            }
            try dispatchKit.run(loop)
            #expect(recorder.byteCount == 50_000)
            #expect(recorder.results.last == 0)
        }
        try loop.close()
    }

    @Test("A receive that nobody waits for any more does not keep the loop busy")
    func unwantedDataDoesNotSpin() throws {
        let loop = try dispatchKit.makeLoop()
        let pair = SocketPair()
        // The loop uses what it does not hold.
        defer { withExtendedLifetime(pair) {} }
        let recorder = Recorder()
        let id = loop.submitReceive(on: pair.near, target: recorder)
        try dispatchKit.run(loop, .noWait)
        loop.cancel(id)
        try dispatchKit.run(loop, .once)
        #expect(recorder.results == [-ECANCELED])
        pair.sendToNear(10)
        let ticks = loop.statistics.ticks
        loop.callLater(.milliseconds(50)) { loop.stop() }
        try dispatchKit.run(loop)
        #expect(loop.statistics.ticks - ticks < 5)
        // And it is there for the next one.
        let next = Recorder { _ in loop.stop() }
        _ = loop.submitReceive(on: pair.near, target: next)
        try dispatchKit.run(loop)
        #expect(next.byteCount == 10)
        try loop.close()
    }

    @Test("A report that comes late does not reach the next descriptor of that number")
    func lateReportsAreDropped() throws {
        var made: DispatchBackend?
        let selection = LoopSelection(policy: "dispatch", requested: "dispatch", origin: "test")
        let loop = try Loop(selection: selection) { operations throws(LoopError) in
            let backend = try DispatchBackend(operations: operations)
            made = backend
            return backend
        }
        let backend = try #require(made)
        let first = makePair(number: ownNumber(1))
        let late = Recorder()
        let id = loop.submitReceive(on: first.near, target: late)
        #expect(send(first.far, "x", 1, CInt(MSG_NOSIGNAL)) == 1)
        backend.wait(nanoseconds: 20_000_000_000)
        // The report is found, and is delivered after the descriptor has changed hands.
        loop.cancel(id)
        loop.closeDescriptor(first.near)
        let second = makePair(number: ownNumber(1))
        let recorder = Recorder { _ in loop.stop() }
        _ = loop.submitReceive(on: second.near, target: recorder)
        backend.deliver()
        #expect(late.results == [-ECANCELED])
        #expect(recorder.results == [])
        // The new one gets its own.
        #expect(send(second.far, "yz", 2, CInt(MSG_NOSIGNAL)) == 2)
        try dispatchKit.run(loop)
        #expect(recorder.byteCount == 2)
        loop.closeDescriptor(second.near)
        try loop.close()
    }

    @Test("What cannot be watched fails as on epoll, and its number is free for others")
    func unwatchableDescriptorsFail() throws {
        let loop = try dispatchKit.makeLoop()
        for path in ["/proc/self/exe", "/"] {
            let fd = move(open(path, O_RDONLY), to: ownNumber(2))
            let recorders = [Recorder(), Recorder(), Recorder(), Recorder()]
            _ = loop.submitPoll(.read, on: fd, target: recorders[0])
            _ = loop.submitPoll(.write, on: fd, target: recorders[1])
            try dispatchKit.run(loop, .once)
            _ = loop.submitReceive(on: fd, target: recorders[2])
            try dispatchKit.run(loop, .once)
            close(fd)
            _ = loop.submitReceive(on: fd, target: recorders[3])
            try dispatchKit.run(loop, .once)
            #expect(recorders.map(\.results) == [[-EPERM], [-EPERM], [-EPERM], [-EBADF]])
            let pair = makePair(number: fd)
            let receiver = Recorder { _ in loop.stop() }
            _ = loop.submitReceive(on: pair.near, target: receiver)
            #expect(send(pair.far, "x", 1, CInt(MSG_NOSIGNAL)) == 1)
            try dispatchKit.run(loop)
            #expect(receiver.byteCount == 1)
            loop.closeDescriptor(pair.near)
            close(pair.far)
        }
        try loop.close()
    }

    @Test("A watched descriptor may be closed right after its watcher was removed")
    func removedWatchersLeaveTheNumberFree() throws {
        let loop = try dispatchKit.makeLoop()
        var calls: [Int] = []
        for round in 0..<100 {
            let pair = makePair(number: ownNumber(3))
            try loop.addReader(pair.near) { calls.append(round) }
            if round % 2 == 0 { #expect(send(pair.far, "x", 1, CInt(MSG_NOSIGNAL)) == 1) }
            // While the loop sleeps and a thread polls the descriptor, or before it is polled at
            // all.
            if round % 3 == 0 {
                loop.callLater(.microseconds(500)) { loop.stop() }
                try dispatchKit.run(loop)
            }
            loop.removeReader(pair.near)
            close(pair.near)
            close(pair.far)
            let next = makePair(number: ownNumber(3))
            try loop.addReader(next.near) {
                calls.append(-round)
                loop.stop()
            }
            loop.callLater(.microseconds(500)) { _ = send(next.far, "x", 1, CInt(MSG_NOSIGNAL)) }
            calls = []
            try dispatchKit.run(loop)
            #expect(calls == [-round])
            loop.removeReader(next.near)
            close(next.near)
            close(next.far)
        }
        try loop.close()
    }

    @Test("What an interrupt left undelivered comes with the next run")
    func interruptsLoseNothing() throws {
        let loop = try dispatchKit.makeLoop()
        let pairs = (0..<20).map { _ in SocketPair() }
        // The loop uses what it does not hold.
        defer { withExtendedLifetime(pairs) {} }
        var received = 0
        for pair in pairs {
            let recorder = Recorder { completion in
                received += completion.bytes.count
                loop.handle(thrown: LoopInterrupt(), message: "test")
            }
            _ = loop.submitReceive(on: pair.near, target: recorder)
            pair.sendToNear(3)
        }
        var runs = 0
        while received < 60, runs < 100 {
            runs += 1
            #expect(throws: LoopInterrupt.self) { try dispatchKit.run(loop) }
        }
        #expect(received == 60)
        #expect(runs == 20)
        try loop.close()
    }

    @Test("A loop that closes with live sources leaves nothing behind")
    func closingEndsAllSources() throws {
        let pairs = (0..<100).map { _ in SocketPair() }
        // The loop uses what it does not hold.
        defer { withExtendedLifetime(pairs) {} }
        for round in 0..<3 {
            let loop = try dispatchKit.makeLoop()
            weak var gone: Recorder?
            var received = 0
            do {
                for (index, pair) in pairs.enumerated() {
                    let recorder = Recorder {
                        received += $0.bytes.count
                        if received == 50 { loop.stop() }
                    }
                    gone = recorder
                    _ = loop.submitReceive(on: pair.near, target: recorder)
                    // Half of the sources are parked, or about to be, half are armed.
                    if index % 2 == 0 { pair.sendToNear() }
                    try loop.addWriter(pair.far) {}
                }
                try dispatchKit.run(loop)
                #expect(received == 50, "round \(round)")
                #expect(gone != nil)
            }
            try loop.close()
            #expect(gone == nil)
        }
    }

    @Test("A pipe with a name that loses its writer and gets another one is watched again")
    func aDescriptorThatReturnsFromAHangUpIsWatchedAgain() throws {
        let path = "/tmp/gyre-dispatch-\(getpid())-\(UInt64.random(in: .min ... .max))"
        try #require(mkfifo(path, 0o600) == 0)
        defer { unlink(path) }
        let loop = try dispatchKit.makeLoop()
        let reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        func openWriter() -> CInt { open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC) }
        var writer = openWriter()
        var lengths: [Int] = []
        try loop.addReader(reader) {
            var bytes = [UInt8](repeating: 0, count: 16)
            let length = read(reader, &bytes, bytes.count)
            lengths.append(length)
            if length == 0 {
                // The hang-up is over with this, and there is nothing to report.
                writer = openWriter()
                loop.callLater(.milliseconds(2)) { _ = write(writer, "abc", 3) }
            } else if lengths.count == 11 {
                loop.stop()
            } else {
                loop.callLater(.milliseconds(2)) { close(writer) }
            }
        }
        loop.callLater(.milliseconds(2)) { _ = write(writer, "xyz", 3) }
        try dispatchKit.run(loop)
        #expect(lengths == [3, 0, 3, 0, 3, 0, 3, 0, 3, 0, 3])
        loop.removeReader(reader)
        close(reader)
        close(writer)
        try loop.close()
    }

    @Test("What is sent against a slow reader arrives whole, through many full buffers")
    func sendsWaitForRoom() throws {
        let loop = try dispatchKit.makeLoop()
        let pair = makePair()
        let size = 8 << 20
        let far = pair.far
        let reader = try TestThread {
            _ = fcntl(far, F_SETFL, 0)
            var bytes = [UInt8](repeating: 0, count: 30_000)
            var sum = 0
            while true {
                let count = recv(far, &bytes, bytes.count, 0)
                if count <= 0 { break }
                for byte in bytes[..<count] {
                    try expect(byte == UInt8(truncatingIfNeeded: sum % 251), "byte \(sum)")
                    sum += 1
                }
            }
            try expect(sum, equals: size)
        }
        let sender = Sender(loop, pair.near, (0..<size).map { UInt8(truncatingIfNeeded: $0 % 251) })
        sender.sendNext()
        try dispatchKit.run(loop)
        #expect(sender.failure == nil)
        #expect(sender.completions > 10)
        shutdown(pair.near, CInt(SHUT_WR))
        try reader.join()
        loop.closeDescriptor(pair.near)
        close(far)
        try loop.close()
    }

    @Test("A connection over TCP: made, accepted, served, reset")
    func connectionsAreMadeAcceptedAndReset() throws {
        let loop = try dispatchKit.makeLoop()
        let listener = LoopbackListener()
        var accepted: [CInt] = []
        let acceptor = Recorder { completion in
            accepted.append(completion.result)
            if accepted.count == 20 { loop.stop() }
        }
        _ = loop.submitAccept(on: listener.fd, target: acceptor)
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let clients = (0..<20).map { _ in socket(AF_INET, kind, 0) }
        let connectors = clients.map { _ in Recorder() }
        let address = LoopbackAddress(port: listener.port)
        for (client, connector) in zip(clients, connectors) {
            _ = loop.submitConnect(to: address.bytes, on: client, target: connector)
        }
        try dispatchKit.run(loop)
        while connectors.contains(where: { !$0.isOver }) { try dispatchKit.run(loop, .once) }
        #expect(connectors.allSatisfy { $0.results == [0] })
        let receivers = accepted.map { fd in
            let receiver = Recorder { if !$0.more { loop.stop() } }
            _ = loop.submitReceive(on: fd, target: receiver)
            return receiver
        }
        for client in clients {
            var linger = linger(l_onoff: 1, l_linger: 0)
            setsockopt(
                client, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<linger>.size))
            loop.closeDescriptor(client)
        }
        while receivers.contains(where: { !$0.isOver }) { try dispatchKit.run(loop) }
        #expect(receivers.allSatisfy { $0.results == [-ECONNRESET] })
        for fd in accepted { loop.closeDescriptor(fd) }
        try loop.close()
        close(listener.fd)
    }

    @Test("What is closed while a thread polls it is closed when the call returns")
    func closingTakesEffectAtOnce() throws {
        let loop = try dispatchKit.makeLoop()
        let listener = LoopbackListener()
        let pair = makePair()
        let acceptor = Recorder()
        let receiver = Recorder()
        let acceptID = loop.submitAccept(on: listener.fd, target: acceptor)
        let receiveID = loop.submitReceive(on: pair.near, target: receiver)
        var seen: [Int] = []
        loop.callLater(.milliseconds(2)) {
            loop.cancel(acceptID)
            loop.closeDescriptor(listener.fd)
            // Nobody may bind a port that a socket is still bound to.
            let next = LoopbackListener(port: listener.port)
            close(next.fd)
            loop.cancel(receiveID)
            loop.closeDescriptor(pair.near)
            var byte: UInt8 = 0
            seen.append(recv(pair.far, &byte, 1, 0))
            loop.stop()
        }
        try dispatchKit.run(loop)
        try dispatchKit.run(loop, .noWait)
        #expect(seen == [0])
        #expect(acceptor.results == [-ECANCELED])
        #expect(receiver.results == [-ECANCELED])
        close(pair.far)
        try loop.close()
    }

    @Test("A watched descriptor that its user closed ends the watch with an error")
    func closedDescriptorsEndTheirWatch() throws {
        let loop = try dispatchKit.makeLoop()
        let pair = makePair(number: ownNumber(4))
        let watcher = Recorder { _ in loop.stop() }
        _ = loop.submitPoll(.read, on: pair.near, target: watcher)
        loop.callLater(.milliseconds(2)) { close(pair.near) }
        loop.callLater(.milliseconds(4)) {}
        try dispatchKit.run(loop)
        #expect(watcher.results == [-EBADF])
        close(pair.far)
        try loop.close()
    }

    @Test("A connection that nobody listens for is refused")
    func refusedConnectionsFail() throws {
        let loop = try dispatchKit.makeLoop()
        // Bound and not listening: nobody else gets the port meanwhile.
        let listener = LoopbackListener(isListening: false)
        let address = LoopbackAddress(port: listener.port)
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        for _ in 0..<50 {
            let client = socket(AF_INET, kind, 0)
            let connector = Recorder { _ in loop.stop() }
            _ = loop.submitConnect(to: address.bytes, on: client, target: connector)
            try dispatchKit.run(loop)
            #expect(connector.results == [-ECONNREFUSED])
            loop.closeDescriptor(client)
        }
        close(listener.fd)
        try loop.close()
    }

    @Test("Reader and writer of a descriptor are called in every iteration while it is ready")
    func levelsAreReportedEveryIteration() throws {
        let loop = try dispatchKit.makeLoop()
        let pair = SocketPair()
        // The loop uses what it does not hold.
        defer { withExtendedLifetime(pair) {} }
        pair.sendToNear()
        var reads: [UInt64] = []
        var writes: [UInt64] = []
        try loop.addReader(pair.near) { reads.append(loop.statistics.ticks) }
        try loop.addWriter(pair.near) {
            writes.append(loop.statistics.ticks)
            if writes.count == 50 { loop.stop() }
        }
        try dispatchKit.run(loop)
        #expect(reads == writes)
        #expect(reads == (reads[0]..<reads[0] + 50).map { $0 })
        try loop.close()
    }
}

/// Sends bytes, one operation after the other, and stops the loop at the end.
private final class Sender: OperationTarget {
    private(set) var completions = 0
    private(set) var failure: CInt?
    private let loop: Loop
    private let fd: CInt
    private let bytes: UnsafeMutableBufferPointer<UInt8>
    private var sent = 0

    init(_ loop: Loop, _ fd: CInt, _ content: [UInt8]) {
        self.loop = loop
        self.fd = fd
        bytes = .allocate(capacity: content.count)
        _ = bytes.initialize(from: content)
    }

    deinit { bytes.deallocate() }

    func sendNext() {
        let rest = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[sent...])
        _ = loop.submitSend(rest, on: fd, target: self)
    }

    func operationCompleted(_ completion: Completion) {
        completions += 1
        guard completion.result >= 0 else {
            failure = -completion.result
            return loop.stop()
        }
        sent += Int(completion.result)
        if sent < bytes.count { sendNext() } else { loop.stop() }
    }
}
