// SPDX-License-Identifier: Apache-2.0

public import GyreCore

extension Loop {
    /// Serves a datagram socket that was made elsewhere, UDP or Unix, with the protocol object from
    /// `makeProtocol`: asyncio's `create_datagram_endpoint` with `sock`.
    ///
    /// The socket is bound, connected or both, as its owner left it. The transport takes it over,
    /// and closes it. Of the options, ``LoopDatagramOptions/reusePort`` does not matter, and the
    /// file of a Unix socket stays.
    ///
    /// - Throws: ``LoopError`` when `descriptor` is no such socket, or belongs to a transport. It
    ///   stays the caller's then.
    public func createDatagramEndpoint(
        descriptor: Int32, options: LoopDatagramOptions = LoopDatagramOptions(),
        makeProtocol: () -> any LoopDatagramProtocol
    ) throws(LoopError) -> LoopDatagramTransport {
        checkThread("createDatagramEndpoint", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { throw LoopError(.closed, operation: "createDatagramEndpoint") }
        try checkWatchable(descriptor, "createDatagramEndpoint")
        let socket = try DatagramSocket(
            adopting: descriptor, options: options, flags: backend.socketFlags)
        return endpoint(
            socket, remote: Socket.peerAddress(of: descriptor), file: nil, makeProtocol())
    }

    /// Opens a datagram endpoint for async code over a socket that was made elsewhere.
    ///
    /// As ``createDatagramEndpoint(descriptor:options:makeProtocol:)``; `heldMax` is how many
    /// datagrams are kept that nobody received yet.
    public func openDatagramEndpoint(
        descriptor: Int32, options: LoopDatagramOptions = LoopDatagramOptions(),
        heldMax: Int = 1024
    ) throws(LoopError) -> LoopDatagramEndpoint {
        let core = DatagramCore(on: self, heldMax: heldMax)
        _ = try createDatagramEndpoint(
            descriptor: descriptor, options: options, makeProtocol: { core })
        return LoopDatagramEndpoint(core)
    }
}
