// SPDX-License-Identifier: Apache-2.0

public import GyreCore
import GyreTasks

/// Serves one connection of a server of streams.
public typealias LoopStreamHandler =
    @Sendable (LoopStreamReader, LoopStreamWriter) async throws -> Void

extension Loop {
    /// Connects to `host`, a number or a name, and returns the two directions of the connection:
    /// asyncio's `open_connection`.
    ///
    /// Who got them closes the writer. `limit` is that of the reader, in bytes.
    ///
    /// - Throws: ``LoopError`` when no address of the host can be connected to;
    ///   `CancellationError` when the task is cancelled meanwhile, and then nothing stays open.
    /// - Important: In tasks of this loop only.
    public func openConnection(
        host: String, port: Int, limit: Int = LoopStreamReader.defaultLimit,
        options: LoopConnectionOptions = LoopConnectionOptions()
    ) async throws -> (reader: LoopStreamReader, writer: LoopStreamWriter) {
        let core = try await createConnection(
            host: host, port: port, options: options, makeProtocol: try connecting(limit: limit)
        ).protocol
        return (LoopStreamReader(core), LoopStreamWriter(core))
    }

    /// Connects to one of `addresses`, as ``openConnection(host:port:limit:options:)``.
    public func openConnection(
        addresses: [LoopAddress], limit: Int = LoopStreamReader.defaultLimit,
        options: LoopConnectionOptions = LoopConnectionOptions()
    ) async throws -> (reader: LoopStreamReader, writer: LoopStreamWriter) {
        let core = try await createConnection(
            addresses: addresses, options: options, makeProtocol: try connecting(limit: limit)
        ).protocol
        return (LoopStreamReader(core), LoopStreamWriter(core))
    }

    /// Listens, and runs `handler` for each connection in a task of its own: asyncio's
    /// `start_server`.
    ///
    /// When the handler has ended, its connection is closed after what was written was sent; so a
    /// handler stays for as long as the streams are used. An error that it throws is reported to
    /// the loop's exception handler, and the others go on. Closing the server ends no handler.
    ///
    /// `host` is a name, a number, or nil for every interface. Port 0 picks a free one, see
    /// ``LoopServer/addresses``. `limit` is that of the readers, in bytes.
    ///
    /// - Throws: ``LoopError`` when the address cannot be had; `CancellationError` when the task is
    ///   cancelled meanwhile, and then nothing listens.
    /// - Important: In tasks of this loop only.
    public func startServer(
        host: String?, port: Int, limit: Int = LoopStreamReader.defaultLimit,
        options: LoopServerOptions = LoopServerOptions(), handler: @escaping LoopStreamHandler
    ) async throws -> LoopServer {
        try await startServer(
            hosts: host.map { [$0] } ?? [], port: port, limit: limit, options: options,
            handler: handler)
    }

    /// Listens at several hosts, which may be names, as
    /// ``startServer(host:port:limit:options:handler:)``.
    ///
    /// A host that is named twice is listened at once; an empty list is every interface.
    public func startServer(
        hosts: [String], port: Int, limit: Int = LoopStreamReader.defaultLimit,
        options: LoopServerOptions = LoopServerOptions(), handler: @escaping LoopStreamHandler
    ) async throws -> LoopServer {
        try await createServer(
            hosts: hosts, port: port, options: options,
            makeProtocol: try serving(limit: limit, handler))
    }

    /// Listens at `addresses`, as ``startServer(host:port:limit:options:handler:)``.
    public func startServer(
        addresses: [LoopAddress], limit: Int = LoopStreamReader.defaultLimit,
        options: LoopServerOptions = LoopServerOptions(), handler: @escaping LoopStreamHandler
    ) throws(LoopError) -> LoopServer {
        try createServer(
            addresses: addresses, options: options, makeProtocol: try serving(limit: limit, handler)
        )
    }

    /// Serves with a socket that is bound already, as
    /// ``startServer(host:port:limit:options:handler:)``.
    ///
    /// The server takes the socket over and closes it.
    public func startServer(
        descriptor: Int32, limit: Int = LoopStreamReader.defaultLimit,
        options: LoopServerOptions = LoopServerOptions(), handler: @escaping LoopStreamHandler
    ) throws(LoopError) -> LoopServer {
        try createServer(
            descriptor: descriptor, options: options,
            makeProtocol: try serving(limit: limit, handler))
    }

    /// What makes the protocol object of a connection whose streams somebody waits for.
    func connecting(limit: Int) throws(LoopError) -> () -> ConnectionCore {
        try checkLimit(limit, "openConnection")
        return { [self] in ConnectionCore(on: self, limit: limit) { _ in } }
    }

    /// What makes the protocol objects of a server of streams, over whatever it listens.
    func serving(
        limit: Int, _ handler: @escaping LoopStreamHandler
    ) throws(LoopError) -> () -> any LoopStreamProtocol {
        try checkLimit(limit, "startServer")
        return { [self] in ConnectionCore(on: self, limit: limit) { $0.serve(handler) } }
    }

    /// The same for servers whose connections are on several loops.
    func servingGroup(
        limit: Int, _ handler: @escaping LoopStreamHandler
    ) throws(LoopError) -> @Sendable (Loop) -> any LoopStreamProtocol {
        try checkLimit(limit, "startServer")
        return { loop in ConnectionCore(on: loop, limit: limit) { $0.serve(handler) } }
    }

    /// A limit is what a user may have written into a file.
    func checkLimit(_ limit: Int, _ operation: String) throws(LoopError) {
        guard limit > 0 else {
            throw LoopError(
                .invalidArgument, operation: operation, detail: "the limit is to be above zero")
        }
    }
}

extension ConnectionCore {
    /// Runs `handler` in a task, which begins at once.
    fileprivate func serve(_ handler: @escaping LoopStreamHandler) {
        _ = loop.createTask { [self] task in
            Task(executorPreference: loop.handle) { [self] in
                // Nobody could cancel it before.
                _ = task.begin()
                var result: Result<Void, any Error> = .success(())
                do {
                    try await handler(LoopStreamReader(self), LoopStreamWriter(self))
                } catch is CancellationError {
                    result = .failure(CancellationError())
                } catch {
                    loop.handle(thrown: error, message: Self.handlerFailed)
                }
                close()
                task.end(result)
            }
        }
    }

    private static var handlerFailed: String { "The handler of a connection threw an error" }
}
