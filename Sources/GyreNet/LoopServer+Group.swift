// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreTasks
import Synchronization

/// What a server has on one loop of a group: the owner of its connections there.
final class ServerShare: ConnectionOwner, Sendable {
    private let server: LoopBound<LoopServer>
    private let group: LoopGroup
    let index: Int
    /// The flags of the sockets that the server accepts.
    private let socketFlags: CInt
    private let kind: LoopTransport.Kind
    private let makeProtocol: @Sendable (Loop) -> any LoopStreamProtocol

    init(
        of server: LoopServer, in group: LoopGroup, index: Int, kind: LoopTransport.Kind,
        _ makeProtocol: @escaping @Sendable (Loop) -> any LoopStreamProtocol
    ) {
        self.server = LoopBound(server, on: server.loop.handle)
        self.group = group
        self.index = index
        self.kind = kind
        socketFlags = server.loop.backend.socketFlags
        self.makeProtocol = makeProtocol
    }

    /// The loop.
    var handle: LoopHandle { group.handles[index] }

    fileprivate func begin(_ connection: HandedConnection, on loop: Loop) {
        let fd = connection.take()
        if loop.backend.socketFlags != socketFlags {
            do throws(LoopError) {
                try Socket.adopt(fd, flags: loop.backend.socketFlags)
            } catch {
                Glibc.close(fd)
                loop.handle(thrown: error, message: "A connection cannot be served")
                return connectionEnded()
            }
        }
        LoopTransport(fd: fd, loop: loop, proto: makeProtocol(loop), server: self, kind: kind)
            .begin()
    }

    func connectionEnded() {
        group.connectionEnded(index)
        server.soon { $0.connectionEnded() }
    }

    /// Calls `body` with the connections on the loop, there and soon.
    func withTransports(_ body: @escaping @Sendable ([LoopTransport]) -> Void) {
        // On a loop that was closed there is none.
        try? handle.callSoonThreadSafe { [self] loop in body(loop.transports(of: self)) }
    }
}

/// A connection on its way to another loop.
///
/// When it never arrives, since that loop was closed, its socket is closed.
private final class HandedConnection: Sendable {
    private let fd: Atomic<CInt>
    private let share: ServerShare

    init(_ fd: CInt, to share: ServerShare) {
        self.fd = Atomic(fd)
        self.share = share
    }

    deinit {
        let fd = take()
        guard fd >= 0 else { return }
        Glibc.close(fd)
        share.connectionEnded()
    }

    func take() -> CInt { fd.exchange(-1, ordering: .acquiringAndReleasing) }
}

extension LoopServer {
    /// Lets the loops of `group` serve the connections.
    func share(
        with group: LoopGroup,
        _ makeProtocol: @escaping @Sendable (Loop) -> any LoopStreamProtocol
    ) {
        self.group = group
        shares = group.handles.indices.map {
            ServerShare(of: self, in: group, index: $0, kind: kind, makeProtocol)
        }
    }

    /// Hands a connection that was counted here to a loop of `group`.
    func handOver(_ fd: CInt, to group: LoopGroup) {
        while let index = group.assign() {
            let share = shares[index]
            let connection = HandedConnection(fd, to: share)
            do throws(LoopError) {
                return try share.handle.callSoonThreadSafe { share.begin(connection, on: $0) }
            } catch {
                _ = connection.take()
                group.refuse(index)
            }
        }
        Glibc.close(fd)
        connectionEnded()
        close()
        loop.handle(
            thrown: LoopError(.closed, operation: "accept", detail: "the group was stopped"),
            message: "A server has no loop left to serve its connections, and closes")
    }
}
