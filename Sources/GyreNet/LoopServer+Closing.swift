// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

extension LoopServer {
    // MARK: Serving in async code

    /// Accepts connections until the server is closed, or the task is cancelled, which closes it;
    /// and waits for the last connection to end.
    ///
    /// A task that is cancelled a second time does not wait for connections any more.
    ///
    /// - Throws: `CancellationError` when the task is cancelled; ``LoopError/Code/closed`` on a
    ///   closed server; ``LoopError/Code/inUse`` when another task serves.
    public func serveForever() async throws {
        guard !isServingForever else {
            throw LoopError(.inUse, operation: "serveForever", detail: "another task serves")
        }
        try start()
        isServingForever = true
        defer { isServingForever = false }
        do {
            try await waitClosed()
        } catch {
            close()
            try await waitClosed()
            throw error
        }
    }

    /// Waits until the server is closed and its last connection has ended, in either order.
    ///
    /// - Throws: `CancellationError` when the task is cancelled; the server goes on.
    public func waitClosed() async throws {
        let done = LoopFuture<Void>(on: loop)
        let waiter = addWaiter { if !done.isDone { try? done.setResult(()) } }
        do { try await done.value } catch {
            // The server may go on for long.
            removeWaiter(waiter)
            throw error
        }
    }

    // MARK: The connections

    /// Closes the connections that were accepted, each after what was written to it was sent.
    ///
    /// The server itself goes on.
    public func closeClients() {
        loop.checkThread("closeClients", instead: "handle.callSoonThreadSafe")
        for transport in loop.transports(of: self) { transport.close() }
        for share in shares {
            share.withTransports { for transport in $0 { transport.close() } }
        }
    }

    /// Closes the connections that were accepted at once; what was not sent is dropped.
    ///
    /// The server itself goes on.
    public func abortClients() {
        loop.checkThread("abortClients", instead: "handle.callSoonThreadSafe")
        for transport in loop.transports(of: self) { transport.abort() }
        for share in shares {
            share.withTransports { for transport in $0 { transport.abort() } }
        }
    }

    // MARK: A shutdown with a deadline

    /// Closes the server and waits for its connections to end by themselves; those that are left
    /// after `limit` are aborted.
    ///
    /// Connections that would not end by themselves are told before or after, by
    /// ``closeClients()`` or by their protocol objects. `completion` is called on the loop's
    /// thread, when the last connection has ended, and says what held the shutdown up; so does a
    /// line in ``Loop/diagnosticSink``.
    public func shutDown(
        within limit: Duration, completion: @escaping (LoopServerShutdown) -> Void
    ) {
        _ = beginShutDown(within: limit, completion)
    }

    /// Closes the server and waits for its connections to end by themselves; those that are left
    /// after `limit` are aborted.
    ///
    /// As ``shutDown(within:completion:)``.
    ///
    /// - Returns: What held the shutdown up.
    /// - Throws: `CancellationError` when the task is cancelled; the connections are aborted then.
    @discardableResult
    public func shutDown(within limit: Duration) async throws -> LoopServerShutdown {
        try await loop.completion(
            { done in
                let shutdown = beginShutDown(within: limit) { done(.success($0)) }
                return { shutdown.expire() }
            })
    }

    private func beginShutDown(
        within limit: Duration, _ completion: @escaping (LoopServerShutdown) -> Void
    ) -> ShutDown {
        close()
        let shutdown = ShutDown(of: self, within: limit)
        waitClosed { completion(shutdown.end()) }
        return shutdown
    }
}

extension Loop {
    /// The open connections that `owner` made.
    func transports(of owner: any ConnectionOwner) -> [LoopTransport] {
        openResources.compactMap { $0 as? LoopTransport }.filter { $0.owner === owner }
    }
}

/// How the shutdown of a server went.
public struct LoopServerShutdown: Sendable, CustomStringConvertible {
    /// A connection that did not end in time, as it was then.
    public struct Connection: Sendable, CustomStringConvertible {
        /// The address of the peer, where it still had one.
        public let peer: LoopAddress?
        /// How many bytes were not sent yet.
        public let unsentCount: Int
        /// Whether it was being closed, and only had to send them.
        public let isClosing: Bool

        /// The address, and what was not sent.
        public var description: String {
            let peer = peer?.description ?? "a peer that is gone"
            let state = isClosing ? ", closing" : ""
            return "\(peer) (\(unsentCount) bytes unsent\(state))"
        }
    }

    /// How long the connections had.
    public let limit: Duration
    /// The connections that were aborted because they did not end in time.
    public let heldUpBy: [Connection]

    /// Whether every connection ended in time.
    public var isClean: Bool { heldUpBy.isEmpty }

    /// How many connections were left, and which; the first ten.
    public var description: String {
        guard !isClean else { return "every connection ended within \(limit)" }
        let count = heldUpBy.count == 1 ? "1 connection was" : "\(heldUpBy.count) connections were"
        let list = heldUpBy.prefix(10).map(\.description).joined(separator: ", ")
        let rest = heldUpBy.count > 10 ? ", and \(heldUpBy.count - 10) more" : ""
        return "\(count) left after \(limit) and aborted: \(list)\(rest)"
    }
}

/// A shutdown that is under way.
private final class ShutDown {
    private let server: LoopServer
    private let limit: Duration
    private var timer: LoopTimer?
    private var held: [LoopServerShutdown.Connection] = []

    init(of server: LoopServer, within limit: Duration) {
        self.server = server
        self.limit = limit
        timer = server.loop.callLaterPlainly(limit) { [self] in expire() }
    }

    func expire() {
        timer?.cancel()
        held += Self.abort(server.loop.transports(of: server))
        let bound = LoopBound(self, on: server.loop.handle)
        for share in server.shares {
            share.withTransports { transports in
                // Arrives before the word that they have ended, which is sent later.
                let connections = Self.abort(transports)
                bound.soon { $0.held += connections }
            }
        }
    }

    private static func abort(_ transports: [LoopTransport]) -> [LoopServerShutdown.Connection] {
        let connections = transports.map { transport in
            LoopServerShutdown.Connection(
                peer: transport.peerAddress, unsentCount: transport.writeBufferSize,
                isClosing: transport.isClosing)
        }
        for transport in transports { transport.abort() }
        return connections
    }

    func end() -> LoopServerShutdown {
        timer?.cancel()
        let outcome = LoopServerShutdown(limit: limit, heldUpBy: held)
        if !outcome.isClean {
            server.loop.diagnosticSink("the server was shut down: \(outcome)")
        }
        return outcome
    }
}
