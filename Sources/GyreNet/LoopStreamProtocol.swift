// SPDX-License-Identifier: Apache-2.0

/// What a program does with one connection: an object that the loop calls.
///
/// The calls come on the loop's thread in this order: ``connectionMade(_:)``, then
/// ``dataReceived(_:)`` any number of times, then at most once ``endOfFileReceived()``, and exactly
/// once, last, ``connectionLost(_:)``. ``pauseWriting()`` and ``resumeWriting()`` come in turns
/// while the connection is up.
///
/// An error that one of them throws is reported to the loop's exception handler, and the connection
/// is aborted with it.
public protocol LoopStreamProtocol: AnyObject {
    /// The connection is up. No other call comes before this one has returned.
    func connectionMade(_ transport: LoopTransport) throws

    /// Bytes arrived, in order, in pieces of any size.
    ///
    /// `data` is lent: it is memory of the loop and ends with the call. Copy what you keep.
    func dataReceived(_ data: RawSpan) throws

    /// The peer sends no more.
    ///
    /// - Returns: Whether to keep the connection open for writing. With false, the default, the
    ///   transport closes itself after sending what was written.
    func endOfFileReceived() throws -> Bool

    /// The connection is gone: `error` says why, nil is an end by ``LoopTransport/close()``,
    /// ``LoopTransport/abort(sendingReset:)`` or the peer's end of file.
    func connectionLost(_ error: (any Error)?)

    /// More is buffered than the high mark: the peer is slower than the writer. Stop writing.
    func pauseWriting()

    /// What is buffered fell to the low mark: go on writing.
    func resumeWriting()
}

extension LoopStreamProtocol {
    /// Does nothing.
    public func connectionMade(_ transport: LoopTransport) {}

    /// Does nothing.
    public func dataReceived(_ data: RawSpan) {}

    /// Closes the connection.
    public func endOfFileReceived() -> Bool { false }

    /// Does nothing.
    public func connectionLost(_ error: (any Error)?) {}

    /// Does nothing.
    public func pauseWriting() {}

    /// Does nothing.
    public func resumeWriting() {}
}
