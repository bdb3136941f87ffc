// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Writing to streams, and their servers and clients.
enum StreamWriters {
    static let behaviours: [Behaviour] = [
        Behaviour("aStreamServerEchoesEveryByte", [], .streamWriters, aStreamServerEchoesEveryByte),
        Behaviour("whatIsWrittenArrivesInOrder", [], .streamWriters, whatIsWrittenArrivesInOrder),
        Behaviour("drainWaitsForASlowPeer", [], .streamWriters, drainWaitsForASlowPeer),
        Behaviour("eitherDirectionEndsByItself", [], .streamWriters, eitherDirectionEndsByItself),
        Behaviour(
            "closingAStreamSendsWhatWasWritten", [], .streamWriters,
            closingAStreamSendsWhatWasWritten),
        Behaviour(
            "theEndOfAStreamHandlerClosesItsConnection", [], .streamWriters,
            theEndOfAStreamHandlerClosesItsConnection),
        Behaviour(
            "anErrorOfAStreamHandlerIsReported", [], .streamWriters,
            anErrorOfAStreamHandlerIsReported),
        Behaviour(
            "aStreamThatCannotBeOpenedIsThatError", [98], .streamWriters,
            aStreamThatCannotBeOpenedIsThatError),
        Behaviour(
            "cancellingAnOpenLeavesNothing", [99], .streamWriters, cancellingAnOpenLeavesNothing),
        Behaviour("aStreamServesOtherThreads", [], .streamWriters, aStreamServesOtherThreads),
        Behaviour("aSetHoldsEachStreamOnce", [], .streamWriters, aSetHoldsEachStreamOnce),
        Behaviour("aStreamKnowsItsAddresses", [], .streamWriters, aStreamKnowsItsAddresses),
        Behaviour(
            "waitsThatAreCancelledLeaveNothing", [], .streamWriters,
            waitsThatAreCancelledLeaveNothing),
    ]

    /// Runs `body` on a new loop, with a server whose connections `handler` serves, until both have
    /// ended.
    private static func serving(
        _ kit: ConformanceKit, handler: @escaping LoopStreamHandler,
        _ body: @escaping @Sendable (LoopServer) async throws -> Void
    ) throws {
        try kit.runConnections {
            let server = try await Loop.running.startServer(
                host: "127.0.0.1", port: 0, handler: handler)
            try await body(server)
            server.close()
        }
    }

    @Sendable private static func echo(
        _ reader: LoopStreamReader, _ writer: LoopStreamWriter
    ) async throws {
        for try await chunk in reader.chunks {
            try writer.write(chunk)
            try await writer.drain()
        }
    }

    /// Connects to `server`.
    private static func open(
        _ server: LoopServer
    ) async throws -> (LoopStreamReader, LoopStreamWriter) {
        try await Loop.running.openConnection(host: "127.0.0.1", port: try server.port)
    }

    static func aSetHoldsEachStreamOnce(_ kit: ConformanceKit) throws {
        try serving(kit, handler: echo) { server in
            let (first, second) = (try await open(server).1, try await open(server).1)
            var writers: Set<LoopStreamWriter> = [first, second, first]
            try expect(writers.count, equals: 2, "streams")
            writers.remove(first)
            try expect(writers, equals: [second])
            first.close()
            second.close()
            let port = try server.port
            try await withConnection(to: "127.0.0.1", port: port) { one in
                try await withConnection(to: "127.0.0.1", port: port) { other in
                    let connections: Set<LoopConnection> = [one, other, one]
                    try expect(connections.count, equals: 2, "connections")
                }
            }
        }
    }

    static func aStreamServerEchoesEveryByte(_ kit: ConformanceKit) throws {
        try serving(kit, handler: echo) { server in
            for count in [0, 1, 1000, 100_000, 3_000_000] {
                let (reader, writer) = try await open(server)
                let answer = Loop.running.createTask { try await reader.readToEnd() }
                try writer.write(pattern(count))
                try await writer.drain()
                try writer.writeEOF()
                try expectPattern(try await answer.value, count: count)
                writer.close()
                try await writer.waitClosed()
            }
        }
    }

    static func whatIsWrittenArrivesInOrder(_ kit: ConformanceKit) throws {
        try StreamReaders.connected(kit) { _, writer, peer in
            try writer.write("one ")
            try writer.writeLines(["two ", "three "])
            try writer.write(Array("four ".utf8))
            try writer.writeLines([[], Array("five".utf8)])
            try writer.writeEOF()
            try writer.writeEOF()
            let failure = try await StreamReaders.error(LoopError.self) { try writer.write("six") }
            try expect(failure.code, equals: .endOfFileWritten)
            try await writer.drain()
            let received = try await StreamReaders.onThread { try peer.receiveAll() }.value
            try expect(StreamReaders.text(received), equals: "one two three four five")
        }
    }

    static func drainWaitsForASlowPeer(_ kit: ConformanceKit) throws {
        let count = 32 << 20
        try StreamReaders.connected(kit) { _, writer, peer in
            try writer.transport?.setWriteBufferLimits(high: 1 << 20)
            try await writer.drain()
            try writer.write(pattern(count))
            let drained = Loop.running.createTask(eager: true) { try await writer.drain() }
            let cancelled = Loop.running.createTask(eager: true) { try await writer.drain() }
            try await sleep(.milliseconds(5))
            try expect(!drained.isDone, "the peer reads nothing")
            cancelled.cancel()
            _ = try await StreamReaders.error(CancellationError.self) { try await cancelled.value }
            let receiver = try StreamReaders.onThread { try peer.receiveAll() }
            try await drained.value
            let buffered = writer.transport?.writeBufferSize ?? .max
            try expect(buffered <= 256 << 10, "\(buffered) bytes are above the low mark")
            writer.close()
            try await writer.waitClosed()
            try expectPattern(try await receiver.value, count: count)
            let closed = try await StreamReaders.error(LoopError.self) { try await writer.drain() }
            try expect(closed.code, equals: .closed)
        }
    }

    static func eitherDirectionEndsByItself(_ kit: ConformanceKit) throws {
        try StreamReaders.connected(kit) { reader, writer, peer in
            try expect(writer.canWriteEOF, "a socket ends in one direction")
            try writer.write("question")
            try writer.writeEOF()
            let question = try StreamReaders.onThread {
                let question = try peer.receiveAll()
                try peer.send(Array("answer".utf8))
                peer.endSending()
                return question
            }
            try expect(StreamReaders.text(try await reader.readToEnd()), equals: "answer")
            try expect(StreamReaders.text(try await question.value), equals: "question")
            try expect(!writer.isClosing, "both ends do not close it")
        }
        try StreamReaders.connected(kit) { reader, writer, peer in
            peer.endSending()
            try expect(try await reader.readToEnd(), equals: [])
            try writer.write("still")
            try writer.writeEOF()
            let received = try await StreamReaders.onThread { try peer.receiveAll() }.value
            try expect(StreamReaders.text(received), equals: "still")
        }
    }

    static func closingAStreamSendsWhatWasWritten(_ kit: ConformanceKit) throws {
        let count = 8 << 20
        try StreamReaders.connected(kit) { reader, writer, peer in
            try writer.write(pattern(count))
            writer.close()
            writer.close()
            try expect(writer.isClosing, "the stream is closing")
            try writer.write("too late")
            let waiting = Loop.running.createTask(eager: true) { try await writer.waitClosed() }
            try await sleep(.zero)
            waiting.cancel()
            _ = try await StreamReaders.error(CancellationError.self) { try await waiting.value }
            let receiver = try StreamReaders.onThread { try peer.receiveAll() }
            try await writer.waitClosed()
            try expectPattern(try await receiver.value, count: count)
            try expect(writer.isClosing, "the stream is closed")
            try expect(try await reader.read(1), equals: [], "a closed stream is at its end")
        }
        try StreamReaders.connected(kit) { _, writer, _ in
            try writer.write(pattern(count))
            writer.abort()
            try await writer.waitClosed()
        }
    }

    static func theEndOfAStreamHandlerClosesItsConnection(_ kit: ConformanceKit) throws {
        try serving(
            kit,
            handler: { reader, writer in
                _ = try await reader.readLine()
                try writer.write(pattern(1_000_000))
            },
            { server in
                let (reader, writer) = try await open(server)
                try writer.write("go\n")
                try expectPattern(try await reader.readToEnd(), count: 1_000_000)
                writer.close()
            })
    }

    static func anErrorOfAStreamHandlerIsReported(_ kit: ConformanceKit) throws {
        struct Failure: Error {}
        let loop = try kit.makeLoop()
        let reports = SharedValue<[String]>([])
        loop.exceptionHandler = { _, context in
            reports.update { $0.append("\(context.message): \(context.error is Failure)") }
        }
        let task = loop.createTask {
            let server = try await Loop.running.startServer(host: "127.0.0.1", port: 0) {
                reader, writer in
                let line = try await reader.readLine()
                if line == Array("fail\n".utf8) { throw Failure() }
                if line == Array("give up\n".utf8) { throw CancellationError() }
                try await echo(reader, writer)
            }
            let (reader, writer) = try await open(server)
            for word in ["fail", "give up"] {
                let (failing, failingWriter) = try await open(server)
                try failingWriter.write("\(word)\n")
                try expect(try await failing.readToEnd(), equals: [], "it is closed")
                failingWriter.close()
            }
            try writer.write("echo\nyes")
            try expect(StreamReaders.text(try await reader.readExactly(3)), equals: "yes")
            server.close()
            writer.close()
        }
        try kit.complete(task, on: loop)
        while loop.statistics.operationCount > 0 { try kit.run(loop, .once) }
        try kit.drain(loop)
        try expect(reports.value, equals: ["The handler of a connection threw an error: true"])
        try expect(loop.resourceCount, equals: 0, "sockets are left")
        try loop.close()
    }

    static func aStreamThatCannotBeOpenedIsThatError(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            // Bound, and nobody listens.
            var options = LoopServerOptions()
            options.startsServing = false
            let server = try await Loop.running.startServer(
                host: "127.0.0.1", port: 0, options: options, handler: { _, _ in })
            defer { server.close() }
            _ = try await open(server)
        }
        try expectError(.connectionRefused) { try kit.complete(task, on: loop) }
        try expect(loop.resourceCount, equals: 0, "nothing is left open")
        try loop.close()
    }

    static func cancellingAnOpenLeavesNothing(_ kit: ConformanceKit) throws {
        for iterations in 0..<8 {
            try serving(
                kit,
                handler: { reader, _ in
                    // A connection that was made is closed, or broken off.
                    do { _ = try await reader.readToEnd() } catch is LoopError {}
                },
                { server in
                    let port = try server.port
                    let task = Loop.running.createTask {
                        let (_, writer) = try await Loop.running.openConnection(
                            host: "127.0.0.1", port: port)
                        writer.close()
                    }
                    for _ in 0..<iterations { try await sleep(.zero) }
                    if task.cancel() {
                        do { try await task.value } catch is CancellationError {}
                    }
                })
        }
    }

    static func aStreamServesOtherThreads(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            let server = try await Loop.running.startServer(
                host: "127.0.0.1", port: 0, handler: echo)
            let (reader, writer) = try await open(server)
            let answer = LoopFuture<[String]>(on: Loop.running)
            Task(executorPreference: ThreadExecutor()) {
                try writer.write("out")
                try writer.writeLines(["si", "de\n"])
                try await writer.drain()
                let line = StreamReaders.text(try await reader.readLine())
                let nothing = writer.peerAddress == nil && writer.transport == nil
                try writer.writeEOF()
                let rest = try await reader.readToEnd()
                writer.close()
                try await writer.waitClosed()
                try answer.completeThreadSafe(with: .success([line, "\(nothing)", "\(rest)"]))
            }
            try expect(try await answer.value, equals: ["outside\n", "true", "[]"])
            server.close()
        }
        try kit.complete(task, on: loop)
        try loop.close()
    }

    static func aStreamKnowsItsAddresses(_ kit: ConformanceKit) throws {
        try serving(kit, handler: echo) { server in
            let (_, writer) = try await open(server)
            try expect(writer.peerAddress, equals: server.addresses.first)
            try expect(writer.localAddress?.host, equals: "127.0.0.1")
            try expect(writer.transport?.descriptor ?? -1 > 2, "it has a descriptor")
            writer.close()
            try await writer.waitClosed()
            try expect(writer.peerAddress == nil && writer.transport == nil, "it is gone")
        }
    }

    /// Who looks at a slow peer, or at a process that lasts, from time to time.
    static func waitsThatAreCancelledLeaveNothing(_ kit: ConformanceKit) throws {
        let end = SharedValue<LoopFuture<Void>?>(nil)
        try serving(kit) { _, _ in
            try await end.value?.value
        } _: { server in
            end.update { $0 = LoopFuture(on: Loop.running) }
            let (_, writer) = try await open(server)
            // More than the buffers of the kernel and of the peer's loop ever take.
            try writer.write([UInt8](repeating: 0, count: 64 << 20))
            let process = try Loop.running.createSubprocessExec("sleep", ["60"])
            for _ in 0..<3 {
                for number in 0..<4 {
                    try await expectAsyncError(.timedOut) {
                        try await waitFor(timeout: .milliseconds(1)) {
                            switch number {
                            case 0: try await writer.drain()
                            case 1: try await writer.waitClosed()
                            case 2: try await process.wait()
                            default: try await server.waitClosed()
                            }
                        }
                    }
                }
            }
            try expect(writer.waiterCount, equals: 0, "waits for a stream")
            try expect(process.waiterCount, equals: 0, "waits for a process")
            try expect(server.waiterCount, equals: 0, "waits for a server")
            try process.kill()
            try expect(try await process.wait(), equals: -SIGKILL)
            writer.abort()
            try end.value?.setResult(())
        }
    }
}
