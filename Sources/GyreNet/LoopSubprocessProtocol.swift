// SPDX-License-Identifier: Apache-2.0

/// What a program does with a process it started: an object that the loop calls.
///
/// asyncio's `SubprocessProtocol`. The calls come on the loop's thread in this order:
/// ``connectionMade(_:)``, then for each piped stream ``pipeDataReceived(_:_:)`` any number of
/// times and ``pipeConnectionLost(_:_:)`` once, then ``processExited()``, and last
/// ``connectionLost(_:)``.
/// A pipe that somebody else still has open when the process has ended (a process that it started
/// itself), or that is paused, is lost behind ``processExited()``.
///
/// An error that one of them throws is reported to the loop's exception handler, and the pipe or
/// the process it belongs to is given up.
public protocol LoopSubprocessProtocol: AnyObject {
    /// The process runs. No other call comes before this one has returned.
    func connectionMade(_ transport: LoopSubprocessTransport) throws

    /// The process wrote something: `fd` is 1 for its standard output, 2 for its standard error.
    ///
    /// `data` is lent: it is memory of the loop and ends with the call. Copy what you keep.
    func pipeDataReceived(_ fd: CInt, _ data: RawSpan) throws

    /// The pipe of the standard stream `fd` is gone.
    ///
    /// `error` says why; nil is an end by either side. For the standard input it is
    /// ``LoopError/Code/brokenPipe`` when the process ended, or closed it, first.
    func pipeConnectionLost(_ fd: CInt, _ error: (any Error)?)

    /// The process ended: see ``LoopSubprocessTransport/returnCode``.
    func processExited()

    /// The process ended and all of its pipes are gone.
    func connectionLost(_ error: (any Error)?)

    /// More waits for the process's standard input than its high mark. Stop writing.
    func pauseWriting()

    /// What waits fell to the low mark: go on writing.
    func resumeWriting()
}

extension LoopSubprocessProtocol {
    /// Does nothing.
    public func connectionMade(_ transport: LoopSubprocessTransport) {}

    /// Does nothing.
    public func pipeDataReceived(_ fd: CInt, _ data: RawSpan) {}

    /// Does nothing.
    public func pipeConnectionLost(_ fd: CInt, _ error: (any Error)?) {}

    /// Does nothing.
    public func processExited() {}

    /// Does nothing.
    public func connectionLost(_ error: (any Error)?) {}

    /// Does nothing.
    public func pauseWriting() {}

    /// Does nothing.
    public func resumeWriting() {}
}
