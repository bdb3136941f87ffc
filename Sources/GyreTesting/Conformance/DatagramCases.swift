// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

// Errors, flow control, closing, options of datagram endpoints.

extension Datagrams {
    /// A port of this machine at which nobody is.
    private static func deadAddress(_ kit: ConformanceKit, _ loop: Loop) throws -> LoopAddress {
        let transport = try bound(loop, Receiver())
        let address = try address(of: transport)
        transport.abort()
        try kit.drain(loop)
        return address
    }

    static func whatDidNotArriveIsReported(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let dead = try deadAddress(kit, loop)
        let (connected, unconnected, alive) = (Receiver(), Receiver(), Receiver())
        let aliveTransport = try bound(loop, alive)
        let transports = [
            (connected, try loop.createDatagramEndpoint(remote: dead) { connected }),
            (unconnected, try bound(loop, unconnected)),
        ]
        for (receiver, transport) in transports {
            receiver.onError = { if receiver.errors.count == 2 { loop.stop() } }
            for _ in 0..<2 {
                let target = receiver === connected ? nil : dead
                try transport.sendTo("nobody", target)
                // The report of the one is not put down to the other.
                let count = receiver.errors.count
                while receiver.errors.count == count { try kit.run(loop, .once) }
            }
            for error in receiver.errors {
                try expect(error.code, equals: .connectionRefused)
                try expect(error.errno, equals: ECONNREFUSED)
                try expect(error.detail, equals: dead.description)
            }
            try expect(receiver.events, equals: ["made"])
        }
        // The endpoint goes on, and a datagram behind a lost one arrives.
        let aliveAddress = try address(of: aliveTransport)
        alive.onDatagram = { _ in if alive.received.count == 20 { loop.stop() } }
        for index in 0..<20 {
            try transports[1].1.sendTo("nobody", dead)
            try transports[1].1.sendTo("\(index)", aliveAddress)
        }
        try kit.run(loop)
        try expect(alive.texts, equals: (0..<20).map { "\($0)" })
        // Unless it is not wanted.
        var options = LoopDatagramOptions()
        options.reportsErrors = false
        let deaf = Receiver()
        let deafTransport = try bound(loop, deaf, options: options)
        try deafTransport.sendTo("nobody", dead)
        alive.onDatagram = { _ in loop.stop() }
        try deafTransport.sendTo("last", aliveAddress)
        try kit.run(loop)
        try kit.drain(loop)
        try expect(deaf.errors, equals: [])
        for receiver in [connected, unconnected, alive] { receiver.forgetClosures() }
        try loop.close()
    }

    static func aDatagramTooLargeIsReported(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let (near, far) = (Receiver(), Receiver())
        let nearTransport = try bound(loop, near)
        let target = try address(of: bound(loop, far))
        try nearTransport.sendTo([UInt8](repeating: 1, count: 70_000), target)
        try expect(near.errors, equals: [], "told inside the call")
        far.onDatagram = { _ in loop.stop() }
        try nearTransport.sendTo("small", target)
        try kit.run(loop)
        try kit.drain(loop)
        try expect(near.errors.map(\.errno), equals: [EMSGSIZE])
        try expect(near.errors.first?.detail, equals: target.description)
        try expect(far.texts, equals: ["small"])
        try loop.close()
    }

    static func pausedEndpointsKeepDatagrams(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let (near, far) = (Receiver(), Receiver())
        let nearTransport = try bound(loop, near)
        let farTransport = try bound(loop, far)
        let target = try address(of: farTransport)
        // Paused in the middle of those that came together, and again later.
        far.onDatagram = { _ in
            if far.received.count % 4 == 0 {
                farTransport.pauseReading()
                farTransport.pauseReading()
                loop.callSoon { loop.stop() }
            }
        }
        for index in 0..<12 { try nearTransport.sendTo("\(index)", target) }
        for round in 1...3 {
            try kit.run(loop)
            try kit.drain(loop)
            try expect(far.received.count, equals: 4 * round)
            try expect(!farTransport.isReading, "it still reads")
            farTransport.resumeReading()
            farTransport.resumeReading()
            try expect(far.received.count, equals: 4 * round, "delivered inside the call")
        }
        try expect(far.texts, equals: (0..<12).map { "\($0)" })
        far.forgetClosures()
        try loop.close()
    }

    /// The one kind of datagram that waits for its receiver.
    static func aFullUnixReceiverPausesTheSender(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let loop = try kit.makeLoop()
        for isConnected in [true, false] {
            let (near, far) = (Receiver(), Receiver())
            let target = try LoopAddress(unixPath: folder.path("far.sock"))
            let farTransport = try loop.createDatagramEndpoint(local: target) { far }
            farTransport.pauseReading()
            let nearTransport = try loop.createDatagramEndpoint(
                local: isConnected ? nil : LoopAddress(unixPath: folder.path("near.sock")),
                remote: isConnected ? target : nil
            ) { near }
            try nearTransport.setWriteBufferLimits(high: 100_000)
            var sent = 0
            while near.events.last != "paused" {
                try nearTransport.sendTo(
                    pattern(1000, seed: sent), isConnected ? nil : target)
                sent += 1
                try expect(sent < 100_000, "never paused")
            }
            try expect(nearTransport.writeBufferSize > 100_000, "paused too early")
            try kit.drain(loop)
            try expect(near.events, equals: ["made", "paused"])
            far.onDatagram = { _ in if far.received.count == sent { loop.stop() } }
            farTransport.resumeReading()
            try kit.run(loop)
            try expect(near.events, equals: ["made", "paused", "resumed"])
            for (index, datagram) in far.received.enumerated() {
                try expectPattern(datagram.bytes, count: 1000, seed: index)
            }
            nearTransport.close()
            farTransport.close()
            try kit.drain(loop)
        }
        try loop.close()
    }

    static func closingAnEndpointSendsWhatIsKept(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let loop = try kit.makeLoop()
        let (near, far) = (Receiver(), Receiver())
        let target = try LoopAddress(unixPath: folder.path("far.sock"))
        let farTransport = try loop.createDatagramEndpoint(local: target) { far }
        farTransport.pauseReading()
        let nearTransport = try loop.createDatagramEndpoint(remote: target) { near }
        var sent = 0
        while nearTransport.writeBufferSize == 0 || sent % 100 != 0 {
            try nearTransport.sendTo("\(sent)")
            sent += 1
        }
        nearTransport.close()
        nearTransport.close()
        try expect(nearTransport.isClosing, "it does not close")
        try nearTransport.sendTo("after")
        try kit.drain(loop)
        try expect(near.events, equals: ["made"])
        near.onLost = { loop.stop() }
        farTransport.resumeReading()
        try kit.run(loop)
        while far.received.count < sent { try kit.run(loop, .once) }
        try expect(near.events, equals: ["made", "lost"])
        try expect(far.texts, equals: (0..<sent).map { "\($0)" })
        try expect(nearTransport.descriptor, equals: -1)
        try expect(nearTransport.localAddress, equals: nil)
        try loop.close()
    }

    static func abortingAnEndpointIsToldLater(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let loop = try kit.makeLoop()
        let (near, far) = (Receiver(), Receiver())
        let target = try LoopAddress(unixPath: folder.path("far.sock"))
        let farTransport = try loop.createDatagramEndpoint(local: target) { far }
        farTransport.pauseReading()
        let nearTransport = try loop.createDatagramEndpoint(remote: target) { near }
        while nearTransport.writeBufferSize < 10_000 { try nearTransport.sendTo(pattern(1000)) }
        nearTransport.abort()
        nearTransport.abort()
        try expect(near.events, equals: ["made"], "told inside the call")
        try kit.drain(loop)
        try expect(near.events, equals: ["made", "lost"])
        // In the call for a datagram, too.
        far.onDatagram = { _ in farTransport.abort() }
        far.onLost = { loop.stop() }
        farTransport.resumeReading()
        try kit.run(loop)
        try expect(far.events, equals: ["made", "datagram", "lost"])
        try expect(far.received.count, equals: 1)
        try expect(folder.names, equals: [])
        try loop.close()
    }

    static func anEndpointWhoseProtocolThrowsIsAborted(_ kit: ConformanceKit) throws {
        struct Refusal: Error {}
        let loop = try kit.makeLoop()
        var reported: [any Error] = []
        loop.exceptionHandler = { _, context in
            if let error = context.error { reported.append(error) }
        }
        let (near, far) = (Receiver(), Receiver())
        let nearTransport = try bound(loop, near)
        let target = try address(of: bound(loop, far))
        far.onDatagram = { _ in throw Refusal() }
        far.onLost = { loop.stop() }
        for _ in 0..<3 { try nearTransport.sendTo("x", target) }
        try kit.run(loop)
        try expect(reported.count == 1 && reported[0] is Refusal, "reported \(reported)")
        try expect(far.received.count, equals: 1)
        try expect(far.events.count, equals: 3)
        try loop.close()
    }

    static func endpointsThatCannotBeMadeLeaveNothing(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let loop = try kit.makeLoop()
        let taken = try address(of: bound(loop, Receiver()))
        let unix = try LoopAddress(unixPath: folder.path("a.sock"))
        let missing = try LoopAddress(unixPath: folder.path("missing.sock"))
        try kit.run(loop, .noWait)
        let before = OpenDescriptors()
        func expectRefused(
            _ code: LoopError.Code, local: LoopAddress? = nil, remote: LoopAddress? = nil
        ) throws {
            try expectError(code) {
                _ = try loop.createDatagramEndpoint(local: local, remote: remote) { Receiver() }
            }
        }
        try expectRefused(.addressInUse, local: taken)
        try expectRefused(.addressNotAvailable, local: LoopAddress(host: "192.0.2.1", port: 0))
        try expectRefused(.invalidArgument)
        try expectRefused(.invalidArgument, local: taken, remote: unix)
        // Bound, and then not connected: the file is gone again.
        try expectRefused(.notFound, local: unix, remote: missing)
        try expect(folder.names, equals: [])
        var outcome: Result<LoopDatagramTransport, LoopError>?
        loop.createDatagramEndpoint(
            host: "127.0.0.1", port: 70_000, makeProtocol: { Receiver() },
            completion: {
                outcome = $0
                loop.stop()
            })
        try expect(outcome == nil, "completed inside the call")
        try kit.run(loop)
        guard case .failure(let error) = outcome else {
            throw ConformanceFailure("port 70000 was connected to")
        }
        try expect(error.code, equals: .invalidArgument)
        let left = OpenDescriptors().opened(since: before).filter { $0.contains("socket:") }
        try expect(left, equals: [], "sockets left open")
        // A name leads somewhere.
        loop.createDatagramEndpoint(
            host: "localhost", port: taken.port, makeProtocol: { Receiver() },
            completion: {
                outcome = $0
                loop.stop()
            })
        try kit.run(loop)
        try expect(try outcome?.get().remoteAddress?.port, equals: taken.port)
        try loop.close()
    }

    static func optionsReachDatagramSockets(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        func value(_ fd: CInt, _ option: CInt) throws -> CInt {
            var value: CInt = -1
            var length = socklen_t(MemoryLayout<CInt>.size)
            try expect(getsockopt(fd, SOL_SOCKET, option, &value, &length), equals: 0)
            return value
        }
        for isOn in [true, false] {
            var options = LoopDatagramOptions()
            options.reusePort = isOn
            options.allowsBroadcast = isOn
            options.receiveBufferSize = isOn ? 50_000 : nil
            let transport = try bound(loop, Receiver(), options: options)
            let fd = transport.descriptor
            try expect(value(fd, SO_REUSEPORT) != 0, equals: isOn, "SO_REUSEPORT")
            try expect(value(fd, SO_BROADCAST) != 0, equals: isOn, "SO_BROADCAST")
            try expect(value(fd, SO_RCVBUF) == 100_000, equals: isOn, "SO_RCVBUF")
            try expect(fcntl(fd, F_GETFD) & FD_CLOEXEC != 0, "inherited by children")
            if isOn {
                let local = try address(of: transport)
                _ = try loop.createDatagramEndpoint(local: local, options: options) { Receiver() }
            } else {
                // Without the option a broadcast is refused by the kernel, and that is told.
                let receiver = Receiver()
                let sender = try bound(loop, receiver, options: options)
                receiver.onError = { loop.stop() }
                try sender.sendTo("x", LoopAddress(host: "127.255.255.255", port: 9))
                try kit.run(loop)
                try expect(receiver.errors.map(\.errno), equals: [EACCES])
            }
        }
        try loop.close()
    }

    static func aGroupIsJoinedAndLeft(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let (near, far) = (Receiver(), Receiver())
        let nearTransport = try bound(loop, near)
        let farTransport = try loop.createDatagramEndpoint(
            local: LoopAddress(host: nil, port: 0)
        ) { far }
        let port = try address(of: farTransport).port
        // One of its own: others of this machine may be in another.
        let group = try LoopAddress(host: "239.255.\(port >> 8).\(port & 255)", port: port)
        try nearTransport.setMulticastInterface("lo")
        try nearTransport.setMulticastHops(0)
        try nearTransport.setMulticastLoopback(true)
        try farTransport.joinGroup(group, interface: "lo")
        try expectError(.addressInUse) { try farTransport.joinGroup(group, interface: "lo") }
        far.onDatagram = { _ in loop.stop() }
        try nearTransport.sendTo("to the group", group)
        try kit.run(loop)
        try farTransport.leaveGroup(group, interface: "lo")
        try expectError(.addressNotAvailable) {
            try farTransport.leaveGroup(group, interface: "lo")
        }
        try nearTransport.sendTo("to nobody", group)
        try nearTransport.sendTo("directly", LoopAddress(host: "127.0.0.1", port: port))
        try kit.run(loop)
        try expect(far.texts, equals: ["to the group", "directly"])
        try expectError(.system) { try farTransport.joinGroup(group, interface: "no such") }
        try expectError(.invalidArgument) {
            try farTransport.joinGroup(LoopAddress(host: "127.0.0.1", port: 0))
        }
        try expectError(.invalidArgument) {
            try farTransport.joinGroup(LoopAddress(host: "ff02::1", port: 0))
        }
        try loop.close()
        try expectError(.closed) { try nearTransport.setMulticastHops(1) }
    }

    static func whatTheKernelDropsIsCounted(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let (near, far) = (Receiver(), Receiver())
        var options = LoopDatagramOptions()
        options.receiveBufferSize = 10_000
        let nearTransport = try bound(loop, near)
        let farTransport = try bound(loop, far, options: options)
        let target = try address(of: farTransport)
        try expect(farTransport.droppedCount, equals: 0)
        for _ in 0..<200 { try nearTransport.sendTo(pattern(1000), target) }
        guard let dropped = farTransport.droppedCount else {
            throw ConformanceFailure("nothing was counted")
        }
        try expect((100..<200).contains(dropped), "\(dropped) were dropped")
        try kit.drain(loop)
        try expect(far.received.count, equals: 200 - dropped)
        try loop.close()
        try expect(farTransport.droppedCount, equals: nil)
    }
}
