// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreNet
import GyreTasks

// How connections of async code end.

extension Connections {
    static var ending: [Behaviour] {
        [
            Behaviour(
                "theEndOfAHandlerClosesItsConnection", [], .connections,
                theEndOfAHandlerClosesItsConnection),
            Behaviour(
                "cancelledChildTasksEndTheirConnections", [], .connections,
                cancelledChildTasksEndTheirConnections),
            Behaviour(
                "aConnectionThatClosesTakesNoMore", [], .connections,
                aConnectionThatClosesTakesNoMore),
        ]
    }

    static func theEndOfAHandlerClosesItsConnection(_ kit: ConformanceKit) throws {
        struct Failure: Error {}
        let loop = try kit.makeLoop()
        var reports: [LoopExceptionContext] = []
        loop.exceptionHandler = { _, context in reports.append(context) }
        let task = loop.createTask {
            try await withServer(
                host: "127.0.0.1", port: 0,
                handler: { connection in
                    let first = try await connection.read()
                    try await connection.write(pattern(100_000))
                    if first?.first == 1 { throw Failure() }
                },
                { server in
                    for kind in [UInt8(0), 1] {
                        try await withConnection(to: "127.0.0.1", port: try server.port) {
                            try await $0.write([kind])
                            try expectPattern(try await readAll($0), count: 100_000)
                        }
                    }
                })
        }
        try kit.complete(task, on: loop)
        try kit.drain(loop)
        try expect(reports.count, equals: 1, "one handler failed")
        try expect(reports.first?.error is Failure, "with its error")
        try loop.close()
    }

    /// What ends a connection behind a cancellation lets the loop go on meanwhile.
    static func cancelledChildTasksEndTheirConnections(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let server = try loop.createServer(host: "127.0.0.1", port: 0) { Recorder() }
        let port = try server.port
        let file = try TestFile(32 << 20)
        let fd = file.fd
        let task = loop.createTask {
            let up = LoopSemaphore(value: 0)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    try await withConnection(to: "127.0.0.1", port: port) { connection in
                        up.release()
                        do { _ = try await connection.read() } catch is CancellationError {}
                    }
                }
                group.addTask {
                    try await withDatagramEndpoint(
                        local: LoopAddress(host: "127.0.0.1", port: 0)
                    ) { endpoint in
                        up.release()
                        do { _ = try await endpoint.receive() } catch is CancellationError {}
                    }
                }
                group.addTask {
                    try await withConnection(to: "127.0.0.1", port: port) { connection in
                        up.release()
                        do { _ = try await connection.sendFile(fd) } catch is CancellationError {}
                    }
                }
                for _ in 0..<3 { try await up.acquire() }
                group.cancelAll()
                try await group.waitForAll()
            }
        }
        try kit.complete(task, on: loop)
        server.close()
        while loop.resourceCount > 0 { try kit.run(loop, .once) }
        withExtendedLifetime(file) {}
        try loop.close()
    }

    /// Bytes that would be dropped are an error, also in the moment before the connection is gone.
    static func aConnectionThatClosesTakesNoMore(_ kit: ConformanceKit) throws {
        let codes = SharedValue<[LoopError.Code]>([])
        try serving(
            kit, handler: { try await $0.write("a chunk") },
            { port in
                try await withConnection(to: "127.0.0.1", port: port) { connection in
                    guard let chunk = try await connection.read() else { return }
                    connection.abort()
                    do { try await connection.write([1]) } catch let error as LoopError {
                        codes.update { $0.append(error.code) }
                    }
                    do { try await connection.write("1") } catch let error as LoopError {
                        codes.update { $0.append(error.code) }
                    }
                    do { try await connection.write(chunk) } catch let error as LoopError {
                        codes.update { $0.append(error.code) }
                    }
                }
            })
        try expect(codes.value, equals: [.closed, .closed, .closed])
    }
}
