// SPDX-License-Identifier: Apache-2.0

public import GyreCore
import GyreTasks

/// Listens at the Unix socket `path`, and runs `handler` for each connection in a task of its own,
/// while `body` runs.
///
/// As ``withServer(host:port:options:patience:handler:_:)``; of the path, see
/// `createUnixServer(path:options:makeProtocol:)`.
///
/// - Throws: What `body` throws; ``LoopError`` when the path cannot be had.
public func withUnixServer<Result>(
    path: String, options: LoopUnixServerOptions = LoopUnixServerOptions(),
    patience: Duration = .seconds(10),
    handler: @escaping @Sendable (LoopConnection) async throws -> Void,
    _ body: (LoopServer) async throws -> Result
) async throws -> Result {
    let loop = try runningLoop("withUnixServer")
    return try await withServer(on: loop, patience: patience, handler: handler, body) {
        try loop.createUnixServer(path: path, options: options, makeProtocol: $0)
    }
}

/// Listens at the Unix socket `path`, and runs `handler` for each connection in a task of its own,
/// until the task that calls is cancelled.
///
/// See ``withUnixServer(path:options:patience:handler:_:)``.
///
/// - Throws: `CancellationError` at its end; ``LoopError`` when the path cannot be had.
public func serveUnix(
    path: String, options: LoopUnixServerOptions = LoopUnixServerOptions(),
    handler: @escaping @Sendable (LoopConnection) async throws -> Void
) async throws {
    let loop = try runningLoop("serveUnix")
    try await withUnixServer(path: path, options: options, handler: handler) { _ in
        try await LoopFuture<Void>(on: loop).value
    }
}

/// Connects to the Unix socket `path`, and runs `body` with the connection, which is closed when
/// `body` has ended.
///
/// When `body` throws, what was not sent is dropped.
///
/// - Throws: What `body` throws; ``LoopError`` when nobody serves the path; `CancellationError`
///   when the task is cancelled meanwhile.
public func withUnixConnection<Result>(
    to path: String, options: LoopUnixConnectionOptions = LoopUnixConnectionOptions(),
    _ body: (LoopConnection) async throws -> Result
) async throws -> Result {
    let loop = try runningLoop("withUnixConnection")
    let core = try await loop.createUnixConnection(
        path: path, options: options,
        makeProtocol: try loop.connecting(limit: LoopConnection.limit)
    ).protocol
    return try await withConnection(core, body)
}

extension Loop {
    /// Connects to the Unix socket `path`, and returns the two directions of the connection:
    /// asyncio's `open_unix_connection`.
    ///
    /// As ``openConnection(host:port:limit:options:)``; of the path, see
    /// ``createUnixConnection(path:options:makeProtocol:completion:)``.
    ///
    /// - Throws: ``LoopError`` when nobody serves the path; `CancellationError` when the task is
    ///   cancelled meanwhile, and then nothing stays open.
    /// - Important: In tasks of this loop only.
    public func openUnixConnection(
        path: String, limit: Int = LoopStreamReader.defaultLimit,
        options: LoopUnixConnectionOptions = LoopUnixConnectionOptions()
    ) async throws -> (reader: LoopStreamReader, writer: LoopStreamWriter) {
        let core = try await createUnixConnection(
            path: path, options: options, makeProtocol: try connecting(limit: limit)
        ).protocol
        return (LoopStreamReader(core), LoopStreamWriter(core))
    }

    /// Listens at the Unix socket `path`, and runs `handler` for each connection in a task of its
    /// own: asyncio's `start_unix_server`.
    ///
    /// As ``startServer(host:port:limit:options:handler:)``; of the path, see
    /// ``createUnixServer(path:options:makeProtocol:)``.
    ///
    /// - Throws: ``LoopError`` when the path cannot be had.
    /// - Important: In tasks of this loop only.
    public func startUnixServer(
        path: String, limit: Int = LoopStreamReader.defaultLimit,
        options: LoopUnixServerOptions = LoopUnixServerOptions(),
        handler: @escaping LoopStreamHandler
    ) throws(LoopError) -> LoopServer {
        try createUnixServer(
            path: path, options: options, makeProtocol: try serving(limit: limit, handler))
    }
}
