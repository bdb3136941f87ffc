// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

// Datagram endpoints over sockets that were made elsewhere.

extension Datagrams {
    static let sockets: [Behaviour] = [
        Behaviour(
            "aDatagramSocketOfOthersIsServed", [], .datagrams, aDatagramSocketOfOthersIsServed),
        Behaviour(
            "aDatagramSocketPairIsTwoEndpoints", [], .datagrams,
            aDatagramSocketPairIsTwoEndpoints),
        Behaviour(
            "aSocketForNoDatagramsStaysItsOwners", [], .datagrams,
            aSocketForNoDatagramsStaysItsOwners),
    ]

    static func aDatagramSocketOfOthersIsServed(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let fd = socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
        let port = try boundPort(of: fd)
        let task = loop.createTask {
            let server = try Loop.running.openDatagramEndpoint(descriptor: fd)
            try expect(server.localAddress?.port, equals: port)
            try expect(server.remoteAddress, equals: nil)
            try expect(fcntl(fd, F_GETFD) & FD_CLOEXEC != 0, "children inherit the socket")
            let remote = try LoopAddress(host: "127.0.0.1", port: port)
            try await withDatagramEndpoint(remote: remote) { client in
                for text in ["one", "", "three"] {
                    try await client.sendTo(text)
                    guard let datagram = try await server.receive() else {
                        throw ConformanceFailure("the endpoint is closed")
                    }
                    try await server.sendTo(datagram.bytes, datagram.address)
                    try expect(try await client.receive()?.bytes, equals: Array(text.utf8))
                }
            }
            try await server.close()
        }
        try kit.complete(task, on: loop)
        try expect(loop.resourceCount, equals: 0)
        try loop.close()
    }

    static func aDatagramSocketPairIsTwoEndpoints(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var ends: [CInt] = [-1, -1]
        try expect(socketpair(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0, &ends), equals: 0)
        let (one, other) = (ends[0], ends[1])
        let task = loop.createTask {
            let near = try Loop.running.openDatagramEndpoint(descriptor: one)
            let far = try Loop.running.openDatagramEndpoint(descriptor: other)
            try expect(near.remoteAddress != nil, "it is connected")
            // More than the kernel keeps: who sends waits.
            let sending = Loop.running.createTask {
                for number in 0..<1000 { try await near.sendTo("\(number)") }
                try await near.close()
            }
            for number in 0..<1000 {
                try expect(try await far.receive()?.bytes, equals: Array("\(number)".utf8))
            }
            try await sending.value
            try await far.close()
        }
        try kit.complete(task, on: loop)
        try expect(loop.resourceCount, equals: 0)
        try loop.close()
    }

    static func aSocketForNoDatagramsStaysItsOwners(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        func refuse(_ fd: CInt, _ code: LoopError.Code, line: Int = #line) throws {
            let flags = fcntl(fd, F_GETFL)
            try expectError(code, line: line) {
                _ = try loop.openDatagramEndpoint(descriptor: fd)
            }
            try expect(fcntl(fd, F_GETFL) == flags, "the flags have changed", line: line)
        }
        try refuse(-1, .system)
        let pipe = PipeEnds()
        try refuse(pipe.reader, .system)
        let streams = SocketPair()
        try refuse(streams.near, .invalidArgument)
        let fd = socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
        _ = try boundPort(of: fd)
        let endpoint = try loop.openDatagramEndpoint(descriptor: fd)
        try refuse(fd, .inUse)
        endpoint.abort()
        while loop.resourceCount > 0 { try kit.run(loop, .once) }
        withExtendedLifetime((pipe, streams)) {}
        try loop.close()
        try refuse(pipe.reader, .closed)
    }
}
