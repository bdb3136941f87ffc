// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// Listens, and runs `handler` for each connection in a task of its own, while `body` runs.
///
/// A connection is closed when its handler has ended. When `body` has ended, the server accepts
/// no more and cancels the handlers; this returns when they have ended and every connection is
/// closed. A handler that is not done after `patience` is cancelled once more, and what its
/// connection still had to send is dropped.
///
/// An error that a handler throws is reported to the loop's exception handler; the others go on.
///
/// `host` is a name, a number, or nil for every interface. Port 0 picks a free one, see
/// ``LoopServer/addresses``.
///
/// - Throws: What `body` throws; ``LoopError`` when the address cannot be had.
public func withServer<Result>(
    host: String?, port: Int, options: LoopServerOptions = LoopServerOptions(),
    patience: Duration = .seconds(10),
    handler: @escaping @Sendable (LoopConnection) async throws -> Void,
    _ body: (LoopServer) async throws -> Result
) async throws -> Result {
    let loop = try runningLoop("withServer")
    return try await withServer(on: loop, patience: patience, handler: handler, body) {
        let hosts = host.map { [$0] } ?? []
        return try await loop.createServer(
            hosts: hosts, port: port, options: options, makeProtocol: $0)
    }
}

/// The same with the server that `make` makes.
func withServer<Result>(
    on loop: Loop, patience: Duration,
    handler: @escaping @Sendable (LoopConnection) async throws -> Void,
    _ body: (LoopServer) async throws -> Result,
    make: (@escaping () -> any LoopStreamProtocol) async throws -> LoopServer
) async throws -> Result {
    let handlers = Handlers()
    let server = try await make {
        ConnectionCore(on: loop, limit: LoopConnection.limit) { handlers.start(handler, for: $0) }
    }
    do {
        let result = try await body(server)
        server.close()
        try await handlers.end(on: loop, patience: patience)
        return result
    } catch {
        server.close()
        try await handlers.end(on: loop, patience: patience)
        throw error
    }
}

/// Listens, and runs `handler` for each connection in a task of its own, until the task that calls
/// is cancelled.
///
/// See ``withServer(host:port:options:patience:handler:_:)``.
///
/// - Throws: `CancellationError` at its end; ``LoopError`` when the address cannot be had.
public func serve(
    host: String?, port: Int, options: LoopServerOptions = LoopServerOptions(),
    handler: @escaping @Sendable (LoopConnection) async throws -> Void
) async throws {
    let loop = try runningLoop("serve")
    try await withServer(host: host, port: port, options: options, handler: handler) { _ in
        try await LoopFuture<Void>(on: loop).value
    }
}

/// Connects to `host`, a name or a number, and runs `body` with the connection, which is closed
/// when `body` has ended.
///
/// When `body` throws, what was not sent is dropped.
///
/// - Throws: What `body` throws; ``LoopError`` when no address of the host can be connected to;
///   `CancellationError` when the task is cancelled meanwhile.
public func withConnection<Result>(
    to host: String, port: Int, options: LoopConnectionOptions = LoopConnectionOptions(),
    _ body: (LoopConnection) async throws -> Result
) async throws -> Result {
    let loop = try runningLoop("withConnection")
    let core = try await loop.createConnection(
        host: host, port: port, options: options,
        makeProtocol: try loop.connecting(limit: LoopConnection.limit)
    ).protocol
    return try await withConnection(core, body)
}

/// The same with a connection that was made.
func withConnection<Result>(
    _ core: ConnectionCore, _ body: (LoopConnection) async throws -> Result
) async throws -> Result {
    do {
        let result = try await body(LoopConnection(core))
        await core.finish()
        return result
    } catch {
        core.abort()
        await core.finish()
        throw error
    }
}

func runningLoop(_ operation: String) throws(LoopError) -> Loop {
    guard let loop = Loop.current else {
        throw LoopError(
            .loopMismatch, operation: operation, detail: "the task does not run on a loop")
    }
    return loop
}

/// The handlers of a server that run on one loop.
final class Handlers: FutureObserver {
    private var running: [Int: LoopTask<Void>] = [:]
    private var isEnding = false

    func start(
        _ handler: @escaping @Sendable (LoopConnection) async throws -> Void,
        for core: ConnectionCore
    ) {
        // Accepted in the iteration in which the server was closed.
        guard !isEnding else { return core.abort() }
        let task = core.loop.createTask { task in
            Task(executorPreference: core.loop.handle) {
                // Nobody could cancel it before.
                _ = task.begin()
                var result: Result<Void, any Error> = .success(())
                do { try await handler(LoopConnection(core)) } catch { result = .failure(error) }
                await core.finish()
                task.end(result)
            }
        }
        guard !task.isDone else { return }
        let number = Int(task.number)
        running[number] = task
        task.addObserver(self, index: number)
    }

    func futureIsDone(_ index: Int) { running[index] = nil }

    /// Cancels them, and waits for all.
    func end(on loop: Loop, patience: Duration) async throws {
        isEnding = true
        for task in running.values { task.cancel("the server ends") }
        let last = loop.callLaterPlainly(patience) { [self] in waitNoLonger() }
        defer { last.cancel() }
        for task in Array(running.values) {
            do {
                try await task.waitForEnd()
            } catch {
                // Who waits for the server is cancelled again: no more patience.
                waitNoLonger()
                try await task.waitForEnd()
            }
        }
    }

    func waitNoLonger() {
        for task in running.values { task.cancel("the server waits no longer") }
    }
}
