// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore

/// What is told of a connection it made.
protocol ConnectionOwner: AnyObject {
    /// The connection has ended, its descriptor is closed.
    func connectionEnded()

    /// Its user wants no data for now.
    func readingPaused()
}

extension ConnectionOwner {
    func readingPaused() {}
}

/// A server: listening sockets, TCP or Unix, and the connections they accepted.
///
/// Made by `createServer` and `createUnixServer`. The loop keeps it while it listens.
public final class LoopServer {
    let loop: Loop
    private let options: LoopServerOptions
    private let makeProtocol: () -> any LoopStreamProtocol
    private var listeners: [Listener] = []
    private var waiters: [(number: UInt64, body: () -> Void)] = []
    private var waitersMade: UInt64 = 0
    /// The loops that serve the connections; nil is the server's own.
    var group: LoopGroup?
    /// What is on each loop of the group, until the server has ended.
    var shares: [ServerShare] = []
    /// A task is in `serveForever`.
    var isServingForever = false
    /// Whether connections are accepted.
    public private(set) var isServing = false
    /// Whether ``close()`` was called.
    public private(set) var isClosed = false
    // SAFETY of the exclusivity: no access calls other code, so none overlaps another.
    /// Accepted connections that have not ended yet.
    @exclusivity(unchecked) public private(set) var connectionCount = 0
    /// The type of the last protocol object that lends no buffers.
    ///
    /// The next is mostly of the same, and asking for a conformance is the dearest part of an
    /// accept.
    private var plainType: ObjectIdentifier?

    /// Binds every address, or none; one that repeats once.
    convenience init(
        loop: Loop, addresses: [LoopAddress], options: LoopServerOptions,
        makeProtocol: @escaping () -> any LoopStreamProtocol
    ) throws(LoopError) {
        var unique: [LoopAddress] = []
        for address in addresses where !unique.contains(address) { unique.append(address) }
        self.init(loop: loop, options: options, makeProtocol: makeProtocol)
        do throws(LoopError) {
            try listen(at: unique)
        } catch {
            close()
            throw error
        }
    }

    /// Takes over a bound socket of others.
    ///
    /// When it throws, the socket stays theirs.
    convenience init(
        loop: Loop, adopting fd: CInt, options: LoopServerOptions,
        makeProtocol: @escaping () -> any LoopStreamProtocol
    ) throws(LoopError) {
        let listener = try Listener(adopting: fd, options, loop)
        self.init(loop: loop, options: options, makeProtocol: makeProtocol)
        add(listener)
    }

    private init(
        loop: Loop, options: LoopServerOptions,
        makeProtocol: @escaping () -> any LoopStreamProtocol
    ) {
        self.loop = loop
        self.options = options
        self.makeProtocol = makeProtocol
    }

    /// Leaves out what the system has no sockets for, such as IPv6, unless nothing else is left.
    private func listen(at addresses: [LoopAddress]) throws(LoopError) {
        var missing: LoopError?
        for address in addresses {
            do throws(LoopError) {
                add(try Listener(address, options, loop))
            } catch {
                guard error.errno == EAFNOSUPPORT, error.operation == "socket" else { throw error }
                missing = error
            }
        }
        if listeners.isEmpty, let missing { throw missing }
    }

    private func add(_ listener: Listener) {
        listener.server = self
        listeners.append(listener)
    }

    /// Begins to accept connections.
    ///
    /// Does nothing when it does already. When one of its sockets cannot listen, none accepts.
    ///
    /// - Throws: ``LoopError/Code/closed`` on a closed server; ``LoopError/Code/addressInUse`` when
    ///   another server got the port meanwhile.
    public func start() throws(LoopError) {
        loop.checkThread("start", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { throw LoopError(.closed, operation: "start") }
        guard !isServing else { return }
        for listener in listeners { try listener.listen(backlog: options.backlog) }
        isServing = true
        for listener in listeners { listener.accept() }
    }

    /// Stops accepting and closes the listening sockets.
    ///
    /// Connections that were accepted go on, see ``closeClients()`` and ``abortClients()``. Does
    /// nothing the second time.
    public func close() {
        loop.checkThread("close", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { return }
        isClosed = true
        isServing = false
        for listener in listeners { listener.close() }
        listeners = []
        wakeWaiters()
    }

    /// Calls `body` in a later iteration, once the server is closed and its last connection has
    /// ended, in either order.
    public func waitClosed(_ body: @escaping () -> Void) { _ = addWaiter(body) }

    /// Waits as ``waitClosed(_:)``, and returns a number for ``removeWaiter(_:)``.
    func addWaiter(_ body: @escaping () -> Void) -> UInt64 {
        waitersMade += 1
        waiters.append((waitersMade, body))
        wakeWaiters()
        return waitersMade
    }

    func removeWaiter(_ number: UInt64) { waiters.removeAll { $0.number == number } }

    /// How many wait for the end, for tests.
    package var waiterCount: Int { waiters.count }

    /// The addresses that are listened at, with the ports that the system picked.
    ///
    /// Empty once closed.
    public var addresses: [LoopAddress] {
        listeners.compactMap { Socket.localAddress(of: $0.fd) }
    }

    /// The listening sockets, for options that the server does not know.
    ///
    /// They stay the server's. Empty once closed.
    public var descriptors: [Int32] { listeners.map(\.fd) }

    func accepted(_ fd: CInt) {
        connectionCount += 1
        if let group { return handOver(fd, to: group) }
        let proto = makeProtocol()
        let type = ObjectIdentifier(type(of: proto))
        let transport = LoopTransport(
            fd: fd, loop: loop, proto: proto, server: self, kind: kind, isPlain: type == plainType)
        if transport.buffered == nil { plainType = type }
        transport.begin()
    }

    /// What its connections are.
    var kind: LoopTransport.Kind { options.passesDescriptors ? .passing : .socket }

    private func wakeWaiters() {
        guard isClosed, connectionCount == 0 else { return }
        for waiter in waiters { loop.callSoonPlainly(waiter.body) }
        waiters = []
        shares = []
    }

    /// Its listening sockets went with the loop.
    func loopDidClose() {
        isClosed = true
        isServing = false
        listeners = []
        waiters = []
        shares = []
    }
}

extension LoopServer: ConnectionOwner {
    func connectionEnded() {
        connectionCount -= 1
        // With its loop, when nobody is told of anything any more.
        guard !loop.isClosed else { return }
        for listener in listeners { listener.retryNow() }
        wakeWaiters()
    }
}

@available(*, unavailable)
extension LoopServer: Sendable {}
