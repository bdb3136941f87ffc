// SPDX-License-Identifier: Apache-2.0

import Gyre

extension Loop {
    /// Calls `body` with the echo server of `serve`, outside of a run, and ends it then.
    func withEchoServer(_ api: ServerAPI, _ body: (LoopServer) throws -> Void) throws {
        if api == .callback {
            let server = try serveEcho(host: "127.0.0.1", port: 0)
            try body(server)
            return server.close()
        }
        let made = MadeServer()
        let stop = LoopFuture<Void>(on: self)
        let task = createTask {
            if api == .async {
                try await withServer(
                    host: "127.0.0.1", port: 0, options: .echo(nil), handler: echo
                ) {
                    made.server = $0
                    try await stop.value
                }
            } else {
                let server = try await Loop.running.startServer(
                    host: "127.0.0.1", port: 0, options: .echo(nil), handler: echo)
                made.server = server
                do { try await stop.value } catch is CancellationError {}
                server.close()
                server.abortClients()
                try await server.waitClosed()
            }
        }
        while made.server == nil { try run(.once) }
        if let server = made.server { try body(server) }
        stop.cancel()
        _ = try? runUntilComplete(task)
    }
}

/// Hands a server out of a task, on one thread.
private final class MadeServer: @unchecked Sendable {
    // SAFETY: used by one thread.
    var server: LoopServer?
}
