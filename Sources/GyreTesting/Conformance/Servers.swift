// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet

/// Servers: binding, accepting, closing.
enum Servers {
    static let behaviours: [Behaviour] =
        [
            Behaviour(
                "closingAServerLeavesItsConnections", [100], .servers,
                closingAServerLeavesItsConnections),
            Behaviour(
                "aClosedServerRefusesAndFreesItsPort", [100], .servers, isProcessWide: true,
                aClosedServerRefusesAndFreesItsPort),
            Behaviour(
                "aClosedLoopFreesThePortsOfItsServers", [9, 100], .servers, isProcessWide: true,
                aClosedLoopFreesThePortsOfItsServers),
            Behaviour(
                "waitClosedWaitsForTheServerAndItsConnections", [101], .servers,
                waitClosedWaitsForTheServerAndItsConnections),
            Behaviour(
                "aHostThatRepeatsIsListenedAtOnce", [102], .servers,
                aHostThatRepeatsIsListenedAtOnce),
            Behaviour(
                "allAddressesAreBoundOrNone", [102], .servers, isProcessWide: true,
                allAddressesAreBoundOrNone),
            Behaviour("aPortInUseIsThatError", [102], .servers, aPortInUseIsThatError),
            Behaviour("portsAndHostsAreChecked", [], .servers, portsAndHostsAreChecked),
            Behaviour("aServerStartsWhenItIsTold", [], .servers, aServerStartsWhenItIsTold),
            Behaviour(
                "aBurstOfConnectionsIsAccepted", [], .servers, aBurstOfConnectionsIsAccepted),
            Behaviour("optionsReachTheSockets", [], .servers, optionsReachTheSockets),
            Behaviour(
                "withoutDescriptorsAServerBacksOffAndRecovers", [], .servers, isProcessWide: true,
                withoutDescriptorsAServerBacksOffAndRecovers),
        ] + connecting + connectingFar + servingSockets + sharedSockets + closingInTraffic

    // MARK: Closing

    static func closingAServerLeavesItsConnections(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let server = pair.server
        try expect(server.isServing && !server.isClosed, "a server that serves says so")
        try expect(server.connectionCount, equals: 1)
        server.close()
        server.close()
        try expect(server.isClosed && !server.isServing, "a closed server says so")
        try expect(server.addresses.isEmpty, "a closed server has addresses")
        try expectError(.closed) { try server.start() }
        // The accepted connection still works, in both directions.
        pair.far.onData = {
            if pair.far.received.count == 1000 {
                try pair.farTransport.write(pattern(2000))
            }
        }
        pair.near.onData = { if pair.near.received.count == 2000 { pair.loop.stop() } }
        pair.loop.callSoon { try pair.nearTransport.write(pattern(1000)) }
        try kit.run(pair.loop)
        try expectPattern(pair.near.received, count: 2000)
        try pair.close()
    }

    static func aClosedServerRefusesAndFreesItsPort(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        for _ in 0..<10 {
            let port = try freePort()
            let server = try loop.createServer(host: "127.0.0.1", port: port) { Recorder() }
            _ = try RawPeer(port: port)
            // Once it accepts, and once before it did.
            try kit.run(loop, .noWait)
            server.close()
            try kit.drain(loop)
            var refused: CInt = 0
            do {
                _ = try RawPeer(port: port)
            } catch is ConformanceFailure {
                refused = ECONNREFUSED
            }
            try expect(refused, equals: ECONNREFUSED, "connecting to a closed server")
            let again = try loop.createServer(host: "127.0.0.1", port: port) { Recorder() }
            again.close()
        }
        try loop.close()
    }

    static func aClosedLoopFreesThePortsOfItsServers(_ kit: ConformanceKit) throws {
        let port = try freePort()
        for _ in 0..<10 {
            let loop = try kit.makeLoop()
            // The same port every time, at once.
            _ = try loop.createServer(host: "127.0.0.1", port: port) { Recorder() }
            loop.callSoon { loop.stop() }
            try kit.run(loop)
            try loop.close()
        }
    }

    static func waitClosedWaitsForTheServerAndItsConnections(_ kit: ConformanceKit) throws {
        for order in ["server first", "connection first"] {
            let pair = try ConnectedPair(kit)
            var events: [String] = []
            pair.server.waitClosed { events.append("waited") }
            pair.server.waitClosed {
                events.append("waited")
                pair.loop.stop()
            }
            // Long enough behind the first end, whenever that comes.
            func endOther(_ body: @escaping () -> Void) {
                pair.loop.callLater(.milliseconds(5)) {
                    try expect(!events.contains("waited"), "\(order): waited only for one of them")
                    body()
                }
            }
            let closeServer = {
                events.append("closed")
                pair.server.close()
            }
            let isServerFirst = order == "server first"
            pair.far.onLost = {
                events.append("lost")
                if !isServerFirst { endOther(closeServer) }
            }
            pair.loop.callSoon {
                guard isServerFirst else { return pair.nearTransport.close() }
                closeServer()
                endOther { pair.nearTransport.close() }
            }
            try kit.run(pair.loop)
            let first = isServerFirst ? ["closed", "lost"] : ["lost", "closed"]
            try expect(events, equals: first + ["waited", "waited"], order)
            try expect(pair.server.connectionCount, equals: 0)
            // Whoever comes later does not wait, and is not called inside the call.
            var isCalled = false
            pair.server.waitClosed {
                isCalled = true
                pair.loop.stop()
            }
            try expect(!isCalled, "called inside the call")
            try kit.run(pair.loop)
            try expect(isCalled, "never called")
            try pair.close()
        }
    }

    // MARK: Binding

    /// Runs the loop until the server for `hosts` is made, or is not.
    private static func createServer(
        _ hosts: [String], port: Int, _ loop: Loop, _ kit: ConformanceKit
    ) throws -> Result<LoopServer, LoopError> {
        var outcome: Result<LoopServer, LoopError>?
        loop.createServer(
            hosts: hosts, port: port, makeProtocol: { Recorder() },
            completion: {
                outcome = $0
                loop.stop()
            })
        try expect(outcome == nil, "completed inside the call")
        try kit.run(loop)
        guard let outcome else { throw ConformanceFailure("never completed") }
        return outcome
    }

    static func aHostThatRepeatsIsListenedAtOnce(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"]
        let server = try createServer(hosts, port: 0, loop, kit).get()
        try expect(server.addresses.map(\.host), equals: ["127.0.0.1", "127.0.0.2"])
        try expect(server.addresses.allSatisfy { $0.port > 0 }, "a port was not picked")
        for address in server.addresses where address.host == "127.0.0.1" {
            _ = try RawPeer(port: address.port)
        }
        // A name and the number it stands for are one host, too.
        let named = try createServer(["localhost", "127.0.0.1"], port: 0, loop, kit).get()
        let hostsOfName = named.addresses.map(\.host)
        try expect(
            hostsOfName.count == Set(hostsOfName).count && hostsOfName.contains("127.0.0.1"),
            "localhost is listened at as \(hostsOfName)")
        try loop.close()
    }

    static func allAddressesAreBoundOrNone(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let port = try freePort()
        _ = try loop.createServer(host: "127.0.0.3", port: port) { Recorder() }
        let before = OpenDescriptors()
        let outcome = try createServer(
            ["127.0.0.1", "127.0.0.2", "127.0.0.3"], port: port, loop, kit)
        guard case .failure(let error) = outcome else {
            throw ConformanceFailure("a port was bound twice")
        }
        try expect(error.code, equals: .addressInUse)
        try expect(error.description.contains("127.0.0.3:\(port)"), "the error says \(error)")
        let left = OpenDescriptors().opened(since: before).filter { $0.contains("socket:") }
        try expect(left, equals: [], "sockets left open")
        // They are free for others.
        let others = try createServer(["127.0.0.1", "127.0.0.2"], port: port, loop, kit).get()
        try expect(others.addresses.count, equals: 2)
        try loop.close()
    }

    static func aPortInUseIsThatError(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { Recorder() }
        let port = try server.port
        let error = try expectError(LoopError.self) {
            _ = try loop.createServer(host: "127.0.0.1", port: port) { Recorder() }
        }
        try expect(error.code, equals: .addressInUse)
        try expect(error.errno, equals: EADDRINUSE)
        let foreign = try expectError(LoopError.self) {
            _ = try loop.createServer(host: "192.0.2.1", port: 0) { Recorder() }
        }
        try expect(foreign.code, equals: .addressNotAvailable)
        // Sharing a port is possible when all of its servers want it.
        var options = LoopServerOptions()
        options.reusePort = true
        let first = try loop.createServer(host: "127.0.0.1", port: 0, options: options) {
            Recorder()
        }
        _ = try loop.createServer(host: "127.0.0.1", port: first.port, options: options) {
            Recorder()
        }
        try loop.close()
    }

    static func portsAndHostsAreChecked(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        for port in [-1, 65536, .max, .min] {
            try expectError(.invalidArgument) {
                _ = try loop.createServer(host: "127.0.0.1", port: port) { Recorder() }
            }
            let outcome = try createServer(["127.0.0.1"], port: port, loop, kit)
            guard case .failure(let error) = outcome else {
                throw ConformanceFailure("port \(port) was bound")
            }
            try expect(error.code, equals: .invalidArgument)
        }
        try expectError(.nameNotResolved) {
            _ = try loop.createServer(host: "localhost", port: 0) { Recorder() }
        }
        // A label of more than 63 letters resolves nowhere, and no name server is asked.
        let impossible = String(repeating: "a", count: 70)
        guard case .failure(let error) = try createServer([impossible], port: 0, loop, kit) else {
            throw ConformanceFailure("\(impossible) resolves")
        }
        try expect(error.code, equals: .nameNotResolved)
        try expect(error.description.contains(impossible), "the error says \(error)")
        try loop.close()
    }

    static func aServerStartsWhenItIsTold(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var options = LoopServerOptions()
        options.startsServing = false
        let recorder = Recorder()
        recorder.onMade = { _ in loop.stop() }
        let server = try loop.createServer(host: "127.0.0.1", port: 0, options: options) {
            recorder
        }
        try expect(!server.isServing, "it serves already")
        try expectError(ConformanceFailure.self) { _ = try RawPeer(port: server.port) }
        try server.start()
        try server.start()
        try expect(server.isServing, "it does not serve")
        let peer = try RawPeer(port: server.port)
        try kit.run(loop)
        try expect(recorder.events, equals: [.made])
        peer.close()
        try loop.close()
    }

    // MARK: Accepting

    static func aBurstOfConnectionsIsAccepted(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var made = 0
        var lost = 0
        let count = 300
        let server = try loop.createServer(host: "127.0.0.1", port: 0) {
            let recorder = Recorder()
            recorder.onMade = { transport in
                made += 1
                try transport.write([UInt8(truncatingIfNeeded: made)])
            }
            recorder.onLost = {
                lost += 1
                if lost == count { loop.stop() }
            }
            return recorder
        }
        let port = try server.port
        let peers = try (0..<count).map { _ in try RawPeer(port: port) }
        for peer in peers { peer.endSending() }
        try kit.run(loop)
        try expect(made, equals: count)
        try expect(server.connectionCount, equals: 0)
        for peer in peers { try expect(peer.receiveAll().count, equals: 1) }
        try loop.close()
    }

    static func optionsReachTheSockets(_ kit: ConformanceKit) throws {
        func value(_ transport: LoopTransport, _ level: CInt, _ option: CInt) throws -> CInt {
            var value: CInt = -1
            var length = socklen_t(MemoryLayout<CInt>.size)
            let result = getsockopt(transport.descriptor, level, option, &value, &length)
            try expect(result, equals: 0, "getsockopt")
            return value
        }
        for isOn in [true, false] {
            let loop = try kit.makeLoop()
            var options = LoopServerOptions()
            options.noDelay = isOn
            options.keepAlive = isOn
            options.congestionControl = "reno"
            let recorder = Recorder()
            recorder.onMade = { transport in
                let noDelay = try value(transport, CInt(IPPROTO_TCP), TCP_NODELAY)
                try expect(noDelay != 0, equals: isOn, "TCP_NODELAY")
                let keepAlive = try value(transport, SOL_SOCKET, SO_KEEPALIVE)
                try expect(keepAlive != 0, equals: isOn, "SO_KEEPALIVE")
                let flags = fcntl(transport.descriptor, F_GETFD)
                try expect(flags & FD_CLOEXEC != 0, "an accepted socket is inherited by children")
                try expect(transport.peerAddress?.host, equals: "127.0.0.1")
                try expect(transport.localAddress?.port, equals: transport.localPort)
                loop.stop()
            }
            let server = try loop.createServer(host: "127.0.0.1", port: 0, options: options) {
                recorder
            }
            let peer = try RawPeer(port: server.port)
            try kit.run(loop)
            peer.close()
            try loop.close()
        }
        let loop = try kit.makeLoop()
        var options = LoopServerOptions()
        options.congestionControl = "nonsense"
        let error = try expectError(LoopError.self) {
            _ = try loop.createServer(host: "127.0.0.1", port: 0, options: options) { Recorder() }
        }
        try expect(error.description.contains("nonsense"), "the error says \(error)")
        try loop.close()
    }

    /// With no descriptor left, connections wait in the kernel: the server says so once, does not
    /// spin, and goes on when there are descriptors again.
    static func withoutDescriptorsAServerBacksOffAndRecovers(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var reports: [LoopError] = []
        loop.exceptionHandler = { _, context in
            if let error = context.error as? LoopError { reports.append(error) }
        }
        var made = 0
        let server = try loop.createServer(host: "127.0.0.1", port: 0) {
            let recorder = Recorder()
            recorder.onMade = { _ in
                made += 1
                if made == 3 { loop.stop() }
            }
            return recorder
        }
        let peers = [
            try RawPeer(port: server.port), try RawPeer(port: server.port),
            try RawPeer(port: server.port),
        ]
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        var lowered = limit
        // Numbers below three are taken, and none from there on is given out.
        lowered.rlim_cur = 3
        var ticksBefore: UInt64 = 0
        loop.callSoon {
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &lowered)
            ticksBefore = loop.statistics.ticks
            loop.callLater(.milliseconds(200)) {
                let ticks = loop.statistics.ticks - ticksBefore
                try expect(ticks < 50, "\(ticks) iterations while there were no descriptors")
                try expect(made, equals: 0, "connections without descriptors")
                setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            }
        }
        try kit.run(loop)
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        try expect(reports.map(\.code), equals: [.noDescriptors], "reports")
        try expect(made, equals: 3)
        for peer in peers { peer.close() }
        try loop.close()
    }
}

extension LoopTransport {
    /// The port of this side, by its description.
    fileprivate var localPort: Int? {
        localAddress.flatMap { Int($0.description.split(separator: ":").last ?? "") }
    }
}
