// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// What a program does with the datagrams of one socket: an object that the loop calls.
///
/// The calls come on the loop's thread: ``connectionMade(_:)`` first, ``connectionLost(_:)`` last
/// and exactly once. An error that one of them throws is reported to the loop's exception handler,
/// and the endpoint is aborted with it.
public protocol LoopDatagramProtocol: AnyObject {
    /// The endpoint is open. No other call comes before this one has returned.
    func connectionMade(_ transport: LoopDatagramTransport) throws

    /// A datagram arrived, whole; it may be empty.
    ///
    /// `data` is lent: it is memory of the loop and ends with the call. Copy what you keep.
    /// `address` is where it came from, an unnamed one for a Unix socket without a name.
    func datagramReceived(_ data: RawSpan, from address: LoopAddress) throws

    /// A datagram did not go out or did not arrive; the endpoint goes on.
    ///
    /// The network says so of one that was sent before, as far as anybody tells it: nobody has the
    /// port (``LoopError/Code/connectionRefused``), no way leads there, it is too large. Where it
    /// is known for whom it was, ``LoopError/detail`` has the address.
    func errorReceived(_ error: LoopError)

    /// The endpoint is closed: `error` says why, nil is an end by ``LoopDatagramTransport/close()``
    /// or ``LoopDatagramTransport/abort()``.
    func connectionLost(_ error: (any Error)?)

    /// More is buffered than the high mark. Stop sending.
    func pauseWriting()

    /// What is buffered fell to the low mark: go on sending.
    func resumeWriting()
}

extension LoopDatagramProtocol {
    /// Does nothing.
    public func connectionMade(_ transport: LoopDatagramTransport) {}

    /// Does nothing.
    public func datagramReceived(_ data: RawSpan, from address: LoopAddress) {}

    /// Does nothing.
    public func errorReceived(_ error: LoopError) {}

    /// Does nothing.
    public func connectionLost(_ error: (any Error)?) {}

    /// Does nothing.
    public func pauseWriting() {}

    /// Does nothing.
    public func resumeWriting() {}
}
