// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// Listens, and runs `handler` for each connection in a task of its own on a loop of `group`, while
/// `body` runs.
///
/// As ``withServer(host:port:options:patience:handler:_:)``: when this returns, the handlers have
/// ended on all loops. The errors of handlers are reported to the exception handlers of their
/// loops.
///
/// - Throws: What `body` throws; ``LoopError`` when the address cannot be had.
public func withServer<Result>(
    host: String?, port: Int, options: LoopServerOptions = LoopServerOptions(),
    patience: Duration = .seconds(10), group: LoopGroup,
    handler: @escaping @Sendable (LoopConnection) async throws -> Void,
    _ body: (LoopServer) async throws -> Result
) async throws -> Result {
    let loop = try runningLoop("withServer")
    let handlers = GroupHandlers(group.handles)
    let server = try await loop.createServer(
        hosts: host.map { [$0] } ?? [], port: port, options: options, group: group
    ) { loop in
        ConnectionCore(on: loop, limit: LoopConnection.limit) { handlers.start(handler, for: $0) }
    }
    do {
        let result = try await body(server)
        server.close()
        try await handlers.end(for: loop, patience: patience)
        return result
    } catch {
        server.close()
        try await handlers.end(for: loop, patience: patience)
        throw error
    }
}

/// Listens, and runs `handler` for each connection in a task of its own on a loop of `group`, until
/// the task that calls is cancelled.
///
/// See ``withServer(host:port:options:patience:group:handler:_:)``.
///
/// - Throws: `CancellationError` at its end; ``LoopError`` when the address cannot be had.
public func serve(
    host: String?, port: Int, options: LoopServerOptions = LoopServerOptions(), group: LoopGroup,
    handler: @escaping @Sendable (LoopConnection) async throws -> Void
) async throws {
    let loop = try runningLoop("serve")
    try await withServer(
        host: host, port: port, options: options, group: group, handler: handler
    ) { _ in
        try await LoopFuture<Void>(on: loop).value
    }
}

/// The handlers of a server, each loop's apart.
private struct GroupHandlers: Sendable {
    private let places: [LoopBound<Handlers>]

    init(_ handles: [LoopHandle]) {
        places = handles.map { LoopBound(Handlers(), on: $0) }
    }

    /// On the loop of the connection.
    func start(
        _ handler: @escaping @Sendable (LoopConnection) async throws -> Void,
        for core: ConnectionCore
    ) {
        let place = places.first { $0.handle == core.loop.handle }
        place?.object.start(handler, for: core)
    }

    /// Cancels them on every loop, and waits on `loop` until all have ended.
    func end(for loop: Loop, patience: Duration) async throws {
        let ends = places.map { place in
            let end = LoopFuture<Void>(on: loop)
            let completion = EndOfHandlers(end)
            // A loop that was closed, or is before it comes to this, has ended its tasks.
            try? place.handle.callSoonThreadSafe { loop in
                loop.createTask {
                    // Fails when the group stops, which cancels the handlers anyway.
                    try? await place.object.end(on: Loop.running, patience: patience)
                    withExtendedLifetime(completion) {}
                }
            }
            return end
        }
        for end in ends {
            do {
                try await end.waitForEnd()
            } catch {
                // Who waits for the server is cancelled again: no more patience.
                for place in places { place.soon { $0.waitNoLonger() } }
                try await end.waitForEnd()
            }
        }
    }
}

/// Says that the handlers of a loop have ended, when nobody holds it any more: the task that ends
/// them, or a loop that was closed before it came to that.
private final class EndOfHandlers: Sendable {
    private let end: LoopFuture<Void>

    init(_ end: LoopFuture<Void>) { self.end = end }

    deinit { try? end.completeThreadSafe(with: .success(())) }
}
