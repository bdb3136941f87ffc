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
        try checkLimit(limit, "openConnection")
        let core = try await connect(on: self, host, port, limit, options)
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
        try checkLimit(limit, "startServer")
        return try await makeServer(
            on: self, host: host, port: port, options: options,
            makeProtocol: serving(limit: limit, handler))
    }

    /// What makes the protocol objects of a server of streams, over whatever it listens.
    func serving(
        limit: Int, _ handler: @escaping LoopStreamHandler
    ) -> () -> any LoopStreamProtocol {
        { [self] in ConnectionCore(on: self, limit: limit) { $0.serve(handler) } }
    }

    /// A limit is what a user may have written into a file.
    func checkLimit(_ limit: Int, _ operation: String) throws(LoopError) {
        guard limit > 0 else {
            throw LoopError(
                .invalidArgument, operation: operation, detail: "the limit must be above zero")
        }
    }
}

extension ConnectionCore {
    /// Runs `handler` in a task, which begins at once.
    fileprivate func serve(_ handler: @escaping LoopStreamHandler) {
        loop.createTask(eager: true) { [self] in
            defer { close() }
            do {
                try await handler(LoopStreamReader(self), LoopStreamWriter(self))
            } catch let error where !(error is CancellationError) {
                loop.handle(thrown: error, message: "The handler of a connection threw an error")
            }
        }
    }
}
