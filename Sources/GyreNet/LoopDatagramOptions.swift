// SPDX-License-Identifier: Apache-2.0

/// Options of a datagram endpoint.
public struct LoopDatagramOptions: Sendable {
    /// Several sockets may bind the same port; the kernel spreads datagrams over them, or gives
    /// those of a multicast group to each.
    public var reusePort = false
    /// Sends to broadcast addresses are allowed.
    public var allowsBroadcast = false
    /// An endpoint without a remote address is told of datagrams that did not arrive, too.
    ///
    /// One with a remote address is in any case.
    public var reportsErrors = true
    /// The size of the kernel's receive buffer in bytes, held at the system's limit; nil for the
    /// system's default.
    ///
    /// What does not fit there is lost, see ``LoopDatagramTransport/droppedCount``.
    public var receiveBufferSize: Int?
    /// Removes the file of a Unix socket when the endpoint is closed, unless another is there by
    /// then.
    public var removesFile = true

    /// The defaults.
    public init() {}
}
