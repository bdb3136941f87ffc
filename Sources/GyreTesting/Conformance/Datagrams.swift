// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Datagram endpoints, UDP and Unix.
enum Datagrams {
    static let behaviours: [Behaviour] = [
        Behaviour("datagramsArriveWhole", [], .datagrams, datagramsArriveWhole),
        Behaviour(
            "datagramsGoOverIPv6", [], .datagrams, needsIPv6: true, datagramsGoOverIPv6),
        Behaviour("datagramsGoOverUnixSockets", [], .datagrams, datagramsGoOverUnixSockets),
        Behaviour("manyDatagramsGoTogether", [], .datagrams, manyDatagramsGoTogether),
        Behaviour(
            "aConnectedEndpointSendsNowhereElse", [106], .datagrams,
            aConnectedEndpointSendsNowhereElse),
        Behaviour(
            "aConnectedEndpointHearsItsPeerOnly", [], .datagrams,
            aConnectedEndpointHearsItsPeerOnly),
        Behaviour(
            "whatDidNotArriveIsReported", [98], .datagrams, isProcessWide: true,
            whatDidNotArriveIsReported),
        Behaviour("aDatagramTooLargeIsReported", [], .datagrams, aDatagramTooLargeIsReported),
        Behaviour("pausedEndpointsKeepDatagrams", [], .datagrams, pausedEndpointsKeepDatagrams),
        Behaviour(
            "aFullUnixReceiverPausesTheSender", [89], .datagrams, aFullUnixReceiverPausesTheSender),
        Behaviour(
            "closingAnEndpointSendsWhatIsKept", [86, 88], .datagrams,
            closingAnEndpointSendsWhatIsKept),
        Behaviour(
            "abortingAnEndpointIsToldLater", [87], .datagrams, abortingAnEndpointIsToldLater),
        Behaviour(
            "anEndpointWhoseProtocolThrowsIsAborted", [], .datagrams,
            anEndpointWhoseProtocolThrowsIsAborted),
        Behaviour(
            "endpointsThatCannotBeMadeLeaveNothing", [], .datagrams, isProcessWide: true,
            endpointsThatCannotBeMadeLeaveNothing),
        Behaviour("optionsReachDatagramSockets", [], .datagrams, optionsReachDatagramSockets),
        Behaviour("aGroupIsJoinedAndLeft", [], .datagrams, aGroupIsJoinedAndLeft),
        Behaviour("whatTheKernelDropsIsCounted", [], .datagrams, whatTheKernelDropsIsCounted),
        Behaviour(
            "tasksExchangeDatagrams", [], .datagrams, tasksExchangeDatagrams),
        Behaviour(
            "aCancelledReceiveLosesNoDatagram", [], .datagrams, aCancelledReceiveLosesNoDatagram),
        Behaviour(
            "aReceiverIsToldOfErrorsInOrder", [], .datagrams, aReceiverIsToldOfErrorsInOrder),
        Behaviour(
            "whatNobodyReceivesStaysInTheKernel", [], .datagrams,
            whatNobodyReceivesStaysInTheKernel),
        Behaviour(
            "anEndpointServesOtherThreads", [], .datagrams, anEndpointServesOtherThreads),
        Behaviour(
            "errorsThatNobodyReceivesAreBounded", [], .datagrams,
            errorsThatNobodyReceivesAreBounded),
        Behaviour(
            "anotherLoopIsRefusedTheDatagrams", [], .datagrams, anotherLoopIsRefusedTheDatagrams),
    ]

    /// Notes what it is told.
    final class Receiver: LoopDatagramProtocol {
        private(set) var events: [String] = []
        private(set) var received: [LoopDatagram] = []
        private(set) var errors: [LoopError] = []
        private(set) var transport: LoopDatagramTransport?
        var onDatagram: (LoopDatagram) throws -> Void = { _ in }
        var onError: () -> Void = {}
        var onLost: () -> Void = {}

        /// How many came, without their bytes in the middle.
        var texts: [String] { received.map { String(decoding: $0.bytes, as: UTF8.self) } }

        func connectionMade(_ transport: LoopDatagramTransport) {
            events.append("made")
            self.transport = transport
        }

        func datagramReceived(_ data: RawSpan, from address: LoopAddress) throws {
            // SAFETY: the bytes are copied before the borrow ends.
            let bytes = data.withUnsafeBytes { Array($0) }
            let datagram = LoopDatagram(bytes: bytes, address: address)
            received.append(datagram)
            if events.last != "datagram" { events.append("datagram") }
            try onDatagram(datagram)
        }

        func errorReceived(_ error: LoopError) {
            errors.append(error)
            onError()
        }

        /// What these hold may hold this object; a loop that closes tells nobody.
        func forgetClosures() {
            onDatagram = { _ in }
            onError = {}
            onLost = {}
        }

        func connectionLost(_ error: (any Error)?) {
            events.append(error.map { "lost: \($0)" } ?? "lost")
            onLost()
            forgetClosures()
        }

        func pauseWriting() { events.append("paused") }

        func resumeWriting() { events.append("resumed") }
    }

    static let anyPort = "127.0.0.1"

    static func bound(
        _ loop: Loop, _ receiver: Receiver, options: LoopDatagramOptions = LoopDatagramOptions()
    ) throws -> LoopDatagramTransport {
        let local = try LoopAddress(host: anyPort, port: 0)
        return try loop.createDatagramEndpoint(local: local, options: options) { receiver }
    }

    static func address(of transport: LoopDatagramTransport) throws -> LoopAddress {
        guard let address = transport.localAddress else {
            throw ConformanceFailure("the endpoint has no address")
        }
        return address
    }

    /// Exchanges datagrams of all sizes between `near` and `far`, one at a time.
    private static func exchange(
        _ kit: ConformanceKit, _ loop: Loop, _ near: Receiver, _ far: Receiver, sizes: [Int]
    ) throws {
        guard let nearTransport = near.transport, let farTransport = far.transport else {
            throw ConformanceFailure("connectionMade was not called")
        }
        let farAddress = try address(of: farTransport)
        far.onDatagram = { try farTransport.sendTo($0.bytes, $0.address) }
        var next = 0
        func sendNext() throws {
            guard next < sizes.count else { return loop.stop() }
            try nearTransport.sendTo(pattern(sizes[next], seed: next), farAddress)
            next += 1
        }
        near.onDatagram = { _ in try sendNext() }
        (near.onError, far.onError) = ({ loop.stop() }, { loop.stop() })
        loop.callSoon { try sendNext() }
        try kit.run(loop)
        if let error = near.errors.first ?? far.errors.first { throw error }
        try expect(near.received.map(\.bytes.count), equals: sizes)
        for (index, datagram) in near.received.enumerated() {
            try expectPattern(datagram.bytes, count: sizes[index], seed: index)
            try expect(datagram.address, equals: farAddress)
        }
        try expect(far.received.map(\.bytes.count), equals: sizes)
        let nearAddress = try address(of: nearTransport)
        try expect(far.received.allSatisfy { $0.address == nearAddress }, "another sender")
    }

    static func datagramsArriveWhole(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let (near, far) = (Receiver(), Receiver())
        let nearTransport = try bound(loop, near)
        let farTransport = try bound(loop, far)
        try expect(near.events, equals: ["made"])
        try expect(farTransport.localAddress?.host, equals: "127.0.0.1")
        try expect(farTransport.remoteAddress, equals: nil)
        try exchange(kit, loop, near, far, sizes: [1, 0, 1000, 20_000, 65_507, 3])
        try expect(near.errors + far.errors, equals: [])
        nearTransport.close()
        farTransport.close()
        try kit.drain(loop)
        try expect(near.events.last, equals: "lost")
        try expect(loop.resourceCount, equals: 0)
        try loop.close()
    }

    static func datagramsGoOverIPv6(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let (near, far) = (Receiver(), Receiver())
        let local = try LoopAddress(host: "::1", port: 0)
        _ = try loop.createDatagramEndpoint(local: local) { near }
        _ = try loop.createDatagramEndpoint(local: local) { far }
        try exchange(kit, loop, near, far, sizes: [5, 0, 60_000])
        try loop.close()
    }

    static func datagramsGoOverUnixSockets(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let loop = try kit.makeLoop()
        let (near, far) = (Receiver(), Receiver())
        let nearTransport = try loop.createDatagramEndpoint(
            local: LoopAddress(unixPath: folder.path("near.sock"))
        ) { near }
        let farTransport = try loop.createDatagramEndpoint(
            local: LoopAddress(unixPath: folder.abstractName)
        ) { far }
        try exchange(kit, loop, near, far, sizes: [5, 0, 100_000])
        // A path that is served is left alone; the file goes with its endpoint.
        try expectError(.addressInUse) {
            _ = try loop.createDatagramEndpoint(
                local: LoopAddress(unixPath: folder.path("near.sock"))
            ) { Receiver() }
        }
        // Who has no name can send, and cannot be answered.
        let nameless = try loop.createDatagramEndpoint(
            remote: LoopAddress(unixPath: folder.path("near.sock"))
        ) { Receiver() }
        near.onDatagram = { datagram in
            try expect(datagram.address.unixPath, equals: "")
            loop.stop()
        }
        try nameless.sendTo("hello")
        try kit.run(loop)
        nearTransport.close()
        farTransport.close()
        try kit.drain(loop)
        try expect(folder.names, equals: [])
        try loop.close()
    }

    static func manyDatagramsGoTogether(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let (near, far) = (Receiver(), Receiver())
        let nearTransport = try bound(loop, near)
        let farTransport = try bound(loop, far)
        let count = 100
        let target = try address(of: farTransport)
        // Answered with two each: kept, and sent together.
        far.onDatagram = { datagram in
            try farTransport.sendTo(datagram.bytes, datagram.address)
            try farTransport.sendTo(datagram.bytes + [1], datagram.address)
        }
        near.onDatagram = { _ in if near.received.count == 2 * count { loop.stop() } }
        for index in 0..<count { try nearTransport.sendTo([UInt8(index)], target) }
        try kit.run(loop)
        let expected: [[UInt8]] = (0..<UInt8(count)).flatMap { [[$0], [$0, 1]] }
        try expect(near.received.map(\.bytes), equals: expected)
        try expect(farTransport.writeBufferSize, equals: 0)
        for receiver in [near, far] { receiver.forgetClosures() }
        try loop.close()
    }

    static func aConnectedEndpointSendsNowhereElse(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let (near, far) = (Receiver(), Receiver())
        let farTransport = try bound(loop, far)
        let remote = try address(of: farTransport)
        let transport = try loop.createDatagramEndpoint(remote: remote) { near }
        try expect(transport.remoteAddress, equals: remote)
        let other = try LoopAddress(host: "127.0.0.1", port: remote.port == 9 ? 10 : 9)
        try expectError(.invalidArgument) { try transport.sendTo("x", other) }
        far.onDatagram = { _ in if far.received.count == 2 { loop.stop() } }
        try transport.sendTo("one")
        try transport.sendTo("two", remote)
        try kit.run(loop)
        try expect(far.texts, equals: ["one", "two"])
        // And one that is not connected has to be told where to.
        try expectError(.notConnected) { try farTransport.sendTo("x") }
        try expectError(.invalidArgument) {
            try farTransport.sendTo("x", LoopAddress(unixPath: "/tmp/x"))
        }
        far.forgetClosures()
        try loop.close()
    }

    static func aConnectedEndpointHearsItsPeerOnly(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let (near, far, stranger) = (Receiver(), Receiver(), Receiver())
        let farTransport = try bound(loop, far)
        let strangerTransport = try bound(loop, stranger)
        let transport = try loop.createDatagramEndpoint(remote: address(of: farTransport)) { near }
        let nearAddress = try address(of: transport)
        near.onDatagram = { _ in loop.stop() }
        try strangerTransport.sendTo("stranger", nearAddress)
        try farTransport.sendTo("peer", nearAddress)
        try kit.run(loop)
        try kit.drain(loop)
        try expect(near.texts, equals: ["peer"])
        try loop.close()
    }
}
