// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet

// Making connections, and giving up on them.

extension Servers {
    static var connecting: [Behaviour] {
        [
            Behaviour(
                "aRefusedConnectionIsThatError", [98], .servers, isProcessWide: true,
                aRefusedConnectionIsThatError),
            Behaviour(
                "anUnreachableHostIsThatError", [98], .servers, anUnreachableHostIsThatError),
            Behaviour(
                "aCancelledConnectionClosesItsSocket", [99], .servers, isProcessWide: true,
                aCancelledConnectionClosesItsSocket),
            Behaviour(
                "theDescriptorOfACancelledConnectionIsFree", [99], .servers,
                theDescriptorOfACancelledConnectionIsFree),
            Behaviour("connectingByNameResolvesIt", [], .servers, connectingByNameResolvesIt),
            Behaviour("connectingOverIPv6", [], .servers, needsIPv6: true, connectingOverIPv6),
            Behaviour(
                "theAddressesOfANameAreTriedInOrder", [], .servers,
                theAddressesOfANameAreTriedInOrder),
            Behaviour(
                "aNameThatResolvesNowhereIsThatError", [], .servers,
                aNameThatResolvesNowhereIsThatError),
            Behaviour(
                "cancellingAfterTheEndDoesNothing", [99], .servers,
                cancellingAfterTheEndDoesNothing),
            Behaviour(
                "closingTheLoopGivesUpConnecting", [9], .servers, closingTheLoopGivesUpConnecting),
        ]
    }

    /// Connects by name, runs the loop until that has ended, and returns how.
    private static func connect(
        _ host: String, _ port: Int, _ loop: Loop, _ kit: ConformanceKit
    ) throws -> LoopConnecting.Outcome {
        try ended(loop, kit) {
            loop.createConnection(
                host: host, port: port, makeProtocol: { Recorder() }, completion: $0)
        }
    }

    /// Begins to connect, runs the loop until that has ended, and returns how.
    static func ended(
        _ loop: Loop, _ kit: ConformanceKit,
        _ connect: (@escaping (LoopConnecting.Outcome) -> Void) -> LoopConnecting
    ) throws -> LoopConnecting.Outcome {
        var outcome: LoopConnecting.Outcome?
        _ = connect {
            outcome = $0
            loop.stop()
        }
        try expect(outcome == nil, "completed inside the call")
        try kit.run(loop)
        guard let outcome else { throw ConformanceFailure("never completed") }
        return outcome
    }

    static func failure(
        of outcome: LoopConnecting.Outcome, line: Int = #line
    ) throws -> LoopError {
        guard case .failure(let error) = outcome else {
            throw ConformanceFailure("the connection was made", line: line)
        }
        return error
    }

    // MARK: Errors

    static func aRefusedConnectionIsThatError(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let port = try ClosedPort()
        _ = try connect("127.0.0.1", port.number, loop, kit)
        let before = OpenDescriptors()
        for _ in 0..<20 {
            let error = try failure(of: connect("127.0.0.1", port.number, loop, kit))
            try expect(error.code, equals: .connectionRefused)
            try expect(error.errno, equals: ECONNREFUSED)
            try expect(error.operation, equals: "connect")
            try expect(
                error.description.contains("127.0.0.1:\(port.number)"), "the error says \(error)")
        }
        let left = OpenDescriptors().opened(since: before).filter { $0.contains("socket:") }
        try expect(left, equals: [], "sockets left open")
        try expect(loop.statistics.operationCount <= 1, "operations left")
        try loop.close()
    }

    static func anUnreachableHostIsThatError(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        // The kernel connects TCP to no multicast address: it says so itself, and sends nothing.
        let error = try failure(of: connect("224.0.0.1", 9, loop, kit))
        try expect(error.code, equals: .unreachable)
        try expect(error.errno, equals: ENETUNREACH)
        try loop.close()
    }

    static func aNameThatResolvesNowhereIsThatError(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        // A label of more than 63 letters: no name server is asked.
        let name = String(repeating: "a", count: 70)
        let error = try failure(of: connect(name, 80, loop, kit))
        try expect(error.code, equals: .nameNotResolved)
        try expect(error.description.contains(name), "the error says \(error)")
        let wrongPort = try failure(of: connect("127.0.0.1", 65_536, loop, kit))
        try expect(wrongPort.code, equals: .invalidArgument)
        try loop.close()
    }

    // MARK: Cancelling

    static func aCancelledConnectionClosesItsSocket(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let port = try FullPort()
        let before = OpenDescriptors()
        var outcomes: [LoopConnecting.Outcome] = []
        var attempts: [LoopConnecting] = []
        for _ in 0..<20 {
            attempts.append(
                loop.createConnection(
                    host: "127.0.0.1", port: port.number, makeProtocol: { Recorder() },
                    completion: {
                        outcomes.append($0)
                        if outcomes.count == 20 { loop.stop() }
                    }))
        }
        // Half of them before the loop has begun them, half of them under way.
        for attempt in attempts[..<10] { attempt.cancel() }
        loop.callLater(.milliseconds(5)) {
            for attempt in attempts {
                attempt.cancel()
                attempt.cancel()
            }
        }
        try expect(outcomes.isEmpty, "completed inside the call")
        try kit.run(loop)
        for outcome in outcomes {
            try expect(try failure(of: outcome).code, equals: .cancelled)
        }
        let left = OpenDescriptors().opened(since: before).filter { $0.contains("socket:") }
        try expect(left, equals: [], "sockets left open")
        try loop.close()
    }

    static func theDescriptorOfACancelledConnectionIsFree(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let port = try FullPort()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) {
            let echo = Recorder()
            echo.onData = { [unowned echo] in try echo.transport?.write(echo.take()) }
            return echo
        }
        let good = try server.port
        for _ in 0..<10 {
            let attempt = loop.createConnection(
                host: "127.0.0.1", port: port.number, makeProtocol: { Recorder() },
                completion: { _ in loop.stop() })
            loop.callLater(.milliseconds(1)) { attempt.cancel() }
            try kit.run(loop)
            // The next socket gets the number. What is left of the cancelled connection must not
            // touch it.
            let client = Recorder()
            client.onMade = { try $0.write(pattern(1000)) }
            client.onData = { if client.received.count == 1000 { client.transport?.close() } }
            client.onLost = { loop.stop() }
            loop.createConnection(host: "127.0.0.1", port: good, makeProtocol: { client })
            try kit.run(loop)
            try expect(client.error == nil, "the new owner lost its connection")
            try expectPattern(client.received, count: 1000)
        }
        try loop.close()
    }

    static func cancellingAfterTheEndDoesNothing(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { Recorder() }
        var completions = 0
        let client = Recorder()
        let attempt = loop.createConnection(
            host: "127.0.0.1", port: try server.port, makeProtocol: { client },
            completion: { _ in
                completions += 1
                loop.callLater(.milliseconds(2)) { loop.stop() }
            })
        try kit.run(loop)
        attempt.cancel()
        loop.callLater(.milliseconds(2)) { loop.stop() }
        try kit.run(loop)
        try expect(completions, equals: 1)
        try expect(client.events, equals: [.made])
        // Cancelled inside the very completion.
        var inside: LoopConnecting?
        inside = loop.createConnection(
            host: "127.0.0.1", port: try server.port, makeProtocol: { Recorder() },
            completion: { _ in
                completions += 1
                inside?.cancel()
                loop.callLater(.milliseconds(2)) { loop.stop() }
            })
        try kit.run(loop)
        try expect(completions, equals: 2)
        inside = nil
        try loop.close()
    }

    static func closingTheLoopGivesUpConnecting(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let port = try FullPort()
        let live = LiveObjects()
        for host in ["127.0.0.1", "localhost"] {
            let held = live.closure()
            loop.createConnection(
                host: host, port: port.number, makeProtocol: { Recorder() },
                completion: { _ in try? held() })
        }
        loop.callLater(.milliseconds(5)) { loop.stop() }
        try kit.run(loop)
        try expect(live.count >= 1, "nothing was under way")
        try loop.close()
        try expect(live.count, equals: 0, "completions kept by a closed loop")
    }

    // MARK: Addresses

    static func connectingByNameResolvesIt(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { Recorder() }
        let transport = try connect("localhost", server.port, loop, kit).get()
        try expect(transport.peerAddress?.host, equals: "127.0.0.1")
        try expect(transport.peerAddress?.port, equals: server.port)
        try loop.close()
    }

    static func connectingOverIPv6(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let far = Recorder()
        let server = try loop.createServer(host: "::1", port: 0) { far }
        let transport = try connect("::1", server.port, loop, kit).get()
        try expect(transport.peerAddress?.description, equals: "[::1]:\(try server.port)")
        // Both families at one port: the one does not take the other's. At an address that nobody
        // else uses, since the port may be taken at the usual one.
        let both = try loop.createServer(host: "127.71.7.1", port: server.port) { Recorder() }
        try expect(both.port, equals: server.port)
        far.onData = { loop.stop() }
        loop.callSoon { try transport.write([1]) }
        try kit.run(loop)
        try loop.close()
    }

    /// The name stands for several addresses where there is IPv6; at most one of them listens.
    static func theAddressesOfANameAreTriedInOrder(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let port = try ClosedPort()
        let error = try failure(of: connect("localhost", port.number, loop, kit))
        try expect(error.code, equals: .connectionRefused)
        try expect(error.description.contains("127.0.0.1"), "the error says \(error)")
        try loop.close()
    }
}
