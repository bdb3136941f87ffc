// SPDX-License-Identifier: Apache-2.0

/// Options of a server at a Unix socket.
public struct LoopUnixServerOptions: Sendable {
    /// How many connections the kernel keeps that were not accepted yet; held at the system's
    /// limit, `net.core.somaxconn`.
    ///
    /// Whoever connects when there are as many waits.
    public var backlog = 1024
    /// Removes the socket file when the server is closed, unless another is there by then.
    public var removesFile = true
    /// Connections pass descriptors, see ``LoopStreamReader/takeDescriptors()``,
    /// ``LoopTransport/takeDescriptors()`` and ``LoopTransport/write(_:passing:)``.
    ///
    /// Without, those that a peer passes are closed, and on epoll bytes that it sent right behind
    /// them may come only with the next ones. Bytes cost somewhat more with it.
    public var passesDescriptors = false
    /// Accepts from the start.
    ///
    /// With false, ``LoopServer/start()`` begins.
    public var startsServing = true

    /// The defaults.
    public init() {}

    var serverOptions: LoopServerOptions {
        var options = LoopServerOptions()
        options.backlog = backlog
        options.startsServing = startsServing
        options.removesFile = removesFile
        options.passesDescriptors = passesDescriptors
        return options
    }
}

/// Options of a connection to a Unix socket.
public struct LoopUnixConnectionOptions: Sendable {
    /// How long connecting may take; nil for no limit.
    ///
    /// While the server has as many that wait as it wants, the connection waits too.
    public var timeout: Duration?
    /// The connection passes descriptors, see ``LoopUnixServerOptions/passesDescriptors``.
    public var passesDescriptors = false

    /// The defaults.
    public init() {}

    var connectionOptions: LoopConnectionOptions {
        var options = LoopConnectionOptions()
        options.timeout = timeout
        options.passesDescriptors = passesDescriptors
        return options
    }
}

/// Who is at the other end of a Unix socket: the process that called `connect` or `listen`, as it
/// was then.
public struct LoopPeerCredentials: Sendable, Hashable {
    /// The process.
    public let processID: Int32
    /// Its effective user.
    public let userID: UInt32
    /// Its effective group.
    public let groupID: UInt32
}
