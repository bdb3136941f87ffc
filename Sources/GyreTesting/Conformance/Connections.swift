// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreNet
import GyreTasks

/// Connections in async code.
enum Connections {
    static let behaviours: [Behaviour] = [
        Behaviour("anAsyncServerEchoesEveryByte", [], .connections, anAsyncServerEchoesEveryByte),
        Behaviour("aChunkThatIsKeptKeepsItsBytes", [], .connections, aChunkThatIsKeptKeepsItsBytes),
        Behaviour("aChunkIsACollectionOfItsBytes", [], .connections, aChunkIsACollectionOfItsBytes),
        Behaviour(
            "whatNobodyReadsMakesThePeerWait", [], .connections, whatNobodyReadsMakesThePeerWait),
        Behaviour("writingWaitsForASlowPeer", [], .connections, writingWaitsForASlowPeer),
        Behaviour(
            "cancellingAReaderLosesNoByte", [], .connections, cancellingAReaderLosesNoByte),
        Behaviour("aSecondReaderIsAnError", [], .connections, aSecondReaderIsAnError),
        Behaviour(
            "aServerThatEndsWaitsForItsHandlers", [], .connections,
            aServerThatEndsWaitsForItsHandlers),
        Behaviour(
            "aServerInAChildTaskWaitsForItsHandlers", [], .connections,
            aServerInAChildTaskWaitsForItsHandlers),
        Behaviour(
            "aHandlerThatClingsIsCancelledAgain", [], .connections,
            aHandlerThatClingsIsCancelledAgain),
        Behaviour(
            "aServerCancelledAtAnyPointListensNoMore", [], .connections,
            aServerCancelledAtAnyPointListensNoMore),
        Behaviour("aResetReachesTheReader", [98], .connections, aResetReachesTheReader),
        Behaviour(
            "aConnectionThatCannotBeMadeIsThatError", [98], .connections,
            aConnectionThatCannotBeMadeIsThatError),
        Behaviour(
            "aConnectionServesOtherThreads", [], .connections, aConnectionServesOtherThreads),
    ]

    @Sendable private static func echo(_ connection: LoopConnection) async throws {
        for try await chunk in connection.chunks { try await connection.write(chunk) }
    }

    /// Runs `body` on a new loop, with the port of a server whose connections `handler` serves.
    static func serving(
        _ kit: ConformanceKit,
        handler: @escaping @Sendable (LoopConnection) async throws -> Void,
        _ body: @escaping @Sendable (Int) async throws -> Void
    ) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            try await withServer(host: "127.0.0.1", port: 0, handler: handler) { server in
                try await body(try server.port)
            }
        }
        try kit.complete(task, on: loop)
        try expect(loop.allTasks.count, equals: 0, "tasks are left")
        try expect(loop.statistics.timerCount, equals: 0, "timers are left")
        try loop.close()
    }

    /// Bytes that are one piece, whatever copies them.
    static func aChunkIsACollectionOfItsBytes(_ kit: ConformanceKit) throws {
        try serving(
            kit, handler: { try await $0.write("one two") },
            { port in
                try await withConnection(to: "127.0.0.1", port: port) { connection in
                    var text = ""
                    var bytes: [UInt8] = [0]
                    for try await chunk in connection.chunks {
                        text += String(decoding: chunk, as: UTF8.self)
                        bytes += chunk
                        bytes += Array(chunk.dropFirst(chunk.count))
                        try expect(chunk.map { $0 }, equals: Array(chunk))
                        try expect(chunk.withBytes { $0.byteCount }, equals: chunk.count)
                    }
                    try expect(text, equals: "one two")
                    try expect(bytes, equals: [0] + Array("one two".utf8))
                }
            })
    }

    static func readAll(_ connection: LoopConnection) async throws -> [UInt8] {
        var all: [UInt8] = []
        for try await chunk in connection.chunks { all += chunk }
        return all
    }

    static func anAsyncServerEchoesEveryByte(_ kit: ConformanceKit) throws {
        try serving(kit, handler: echo) { port in
            for count in [1, 1000, 100_000, 1_000_000] {
                try await withConnection(to: "127.0.0.1", port: port) { connection in
                    let reader = Loop.running.createTask { try await readAll(connection) }
                    try await connection.write(pattern(count))
                    try await connection.writeEOF()
                    try expectPattern(try await reader.value, count: count)
                }
            }
        }
    }

    static func aChunkThatIsKeptKeepsItsBytes(_ kit: ConformanceKit) throws {
        let count = 200_000
        try serving(
            kit, handler: { try await $0.write(pattern(count)) },
            { port in
                try await withConnection(to: "127.0.0.1", port: port) { connection in
                    var chunks: [LoopChunk] = []
                    // Kept while the loop receives more.
                    for try await chunk in connection.chunks { chunks.append(chunk) }
                    try expectPattern(chunks.flatMap { Array($0) }, count: count)
                    try expect(chunks.first?.first, equals: pattern(1).first)
                }
            })
    }

    static func whatNobodyReadsMakesThePeerWait(_ kit: ConformanceKit) throws {
        // More than the buffers of the kernel, of both sides and of a ring take together.
        let piece = [UInt8](repeating: 1, count: 1 << 16)
        let count = 1024 * piece.count
        let written = SharedValue(0)
        try serving(
            kit,
            handler: { connection in
                while written.value < count {
                    try await connection.write(piece)
                    written.update { $0 += piece.count }
                }
            },
            { port in
                try await withConnection(to: "127.0.0.1", port: port) { connection in
                    guard let first = try await connection.read() else { return }
                    var received = first.count
                    var before = -1
                    // Nobody reads: after a while the other side does not get on either.
                    while before != written.value {
                        before = written.value
                        try await sleep(.milliseconds(20))
                    }
                    try expect(before < count, "all of it went somewhere")
                    for try await chunk in connection.chunks { received += chunk.count }
                    try expect(received, equals: count)
                }
            })
    }

    static func writingWaitsForASlowPeer(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            try await withServer(
                host: "127.0.0.1", port: 0, patience: .zero,
                handler: { connection in
                    // The peer reads nothing: sooner or later a write waits, and is cancelled.
                    while true { try await connection.write(pattern(1 << 20)) }
                },
                { server in
                    let peer = try RawPeer(port: try server.port)
                    var waiting = false
                    while !waiting {
                        try await sleep(.milliseconds(1))
                        waiting = Loop.running.allTasks.contains { task in
                            task.waitsFor?.contains("ConnectionCore") == true
                        }
                    }
                    peer.close()
                })
        }
        try kit.complete(task, on: loop)
        try loop.close()
    }

    static func cancellingAReaderLosesNoByte(_ kit: ConformanceKit) throws {
        let count = 5000
        try serving(
            kit,
            handler: { connection in
                for byte in pattern(count) {
                    try await connection.write([byte])
                    if byte % 16 == 0 { try await sleep(.zero) }
                }
            },
            { port in
                try await withConnection(to: "127.0.0.1", port: port) { connection in
                    var all: [UInt8] = []
                    while all.count < count {
                        let reader = Loop.running.createTask(eager: true) {
                            try await connection.read().map { Array($0) }
                        }
                        // Sometimes before it has something, sometimes after.
                        if all.count % 3 != 0 { try await sleep(.zero) }
                        reader.cancel()
                        do {
                            guard let bytes = try await reader.value else { break }
                            all += bytes
                        } catch is CancellationError {
                            // Without a pause the sender would never get a turn of ours.
                            guard let bytes = try await connection.read() else { break }
                            all += bytes
                        }
                    }
                    try expectPattern(all, count: count)
                }
            })
    }

    static func aSecondReaderIsAnError(_ kit: ConformanceKit) throws {
        try serving(kit, handler: echo) { port in
            try await withConnection(to: "127.0.0.1", port: port) { connection in
                let first = Loop.running.createTask(eager: true) {
                    try await connection.read().map { Array($0) }
                }
                do {
                    _ = try await connection.read()
                    throw ConformanceFailure("two tasks read")
                } catch let error as LoopError {
                    try expect(error.code, equals: .inUse)
                }
                try await connection.write([7])
                try expect(try await first.value, equals: [7])
            }
        }
    }

    static func aServerThatEndsWaitsForItsHandlers(_ kit: ConformanceKit) throws {
        let cleaned = SharedValue(0)
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            try await withServer(
                host: "127.0.0.1", port: 0,
                handler: { connection in
                    do {
                        try await connection.write([1])
                        _ = try await connection.read()
                    } catch is CancellationError {
                        try await sleep(.milliseconds(5))
                        try await connection.write(pattern(1000))
                        cleaned.update { $0 += 1 }
                    }
                },
                { server in
                    let port = try server.port
                    var peers: [LoopTask<[UInt8]>] = []
                    let up = LoopSemaphore(value: 0)
                    for _ in 0..<5 {
                        peers.append(
                            Loop.running.createTask {
                                try await withConnection(to: "127.0.0.1", port: port) {
                                    _ = try await $0.read()
                                    up.release()
                                    return try await readAll($0)
                                }
                            })
                    }
                    for _ in peers { try await up.acquire() }
                    return peers
                })
        }
        let peers = try kit.complete(task, on: loop)
        try expect(cleaned.value, equals: 5, "every handler ended by itself")
        for peer in peers { try expectPattern(try kit.complete(peer, on: loop), count: 1000) }
        try loop.close()
    }

    /// A task of Swift's own stays cancelled, and waits nevertheless.
    static func aServerInAChildTaskWaitsForItsHandlers(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let cleaned = SharedValue(0)
        let task = loop.createTask {
            let port = LoopFuture<Int>(on: Loop.running)
            let up = LoopSemaphore(value: 0)
            let peer = Loop.running.createTask {
                try await withConnection(to: "127.0.0.1", port: try await port.value) {
                    try await readAll($0)
                }
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    try await withServer(
                        host: "127.0.0.1", port: 0,
                        handler: { connection in
                            up.release()
                            do { _ = try await connection.read() } catch is CancellationError {}
                            for _ in 0..<10 { try await sleep(.zero) }
                            try await connection.write(pattern(1000))
                            cleaned.update { $0 += 1 }
                        },
                        { server in
                            try port.setResult(try server.port)
                            try await LoopFuture<Void>(on: Loop.running).value
                        })
                }
                try await up.acquire()
                group.cancelAll()
                try await expectAsyncError(CancellationError.self) {
                    try await group.waitForAll()
                }
                try expect(cleaned.value, equals: 1, "handlers that ended")
            }
            try expectPattern(try await peer.value, count: 1000)
        }
        try kit.complete(task, on: loop)
        try loop.close()
    }

    static func aHandlerThatClingsIsCancelledAgain(_ kit: ConformanceKit) throws {
        let cancellations = SharedValue(0)
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            try await withServer(
                host: "127.0.0.1", port: 0, patience: .milliseconds(5),
                handler: { connection in
                    for _ in 0..<2 {
                        do { _ = try await connection.read() } catch is CancellationError {
                            cancellations.update { $0 += 1 }
                        }
                    }
                },
                { server in
                    try await withConnection(to: "127.0.0.1", port: try server.port) { _ in
                        while server.connectionCount == 0 { try await sleep(.milliseconds(1)) }
                        throw CancellationError()
                    }
                })
        }
        try expectError(CancellationError.self) { try kit.complete(task, on: loop) }
        try expect(cancellations.value <= 2, "each read is cancelled once")
        try loop.close()
    }

    static func aServerCancelledAtAnyPointListensNoMore(_ kit: ConformanceKit) throws {
        for iterations in 0..<8 {
            let loop = try kit.makeLoop()
            let task = loop.createTask {
                try await serve(host: "127.0.0.1", port: 0, handler: echo)
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
            try expectError(CancellationError.self) { try kit.complete(task, on: loop) }
            // The accept that was under way has ended by then, or does so soon.
            while loop.statistics.operationCount > 0 { try kit.run(loop, .once) }
            try kit.drain(loop)
            try expect(loop.resourceCount, equals: 0, "sockets after \(iterations) iterations")
            try loop.close()
        }
    }

    static func aResetReachesTheReader(_ kit: ConformanceKit) throws {
        let codes = SharedValue<[LoopError.Code]>([])
        try serving(
            kit,
            handler: { connection in
                do {
                    while try await connection.read() != nil {}
                } catch let error as LoopError {
                    codes.update { $0.append(error.code) }
                }
            },
            { port in
                let peer = try RawPeer(port: port)
                try peer.send([1])
                peer.reset()
                while codes.value.isEmpty { try await sleep(.milliseconds(1)) }
            })
        try expect(codes.value, equals: [.connectionReset])
    }

    static func aConnectionThatCannotBeMadeIsThatError(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            // Bound, and nobody listens.
            var options = LoopServerOptions()
            options.startsServing = false
            try await withServer(
                host: "127.0.0.1", port: 0, options: options, handler: { _ in },
                { server in
                    try await withConnection(to: "127.0.0.1", port: try server.port) { _ in }
                })
        }
        try expectError(.connectionRefused) { try kit.complete(task, on: loop) }
        try expect(loop.resourceCount, equals: 0, "nothing is left open")
        try loop.close()
    }

    static func aConnectionServesOtherThreads(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            try await withServer(host: "127.0.0.1", port: 0, handler: echo) { server in
                try await withConnection(to: "127.0.0.1", port: try server.port) { connection in
                    let answer = LoopFuture<[UInt8]>(on: Loop.running)
                    Task(executorPreference: ThreadExecutor()) {
                        try await connection.write("outside")
                        let bytes = try await connection.read().map { Array($0) } ?? []
                        try answer.completeThreadSafe(with: .success(bytes))
                    }
                    try expect(try await answer.value, equals: Array("outside".utf8))
                }
            }
        }
        try kit.complete(task, on: loop)
        try loop.close()
    }
}
