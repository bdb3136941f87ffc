// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

// Connecting to one of several addresses, from a chosen one, in a given time, and in async code.

extension Servers {
    static var connectingFar: [Behaviour] {
        [
            Behaviour(
                "anAddressThatDoesNotAnswerIsOvertaken", [], .servers, isProcessWide: true,
                anAddressThatDoesNotAnswerIsOvertaken),
            Behaviour(
                "withoutADelayAddressesAreTriedOneAfterTheOther", [], .servers,
                withoutADelayAddressesAreTriedOneAfterTheOther),
            Behaviour(
                "whenEveryAddressFailsSoDoTheErrors", [98], .servers, isProcessWide: true,
                whenEveryAddressFailsSoDoTheErrors),
            Behaviour("familiesTakeTurns", [], .servers, familiesTakeTurns),
            Behaviour(
                "connectingThatTakesTooLongTimesOut", [98], .servers, isProcessWide: true,
                connectingThatTakesTooLongTimesOut),
            Behaviour(
                "aSlowNameTimesOut", [98], .servers, isProcessWide: true, aSlowNameTimesOut),
            Behaviour(
                "aConnectionComesFromTheChosenAddress", [], .servers, isProcessWide: true,
                aConnectionComesFromTheChosenAddress),
            Behaviour(
                "anAwaitedConnectionIsMade", [85], .servers, isProcessWide: true,
                anAwaitedConnectionIsMade),
            Behaviour(
                "anAwaitedConnectionIsCancelledAtAnyPoint", [99], .servers,
                anAwaitedConnectionIsCancelledAtAnyPoint),
        ]
    }

    private static func address(_ host: String, _ port: Int) throws -> LoopAddress {
        let query = Resolver.Query(host: host, port: port, isPassive: false)
        guard let found = try Resolver.resolveNumeric(query)?.first else {
            throw ConformanceFailure("\(host) is no number")
        }
        return found
    }

    /// Connects to one of `addresses`, runs the loop until that has ended, and returns how.
    private static func connect(
        _ addresses: [LoopAddress], _ options: LoopConnectionOptions,
        _ loop: Loop, _ kit: ConformanceKit
    ) throws -> LoopConnecting.Outcome {
        try ended(loop, kit) {
            loop.createConnection(
                addresses: addresses, options: options, makeProtocol: { Recorder() },
                completion: $0)
        }
    }

    private static func sockets(since earlier: OpenDescriptors) -> [String] {
        OpenDescriptors().opened(since: earlier).filter { $0.contains("socket:") }
    }

    // MARK: Several addresses

    static func anAddressThatDoesNotAnswerIsOvertaken(_ kit: ConformanceKit) throws {
        let clock = ManualClock(.byHand)
        let loop = try kit.makeLoop(clock: clock.loopClock)
        let full = try FullPort()
        let closed = try ClosedPort()
        var reached = 0
        let server = try loop.createServer(host: "127.0.0.1", port: 0) {
            reached += 1
            return Recorder()
        }
        let addresses = [
            try address("127.0.0.1", full.number), try address("127.0.0.1", closed.number),
            try address("127.0.0.1", server.port),
        ]
        let before = OpenDescriptors()
        var outcome: LoopConnecting.Outcome?
        loop.createConnection(
            addresses: addresses, makeProtocol: { Recorder() }, completion: { outcome = $0 })
        clock.advance(by: .milliseconds(249))
        try kit.drain(loop)
        try expect(loop.resourceCount, equals: 2, "the server and one attempt")
        clock.advance(by: .milliseconds(1))
        // The second fails, so the third begins although no time passes.
        while outcome == nil || reached == 0 { try kit.run(loop, .once) }
        let transport = try outcome?.get()
        try expect(transport?.peerAddress?.port, equals: try server.port)
        // The overtaken attempt is closed, in a turn of its own; two ends of the one are left.
        while loop.resourceCount > 3 { try kit.run(loop, .once) }
        try expect(sockets(since: before).count, equals: 2, "sockets of one connection")
        try expect(loop.statistics.timerCount, equals: 0, "timers are left")
        try loop.close()
    }

    static func withoutADelayAddressesAreTriedOneAfterTheOther(_ kit: ConformanceKit) throws {
        let clock = ManualClock()
        let loop = try kit.makeLoop(clock: clock.loopClock)
        let full = try FullPort()
        var reached = 0
        let server = try loop.createServer(host: "127.0.0.1", port: 0) {
            reached += 1
            return Recorder()
        }
        var options = LoopConnectionOptions()
        options.happyEyeballsDelay = nil
        options.timeout = .seconds(30)
        let stalled = [
            try address("127.0.0.1", full.number), try address("127.0.0.1", server.port),
        ]
        let error = try failure(of: connect(stalled, options, loop, kit))
        try expect(error.code, equals: .timedOut)
        try kit.drain(loop)
        try expect(reached, equals: 0, "the second address was tried meanwhile")
        let closed = try ClosedPort()
        let refused = [
            try address("127.0.0.1", closed.number), try address("127.0.0.1", server.port),
        ]
        options.timeout = nil
        _ = try connect(refused, options, loop, kit).get()
        try loop.close()
    }

    static func whenEveryAddressFailsSoDoTheErrors(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let closed = try ClosedPort()
        // The kernel connects TCP to no multicast address: it says so itself, and sends nothing.
        let addresses = [
            try address("224.0.0.1", 9), try address("127.0.0.1", closed.number),
        ]
        _ = try connect(addresses, LoopConnectionOptions(), loop, kit)
        let before = OpenDescriptors()
        for _ in 0..<10 {
            let error = try failure(of: connect(addresses, LoopConnectionOptions(), loop, kit))
            try expect(
                error.causes.map(\.code), equals: [.unreachable, .connectionRefused], "causes")
            try expect(error.causes.map(\.errno), equals: [ENETUNREACH, ECONNREFUSED])
            try expect(error.code, equals: .connectionRefused, "that of the last")
            for address in addresses {
                try expect(
                    error.description.contains(address.description), "the error says \(error)")
            }
        }
        try expect(sockets(since: before), equals: [], "sockets left open")
        // A single one stands for itself, and none at all is an error, too.
        let single = try failure(of: connect([addresses[1]], LoopConnectionOptions(), loop, kit))
        try expect(single.causes, equals: [])
        let none = try failure(of: connect([], LoopConnectionOptions(), loop, kit))
        try expect(none.code, equals: .nameNotResolved)
        try loop.close()
    }

    static func familiesTakeTurns(_ kit: ConformanceKit) throws {
        let addresses = try ["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"].map { try address($0, 1) }
        func order(_ first: Int) -> [String] {
            interleaved(addresses, first: first).map(\.host)
        }
        try expect(order(0), equals: ["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"])
        try expect(order(1), equals: ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"])
        try expect(order(2), equals: ["::1", "::2", "1.1.1.1", "::3", "2.2.2.2"])
        try expect(order(9), equals: ["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"])
        try expect(interleaved([], first: 1).count, equals: 0)
    }

    // MARK: Limits

    static func connectingThatTakesTooLongTimesOut(_ kit: ConformanceKit) throws {
        let clock = ManualClock(.byHand)
        let loop = try kit.makeLoop(clock: clock.loopClock)
        let full = try FullPort()
        let closed = try ClosedPort()
        let addresses = [
            try address("127.0.0.1", closed.number), try address("127.0.0.1", full.number),
        ]
        var options = LoopConnectionOptions()
        options.timeout = .seconds(7)
        let before = OpenDescriptors()
        for _ in 0..<5 {
            var outcome: LoopConnecting.Outcome?
            loop.createConnection(
                addresses: addresses, options: options, makeProtocol: { Recorder() },
                completion: { outcome = $0 })
            // The first fails.
            try kit.run(loop, .once)
            clock.advance(by: .milliseconds(6999))
            try kit.drain(loop)
            try expect(outcome == nil, "it gave up early")
            clock.advance(by: .milliseconds(1))
            while outcome == nil { try kit.run(loop, .once) }
            guard let outcome else { continue }
            let error = try failure(of: outcome)
            try expect(error.code, equals: .timedOut)
            try expect(error.causes.map(\.code), equals: [.connectionRefused], "what failed before")
        }
        try expect(sockets(since: before), equals: [], "sockets left open")
        // One that is in time leaves no timer.
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { Recorder() }
        _ = try connect([address("127.0.0.1", server.port)], options, loop, kit).get()
        try expect(loop.statistics.timerCount, equals: 0, "timers are left")
        try loop.close()
    }

    static func aSlowNameTimesOut(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let slow = try Names.SlowLookUps()
            var options = LoopConnectionOptions()
            options.timeout = .seconds(3)
            let start = Loop.running.now
            try await expectAsyncError(.timedOut) {
                _ = try await Loop.running.createConnection(
                    host: "localhost", port: 9, options: options, makeProtocol: { Recorder() })
            }
            try expect(Loop.running.seconds(since: start), equals: 3)
            slow.end()
        }
    }

    // MARK: The own address

    static func aConnectionComesFromTheChosenAddress(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var peers: [LoopAddress] = []
        let server = try loop.createServer(host: "127.0.0.1", port: 0) {
            let recorder = Recorder()
            recorder.onMade = { transport in
                if let peer = transport.peerAddress { peers.append(peer) }
            }
            return recorder
        }
        let target = try address("127.0.0.1", server.port)
        var options = LoopConnectionOptions()
        options.localHost = "127.0.0.5"
        let transport = try connect([target], options, loop, kit).get()
        try expect(transport.localAddress?.host, equals: "127.0.0.5")
        while peers.isEmpty { try kit.run(loop, .once) }
        try expect(peers.first, equals: transport.localAddress)
        // A port of its own, at whatever address.
        let port = try freePort()
        options.localHost = nil
        options.localPort = port
        let fixed = try connect([target], options, loop, kit).get()
        try expect(fixed.localAddress?.port, equals: port)
        // Not of this machine; in use; of another family.
        let before = OpenDescriptors()
        let wrong: [(String?, Int, LoopError.Code)] = [
            ("192.0.2.1", 0, .addressNotAvailable), (nil, port, .addressInUse),
            ("::1", 0, .addressNotAvailable),
        ]
        for (host, port, code) in wrong {
            options.localHost = host
            options.localPort = port
            let error = try failure(of: connect([target], options, loop, kit))
            try expect(error.code, equals: code, "from \(host ?? "any"), \(port)")
        }
        while peers.count < 2 { try kit.run(loop, .once) }
        let left = sockets(since: before)
        try expect(left.count <= 1, "sockets left open: \(left)")
        try loop.close()
    }

    // MARK: Async code

    static func anAwaitedConnectionIsMade(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let far = Recorder()
            let port = try freePort()
            let server = try loop.createServer(host: "127.0.0.1", port: port) { far }
            let (transport, near) = try await loop.createConnection(
                host: "127.0.0.1", port: port, makeProtocol: { Recorder() })
            try expect(near.events, equals: [.made], "made before it returns")
            try expect(near.transport === transport, "the transport is that of the protocol")
            let arrived = LoopFuture<Void>(on: loop)
            far.onData = { if far.received.count == 1000 { try arrived.setResult(()) } }
            try transport.write(pattern(1000))
            try await arrived.value
            try expectPattern(far.received, count: 1000)
            transport.abort()
            server.abortClients()
            server.close()
            try await server.waitClosed()
            try await expectAsyncError(.connectionRefused) {
                _ = try await loop.createConnection(
                    host: "127.0.0.1", port: port, makeProtocol: { Recorder() })
            }
        }
    }

    static func anAwaitedConnectionIsCancelledAtAnyPoint(_ kit: ConformanceKit) throws {
        for iterations in 0..<8 {
            let loop = try kit.makeLoop()
            let server = try loop.createServer(host: "127.0.0.1", port: 0) { Recorder() }
            let port = try server.port
            let live = LiveObjects()
            let task = loop.createTask {
                let (transport, _) = try await Loop.running.createConnection(
                    host: "127.0.0.1", port: port,
                    makeProtocol: {
                        let recorder = Recorder()
                        recorder.onData = live.closure()
                        return recorder
                    })
                // It was quicker than the cancellation.
                transport.abort()
            }
            // Behind what the same iteration runs, so that it comes between two steps of the task.
            func cancel(after remaining: Int) {
                if remaining == 0 {
                    task.cancel()
                } else {
                    loop.callSoon { cancel(after: remaining - 1) }
                }
            }
            cancel(after: iterations)
            do {
                try kit.complete(task, on: loop)
            } catch is CancellationError {}
            server.close()
            server.abortClients()
            while loop.statistics.operationCount > 0 { try kit.run(loop, .once) }
            try kit.drain(loop)
            try expect(loop.resourceCount, equals: 0, "sockets after \(iterations) iterations")
            try expect(live.count, equals: 0, "protocol objects after \(iterations) iterations")
            try loop.close()
        }
    }
}
