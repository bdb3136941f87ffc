// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Several loops in one program: side by side, and in groups.
enum SeveralLoops {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "loopsOnTwoThreadsDoNotDisturbEachOther", [], .severalLoops,
            loopsOnTwoThreadsDoNotDisturbEachOther),
        Behaviour("serversOfTwoLoopsShareAPort", [], .severalLoops, serversOfTwoLoopsShareAPort),
        Behaviour("aGroupSpreadsConnections", [], .severalLoops, aGroupSpreadsConnections),
        Behaviour(
            "theLoopWithTheFewestGetsTheNextConnection", [], .severalLoops,
            theLoopWithTheFewestGetsTheNextConnection),
        Behaviour(
            "theConnectionsOfAGroupAreClosedAndAwaited", [101], .severalLoops,
            theConnectionsOfAGroupAreClosedAndAwaited),
        Behaviour(
            "theShutdownOfAGroupsServerSaysWhatHeldItUp", [101], .severalLoops,
            theShutdownOfAGroupsServerSaysWhatHeldItUp),
        Behaviour(
            "aGroupThatStopsLeavesNothing", [], .severalLoops, isProcessWide: true,
            aGroupThatStopsLeavesNothing),
        Behaviour(
            "aLoopOfAGroupThatEndsIsPassedOver", [], .severalLoops,
            aLoopOfAGroupThatEndsIsPassedOver),
        Behaviour(
            "aGroupThatCannotBeMadeLeavesNothing", [], .severalLoops, isProcessWide: true,
            aGroupThatCannotBeMadeLeavesNothing),
        Behaviour(
            "handlersRunOnTheLoopsOfAGroup", [], .severalLoops, handlersRunOnTheLoopsOfAGroup),
        Behaviour(
            "theHandlersOfAGroupEndWithTheServer", [], .severalLoops,
            theHandlersOfAGroupEndWithTheServer),
    ]

    // MARK: Side by side

    /// Both loops echo to a client of their own, with timers between, at the same time.
    static func loopsOnTwoThreadsDoNotDisturbEachOther(_ kit: ConformanceKit) throws {
        let began = [Latch(), Latch()]
        let threads = try (0..<2).map { number in
            try TestThread {
                let loop = try kit.makeLoop()
                try expect(Loop.current == nil, "a loop runs before its time")
                var rounds = 0
                let pair = try ConnectedPair(
                    kit, loop: loop, near: Recorder(), far: Recorder())
                pair.far.onData = { try pair.farTransport.write(pair.far.take()) }
                pair.near.onData = {
                    try expect(Loop.current === loop, "another loop runs here")
                    guard pair.near.received.count == 1000 else { return }
                    try expectPattern(pair.near.take(), count: 1000, seed: number + rounds)
                    rounds += 1
                    if rounds == 200 { return loop.stop() }
                    loop.callLater(.microseconds(rounds % 7)) {
                        try pair.nearTransport.write(pattern(1000, seed: number + rounds))
                    }
                }
                loop.callSoon {
                    // Both are in a run now.
                    began[number].open()
                    try expect(began[1 - number].wait(), "the other loop does not run")
                    try pair.nearTransport.write(pattern(1000, seed: number))
                }
                try kit.run(loop)
                try expect(rounds, equals: 200)
                try pair.close()
            }
        }
        for thread in threads { try thread.join() }
    }

    static func serversOfTwoLoopsShareAPort(_ kit: ConformanceKit) throws {
        let first = try kit.makeLoop()
        let second = try kit.makeLoop()
        var options = LoopServerOptions()
        options.reusePort = true
        var made = [0, 0]
        let server = try first.createServer(host: "127.0.0.1", port: 0, options: options) {
            made[0] += 1
            return Recorder()
        }
        _ = try second.createServer(host: "127.0.0.1", port: server.port, options: options) {
            made[1] += 1
            return Recorder()
        }
        // The kernel spreads them by their ports: all to one side has a chance of 2 to the -63.
        let peers = try (0..<64).map { _ in try RawPeer(port: try server.port) }
        while made[0] + made[1] < 64 {
            for loop in [first, second] { try kit.run(loop, .noWait) }
        }
        try expect(made[0] > 0 && made[1] > 0, "the kernel spread them as \(made)")
        withExtendedLifetime(peers) {}
        try first.close()
        try second.close()
    }

    // MARK: Groups

    /// Answers every byte, and says hello with the place of its loop in the group.
    private final class Place: LoopStreamProtocol {
        private let handle: LoopHandle
        private let hello: [UInt8]
        private let lost: SharedValue<Int>

        init(_ loop: Loop, _ hello: [UInt8], lost: SharedValue<Int>) {
            handle = loop.handle
            self.hello = hello
            self.lost = lost
        }

        func connectionMade(_ transport: LoopTransport) throws {
            try expect(handle.isOnLoop, "made on another thread")
            try transport.write(hello)
        }

        func dataReceived(_ data: RawSpan) throws {
            try expect(handle.isOnLoop, "data on another thread")
        }

        func connectionLost(_ error: (any Error)?) { lost.update { $0 += 1 } }
    }

    /// A group and a server for it on `loop`.
    private struct Served {
        let group: LoopGroup
        let server: LoopServer
        let lost = SharedValue(0)

        init(
            _ count: Int, on loop: Loop, _ kit: ConformanceKit, writing bytes: Int = 0
        ) throws {
            let group = try LoopGroup(count: count, makeLoop: { try kit.makeLoop() })
            let places = group.handles
            server = try loop.createServer(host: "127.0.0.1", port: 0, group: group) {
                [lost] loop in
                let place = places.firstIndex(of: loop.handle) ?? 255
                return Place(loop, [UInt8(place)] + pattern(bytes), lost: lost)
            }
            self.group = group
        }

        /// Connects `count` peers, and says which loop serves each.
        func connect(
            _ count: Int, on loop: Loop, _ kit: ConformanceKit
        ) throws -> [(peer: RawPeer, place: Int)] {
            let accepted = group.loads.reduce(0) { $0 + $1.acceptedCount }
            let port = try server.port
            let peers = try (0..<count).map { _ in try RawPeer(port: port) }
            while group.loads.reduce(0, { $0 + $1.acceptedCount }) < accepted + count {
                try kit.run(loop, .once)
            }
            return try peers.map { ($0, Int(try $0.receive(1).first ?? 255)) }
        }

        func stop(_ loop: Loop, _ kit: ConformanceKit) throws {
            let group = group
            group.stop()
            let task = loop.createTask { try await group.waitStopped() }
            try kit.complete(task, on: loop)
        }
    }

    static func aGroupSpreadsConnections(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let served = try Served(3, on: loop, kit)
        try expect(served.group.handles.count, equals: 3)
        let peers = try served.connect(12, on: loop, kit)
        for place in 0..<3 {
            try expect(peers.count { $0.place == place }, equals: 4, "connections of \(place)")
        }
        try expect(served.group.loads.map(\.openCount), equals: [4, 4, 4])
        try expect(served.server.connectionCount, equals: 12)
        for (peer, _) in peers { peer.close() }
        while served.server.connectionCount > 0 { try kit.run(loop, .once) }
        try expect(served.group.loads.map(\.openCount), equals: [0, 0, 0])
        try expect(served.group.loads.map(\.acceptedCount), equals: [4, 4, 4])
        try expect(served.lost.value, equals: 12)
        served.server.close()
        try served.stop(loop, kit)
        try loop.close()
    }

    static func theLoopWithTheFewestGetsTheNextConnection(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let served = try Served(2, on: loop, kit)
        let peers = try served.connect(8, on: loop, kit)
        // Those of one loop end.
        for (peer, place) in peers where place == 1 { peer.close() }
        while served.server.connectionCount > 4 { try kit.run(loop, .once) }
        let next = try served.connect(4, on: loop, kit)
        try expect(next.map(\.place), equals: [1, 1, 1, 1])
        try expect(served.group.loads.map(\.openCount), equals: [4, 4])
        try expect(served.group.loads.map(\.acceptedCount), equals: [4, 8])
        withExtendedLifetime((peers, next)) {}
        try served.stop(loop, kit)
        try loop.close()
    }

    // MARK: Ends

    static func theConnectionsOfAGroupAreClosedAndAwaited(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let size = 4 << 20
        let served = try Served(2, on: loop, kit, writing: size)
        let peers = try served.connect(4, on: loop, kit)
        var isOver = false
        served.server.waitClosed { isOver = true }
        served.server.close()
        try kit.drain(loop)
        try expect(!isOver, "connections are left")
        served.server.closeClients()
        for (peer, _) in peers { try expect(try peer.receiveAll().count, equals: size) }
        while !isOver { try kit.run(loop, .once) }
        try expect(served.lost.value, equals: 4)
        try served.stop(loop, kit)
        try loop.close()
        // And not in an orderly way.
        let again = try kit.makeLoop()
        let aborted = try Served(2, on: again, kit, writing: 32 << 20)
        let slow = try aborted.connect(4, on: again, kit)
        aborted.server.abortClients()
        while aborted.server.connectionCount > 0 { try kit.run(again, .once) }
        try expect(aborted.lost.value, equals: 4)
        withExtendedLifetime(slow) {}
        try aborted.stop(again, kit)
        try again.close()
    }

    static func theShutdownOfAGroupsServerSaysWhatHeldItUp(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        var lines: [String] = []
        loop.diagnosticSink = { lines.append($0) }
        let served = try Served(2, on: loop, kit, writing: 32 << 20)
        let peers = try served.connect(4, on: loop, kit)
        let bound = LoopBound(served.server, on: loop.handle)
        let task = loop.createTask { try await bound.object.shutDown(within: .seconds(3)) }
        let outcome = try kit.complete(task, on: loop)
        try expect(outcome.heldUpBy.count, equals: 4, "it says \(outcome)")
        try expect(Set(outcome.heldUpBy.compactMap(\.peer)).count, equals: 4, "it says \(outcome)")
        try expect(outcome.heldUpBy.allSatisfy { $0.unsentCount > 0 }, "it says \(outcome)")
        try expect(lines.count, equals: 1)
        try expect(served.lost.value, equals: 4)
        try expect(served.group.loads.map(\.openCount), equals: [0, 0])
        withExtendedLifetime(peers) {}
        try served.stop(loop, kit)
        try loop.close()
    }

    static func aGroupThatStopsLeavesNothing(_ kit: ConformanceKit) throws {
        let before = OpenDescriptors()
        let cancelled = SharedValue(0)
        for _ in 0..<3 {
            let loop = try kit.makeLoop()
            let served = try Served(3, on: loop, kit)
            let peers = try served.connect(6, on: loop, kit)
            for handle in served.group.handles {
                try handle.createTaskThreadSafe {
                    do { try await sleep(.seconds(1000)) } catch is CancellationError {
                        cancelled.update { $0 += 1 }
                    }
                }
            }
            let stopped = SharedValue(false)
            served.group.whenStopped { stopped.value = true }
            try served.stop(loop, kit)
            try expect(stopped.value, "it is told")
            try expect(served.lost.value, equals: 6, "every connection is told")
            for (peer, _) in peers {
                // In an orderly way, or reset.
                _ = try? peer.receiveAll()
            }
            // What comes now has nobody to serve it: the server says so, and closes.
            var reports = 0
            loop.exceptionHandler = { _, _ in reports += 1 }
            let late = try RawPeer(port: try served.server.port)
            while reports == 0 { try kit.run(loop, .once) }
            try expect(served.server.isClosed, "the server serves on")
            try expect(served.server.connectionCount, equals: 0)
            late.close()
            // Stopping what has stopped does nothing.
            served.group.stop()
            try loop.close()
        }
        try expect(cancelled.value, equals: 9, "tasks that were cancelled")
        // The threads of the group, and those that watched a run, let go of the last ones after
        // they said that they ended.
        let deadline = ContinuousClock.now + .seconds(10)
        var left = OpenDescriptors().opened(since: before)
        while !left.isEmpty, ContinuousClock.now < deadline {
            usleep(1000)
            left = OpenDescriptors().opened(since: before)
        }
        try expect(left, equals: [], "descriptors left open")
    }

    static func aLoopOfAGroupThatEndsIsPassedOver(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let served = try Served(2, on: loop, kit)
        let group = served.group
        let first = try served.connect(4, on: loop, kit)
        try group.handles[0].callSoonThreadSafe { _ in throw LoopInterrupt() }
        // Its connections go with it, and are counted out.
        while served.server.connectionCount > 2 { try kit.run(loop, .once) }
        while !group.handles[0].isClosed { usleep(1000) }
        let second = try served.connect(4, on: loop, kit)
        try expect(second.map(\.place), equals: [1, 1, 1, 1])
        try expect(group.loads.map(\.openCount), equals: [0, 6])
        group.stop()
        let task = loop.createTask { try await group.waitStopped() }
        try expectError(LoopInterrupt.self) { try kit.complete(task, on: loop) }
        withExtendedLifetime((first, second)) {}
        served.server.close()
        try loop.close()
    }

    static func aGroupThatCannotBeMadeLeavesNothing(_ kit: ConformanceKit) throws {
        struct NoMore: Error {}
        // What is made once and stays is made by the first.
        for round in 0..<2 {
            let before = OpenDescriptors()
            let made = SharedValue(0)
            try expectError(NoMore.self) {
                _ = try LoopGroup(
                    count: 3,
                    makeLoop: {
                        made.update { $0 += 1 }
                        if made.value == 3 { throw NoMore() }
                        return try kit.makeLoop()
                    })
            }
            try expect(made.value, equals: 3)
            guard round > 0 else { continue }
            let left = OpenDescriptors().opened(since: before)
            try expect(left, equals: [], "descriptors left open")
        }
    }

    // MARK: Async code

    static func handlersRunOnTheLoopsOfAGroup(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let served = SharedValue<[LoopHandle: Int]>([:])
        let task = loop.createTask {
            try await withLoopGroup(count: 2, makeLoop: { try kit.makeLoop() }) { group in
                try await withServer(
                    host: "127.0.0.1", port: 0, group: group,
                    handler: { connection in
                        let handle = Loop.running.handle
                        try expect(connection.handle == handle, "it runs on another loop")
                        served.update { $0[handle, default: 0] += 1 }
                        for try await chunk in connection.chunks {
                            try await connection.write(chunk)
                            try expect(Loop.running.handle == handle, "it changed the loop")
                        }
                    },
                    { server in
                        let port = try server.port
                        let clients = (0..<6).map { number in
                            Loop.running.createTask {
                                try await exchange(with: port, pattern(5000, seed: number))
                            }
                        }
                        for client in clients { try await client.value }
                    })
                try expect(Set(served.value.keys), equals: Set(group.handles))
                return group.loads.map(\.openCount)
            }
        }
        try expect(try kit.complete(task, on: loop), equals: [0, 0])
        try expect(served.value.values.reduce(0, +), equals: 6)
        try loop.close()
    }

    /// Sends `bytes` and expects them back.
    private static func exchange(with port: Int, _ bytes: [UInt8]) async throws {
        try await withConnection(to: "127.0.0.1", port: port) { connection in
            try await connection.write(bytes)
            var back: [UInt8] = []
            while back.count < bytes.count, let chunk = try await connection.read() {
                back += chunk
            }
            try expect(back == bytes, "other bytes came back")
        }
    }

    static func theHandlersOfAGroupEndWithTheServer(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let cleaned = SharedValue(0)
        let began = SharedValue(0)
        let task = loop.createTask {
            try await withLoopGroup(count: 2, makeLoop: { try kit.makeLoop() }) { group in
                let peers = try await withServer(
                    host: "127.0.0.1", port: 0, group: group,
                    handler: { connection in
                        began.update { $0 += 1 }
                        do { _ = try await connection.read() } catch is CancellationError {
                            try await sleep(.milliseconds(5))
                            try await connection.write(pattern(1000))
                            cleaned.update { $0 += 1 }
                        }
                    },
                    { server in
                        let port = try server.port
                        let peers = try (0..<4).map { _ in try RawPeer(port: port) }
                        while began.value < 4 { try await sleep(.milliseconds(1)) }
                        return peers
                    })
                try expect(cleaned.value, equals: 4, "every handler ended by itself")
                for peer in peers { try expectPattern(try peer.receiveAll(), count: 1000) }
            }
        }
        try kit.complete(task, on: loop)
        try loop.close()
    }
}
