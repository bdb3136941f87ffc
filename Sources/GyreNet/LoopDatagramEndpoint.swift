// SPDX-License-Identifier: Apache-2.0

public import GyreCore
import GyreTasks

/// A datagram, and where it came from.
public struct LoopDatagram: Sendable, Hashable {
    /// What it says; may be empty.
    public let bytes: [UInt8]
    /// The address of the sender.
    public let address: LoopAddress

    /// A datagram from `address`.
    public init(bytes: [UInt8], address: LoopAddress) {
        self.bytes = bytes
        self.address = address
    }
}

/// A datagram endpoint for async code: datagrams are awaited, and sending waits while too much is
/// kept.
///
/// Made by ``withDatagramEndpoint(local:remote:options:heldMax:_:)``, which closes it, and by
/// ``Loop/openDatagramEndpoint(local:remote:options:heldMax:)``. Any task may use it.
///
/// What arrives while nobody receives is kept, up to a number of datagrams; from then on it waits
/// in the kernel, whose buffer drops what does not fit, and counts it, see ``droppedCount``. Who
/// sends to a Unix socket waits instead.
public struct LoopDatagramEndpoint: Sendable {
    let core: DatagramCore
    /// The handle of the loop that the endpoint belongs to.
    public let handle: LoopHandle

    init(_ core: DatagramCore) {
        self.core = core
        handle = core.loop.handle
    }

    // MARK: Receiving

    /// The next datagram; nil when the endpoint is closed and none is left.
    ///
    /// Several tasks may wait: each datagram goes to one of them, in the order in which they came.
    /// Cancelling one loses no datagram.
    ///
    /// - Throws: ``LoopError``, once for each datagram that the network says did not arrive, in
    ///   order with those that did: the endpoint goes on. While as many are kept as may be, more of
    ///   these errors are dropped. `CancellationError` when the task is cancelled.
    public func receive() async throws -> LoopDatagram? {
        try await receiveResult()?.get()
    }

    fileprivate func receiveResult() async throws -> Result<LoopDatagram, LoopError>? {
        guard handle.isOnLoop else { return try await onLoop { try await core.receive() } }
        return try await core.receive()
    }

    /// The datagrams that arrive.
    ///
    /// Ends when the endpoint is closed. What the network says of datagrams that did not arrive is
    /// left out; ``receive()`` throws it.
    public var datagrams: Datagrams { Datagrams(endpoint: self) }

    /// The datagrams of an endpoint, for `for try await`.
    public struct Datagrams: AsyncSequence {
        let endpoint: LoopDatagramEndpoint

        /// Makes an iterator; those of one endpoint take turns.
        public func makeAsyncIterator() -> Iterator { Iterator(endpoint: endpoint) }

        /// Hands out datagram after datagram.
        public struct Iterator: AsyncIteratorProtocol {
            let endpoint: LoopDatagramEndpoint

            /// The next datagram.
            ///
            /// - Throws: `CancellationError` when the task is cancelled; what the endpoint broke
            ///   with; ``LoopError/Code/loopMismatch`` on another loop.
            public func next() async throws -> LoopDatagram? {
                while let result = try await endpoint.receiveResult() {
                    if case .success(let datagram) = result { return datagram }
                }
                return nil
            }

            /// The next datagram, as ``next()``.
            public func next(
                isolation actor: isolated (any Actor)?
            ) async throws -> LoopDatagram? {
                try await next()
            }
        }
    }

    // MARK: Sending

    /// Sends `bytes` as one datagram to `address`, or to the endpoint's remote address.
    ///
    /// Comes back when the kernel took it, or there is room for more to keep. Whether it arrives
    /// nobody knows. Cancelling the task that waits takes back nothing.
    ///
    /// - Throws: ``LoopError``: ``LoopError/Code/invalidArgument`` when `address` is not the remote
    ///   address, ``LoopError/Code/notConnected`` when there is neither,
    ///   ``LoopError/Code/closed`` when the endpoint is closed. `CancellationError` when the task
    ///   is cancelled while it waits.
    public func sendTo(_ bytes: [UInt8], _ address: LoopAddress? = nil) async throws {
        guard handle.isOnLoop else {
            return try await onLoop { try await core.send(bytes, to: address) }
        }
        try await core.send(bytes, to: address)
    }

    /// Sends the UTF-8 bytes of `text`, as ``sendTo(_:_:)-([UInt8],_)``.
    public func sendTo(_ text: String, _ address: LoopAddress? = nil) async throws {
        try await sendTo(Array(text.utf8), address)
    }

    // MARK: Ending

    /// Closes the endpoint after what is kept was sent, and waits until it is closed.
    ///
    /// Cancelling the task that waits drops what was not sent.
    public func close() async throws {
        guard handle.isOnLoop else { return try await onLoop { await core.finish() } }
        await core.finish()
    }

    /// Closes at once; what was not sent is dropped.
    ///
    /// - Important: Callable from any thread: at once on the loop's, soon from another.
    public func abort() {
        if handle.isOnLoop {
            core.abort()
        } else {
            // On a closed loop the endpoint is gone.
            try? handle.callSoonThreadSafe { [core] _ in core.abort() }
        }
    }

    // MARK: About it

    /// The address of this side; nil when the endpoint is closed, or off the loop's thread.
    public var localAddress: LoopAddress? { look(\.localAddress) }

    /// The address that the endpoint is connected to; nil when it is closed or has none, or off the
    /// loop's thread.
    public var remoteAddress: LoopAddress? { look(\.remoteAddress) }

    /// How many datagrams the kernel has dropped, see ``LoopDatagramTransport/droppedCount``.
    public var droppedCount: Int? { look(\.droppedCount) }

    /// The transport below, for multicast groups and options.
    ///
    /// Leave its reading alone. Nil when the endpoint is closed, or off the loop's thread.
    public var transport: LoopDatagramTransport? { look { $0 } }

    private func look<Value>(_ body: (LoopDatagramTransport) -> Value?) -> Value? {
        handle.isOnLoop ? core.look(body) : nil
    }

    /// From another thread: there and back.
    private func onLoop<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        guard Loop.current == nil else {
            throw LoopError(
                .loopMismatch, operation: "datagram endpoint", detail: "it is another loop's")
        }
        return try await handle.createTaskThreadSafe { try await body() }.value
    }
}

extension Loop {
    /// Opens a datagram endpoint, UDP or Unix, for async code.
    ///
    /// The caller closes it. Of the addresses, see
    /// ``createDatagramEndpoint(local:remote:options:makeProtocol:)``; `heldMax` is how many
    /// datagrams are kept that nobody received yet.
    ///
    /// - Throws: ``LoopError`` when an address cannot be had.
    public func openDatagramEndpoint(
        local: LoopAddress? = nil, remote: LoopAddress? = nil,
        options: LoopDatagramOptions = LoopDatagramOptions(), heldMax: Int = 1024
    ) throws(LoopError) -> LoopDatagramEndpoint {
        let core = DatagramCore(on: self, heldMax: heldMax)
        _ = try createDatagramEndpoint(
            local: local, remote: remote, options: options, makeProtocol: { core })
        return LoopDatagramEndpoint(core)
    }

    /// Opens a UDP endpoint that is connected to `host`, a name or a number, for async code.
    ///
    /// As ``openDatagramEndpoint(local:remote:options:heldMax:)``.
    ///
    /// - Throws: ``LoopError`` when the name does not resolve or no way leads there;
    ///   `CancellationError` when the task is cancelled meanwhile, and then nothing stays open.
    /// - Important: In tasks of this loop only.
    public func openDatagramEndpoint(
        host: String, port: Int, options: LoopDatagramOptions = LoopDatagramOptions(),
        heldMax: Int = 1024
    ) async throws -> LoopDatagramEndpoint {
        let core = DatagramCore(on: self, heldMax: heldMax)
        _ = try await completion(
            { done in
                let lookUps = beginEndpoint(host, port, options, { core }, done)
                return { lookUps.cancel() }
            }, drop: { $0.abort() })
        return LoopDatagramEndpoint(core)
    }
}

/// Opens a datagram endpoint, runs `body` with it, and closes it when `body` has ended.
///
/// When `body` throws, what was not sent is dropped. See
/// ``Loop/openDatagramEndpoint(local:remote:options:heldMax:)``.
///
/// - Throws: What `body` throws; ``LoopError`` when an address cannot be had.
public func withDatagramEndpoint<Result>(
    local: LoopAddress? = nil, remote: LoopAddress? = nil,
    options: LoopDatagramOptions = LoopDatagramOptions(), heldMax: Int = 1024,
    _ body: (LoopDatagramEndpoint) async throws -> Result
) async throws -> Result {
    let endpoint = try runningLoop("withDatagramEndpoint").openDatagramEndpoint(
        local: local, remote: remote, options: options, heldMax: heldMax)
    do {
        let result = try await body(endpoint)
        await endpoint.core.finish()
        return result
    } catch {
        endpoint.core.abort()
        await endpoint.core.finish()
        throw error
    }
}
