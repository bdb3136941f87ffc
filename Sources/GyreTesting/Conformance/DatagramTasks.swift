// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

// Datagram endpoints in async code.

extension Datagrams {
    @Sendable private static func ownAddress(_ endpoint: LoopDatagramEndpoint) throws -> LoopAddress
    {
        guard let address = endpoint.localAddress else {
            throw ConformanceFailure("the endpoint has no address")
        }
        return address
    }

    /// Runs `body` in a task of a new loop, with two endpoints.
    private static func exchanging(
        _ kit: ConformanceKit, heldMax: Int = 1024,
        _ body:
            @escaping @Sendable (LoopDatagramEndpoint, LoopDatagramEndpoint) async throws ->
            Void
    ) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            let local = try LoopAddress(host: "127.0.0.1", port: 0)
            try await withDatagramEndpoint(local: local, heldMax: heldMax) { server in
                try await withDatagramEndpoint(remote: ownAddress(server)) { client in
                    try await body(server, client)
                }
            }
        }
        try kit.complete(task, on: loop)
        try expect(loop.resourceCount, equals: 0, "endpoints are left")
        try expect(loop.allTasks.count, equals: 0, "tasks are left")
        try loop.close()
    }

    static func tasksExchangeDatagrams(_ kit: ConformanceKit) throws {
        try exchanging(kit) { server, client in
            let serving = Loop.running.createTask {
                var count = 0
                for try await datagram in server.datagrams {
                    try await server.sendTo(datagram.bytes + [33], datagram.address)
                    count += 1
                }
                return count
            }
            for text in ["one", "", "three"] {
                try await client.sendTo(text)
                let answer = try await client.receive()
                try expect(answer?.bytes, equals: Array(text.utf8) + [33])
                try expect(answer?.address, equals: ownAddress(server))
            }
            // Closing ends the sequence, and what was not received is still there.
            try await client.sendTo("last")
            try await server.close()
            try expect(try await serving.value, equals: 3)
            try expect(try await server.receive() == nil, "a closed endpoint received")
            do {
                try await server.sendTo("x", ownAddress(client))
                throw ConformanceFailure("a closed endpoint sent")
            } catch let error as LoopError {
                try expect(error.code, equals: .closed)
            }
            try expect(server.localAddress == nil, "a closed endpoint has an address")
        }
        // By name.
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            let endpoint = try await Loop.running.openDatagramEndpoint(host: "localhost", port: 9)
            try expect(endpoint.remoteAddress?.port, equals: 9)
            endpoint.abort()
            try await endpoint.close()
        }
        try kit.complete(task, on: loop)
        try loop.close()
    }

    static func aCancelledReceiveLosesNoDatagram(_ kit: ConformanceKit) throws {
        try exchanging(kit) { server, client in
            let loop = Loop.running
            for index in 0..<100 {
                let receiving = loop.createTask { try await server.receive() }
                let other = loop.createTask { try await server.receive() }
                if index % 2 == 0 { await yieldOnce() }
                try await client.sendTo("\(index)")
                for _ in 0..<index % 5 { await yieldOnce() }
                receiving.cancel()
                // Cancelled before it had it, or it has it.
                let first = try? await receiving.value
                let second: LoopDatagram?
                if first == nil {
                    second = try await other.value
                } else {
                    other.cancel()
                    second = try? await other.value
                }
                let texts = [first, second].compactMap { datagram in
                    datagram.flatMap { $0 }.map { String(decoding: $0.bytes, as: UTF8.self) }
                }
                try expect(texts, equals: ["\(index)"])
            }
        }
    }

    private static func yieldOnce() async { await Task.yield() }

    static func aReceiverIsToldOfErrorsInOrder(_ kit: ConformanceKit) throws {
        try exchanging(kit) { server, client in
            let address = try ownAddress(server)
            let clientAddress = try ownAddress(client)
            try await server.sendTo("before", clientAddress)
            try await server.close()
            try expect(try await client.receive()?.bytes, equals: Array("before".utf8))
            // Again and again: the kernel reports a bounded number a second, to all programs.
            let sending = Loop.running.createTask {
                while true {
                    try await client.sendTo("nobody")
                    try await sleep(.milliseconds(100))
                }
            }
            do {
                _ = try await client.receive()
                throw ConformanceFailure("a datagram to nobody was not reported")
            } catch let error as LoopError {
                try expect(error.code, equals: .connectionRefused)
            }
            sending.cancel()
            _ = try? await sending.value
            // It goes on: the sequence leaves the next error out.
            try await client.sendTo("nobody")
            try await withDatagramEndpoint(local: address) { again in
                try await again.sendTo("after", clientAddress)
                for try await datagram in client.datagrams {
                    try expect(datagram.bytes, equals: Array("after".utf8))
                    break
                }
            }
        }
    }

    static func whatNobodyReceivesStaysInTheKernel(_ kit: ConformanceKit) throws {
        try exchanging(kit, heldMax: 10) { server, client in
            for index in 0..<100 { try await client.sendTo("\(index)") }
            for _ in 0..<20 { await yieldOnce() }
            guard let transport = server.transport else {
                throw ConformanceFailure("the endpoint is closed")
            }
            try expect(!transport.isReading, "it goes on reading")
            for index in 0..<100 {
                let datagram = try await server.receive()
                try expect(datagram?.bytes, equals: Array("\(index)".utf8))
            }
            try expect(server.droppedCount, equals: 0)
        }
    }

    static func anEndpointServesOtherThreads(_ kit: ConformanceKit) throws {
        try exchanging(kit) { server, client in
            let loop = Loop.running
            let echoing = loop.createTask {
                for try await datagram in server.datagrams {
                    try await server.sendTo(datagram.bytes, datagram.address)
                }
            }
            let answers = LoopFuture<[String]>(on: loop)
            Task(executorPreference: ThreadExecutor()) {
                var texts: [String] = []
                for index in 0..<10 {
                    try await client.sendTo("\(index)")
                    guard let answer = try await client.receive() else { break }
                    texts.append(String(decoding: answer.bytes, as: UTF8.self))
                }
                server.abort()
                try answers.completeThreadSafe(with: .success(texts))
            }
            try expect(try await answers.value, equals: (0..<10).map { "\($0)" })
            try await echoing.value
        }
    }

    static func errorsThatNobodyReceivesAreBounded(_ kit: ConformanceKit) throws {
        try exchanging(kit) { server, _ in
            let nobody = try ownAddress(server)
            try await server.close()
            let client = try Loop.running.openDatagramEndpoint(remote: nobody, heldMax: 2)
            // Few: the kernel sends a bounded number of such reports a second, to all programs.
            for _ in 0..<8 {
                try await client.sendTo("x")
                await yieldOnce()
            }
            try await client.close()
            var errors = 0
            while true {
                do {
                    guard try await client.receive() != nil else { break }
                } catch let error as LoopError {
                    try expect(error.code, equals: .connectionRefused)
                    errors += 1
                }
            }
            try expect(errors <= 2, "\(errors) errors are kept")
        }
    }

    static func anotherLoopIsRefusedTheDatagrams(_ kit: ConformanceKit) throws {
        try exchanging(kit) { server, _ in
            let outcome = LoopFuture<Void>(on: Loop.running)
            try await withLoopGroup(count: 1, makeLoop: { try kit.makeLoop() }) { group in
                try group.handles[0].createTaskThreadSafe {
                    let result: Result<Void, any Error>
                    do {
                        for try await _ in server.datagrams {}
                        result = .success(())
                    } catch {
                        result = .failure(error)
                    }
                    try outcome.completeThreadSafe(with: result)
                }
                do {
                    try await outcome.value
                    throw ConformanceFailure("the datagrams ended")
                } catch let error as LoopError {
                    try expect(error.code, equals: .loopMismatch)
                }
            }
        }
    }
}
