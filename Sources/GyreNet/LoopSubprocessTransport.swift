// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
public import GyreCore

/// A process that was started, for the protocol object that looks after it.
///
/// asyncio's `SubprocessTransport`. The loop holds it, and watches the process, until it has ended
/// and its pipes are gone; letting go of this object changes nothing. Closing the loop before kills
/// the process. Everything here is for the loop's thread.
public final class LoopSubprocessTransport {
    let loop: Loop
    /// The process's number.
    public let pid: CInt
    /// How the process ended: its exit status, or the negative number of the signal that killed it;
    /// nil while it runs.
    ///
    /// 255 when somebody else in this program collected the process, or `SIGCHLD` is ignored.
    public private(set) var returnCode: CInt?
    /// Whether ``close()`` was called, or the process and its pipes are gone.
    public private(set) var isClosing = false

    private var proto: (any LoopSubprocessProtocol)?
    /// The pipes that are not gone, by the number of the process's stream.
    private var pipes: [CInt: SubprocessPipe] = [:]
    private var isExitTold = false
    private var isOver = false
    private var exitWaiters: [() -> Void] = []
    private var pidfd: CInt
    private var resource: Int32 = -1

    /// Looks after `process`; `proto` is told of its end, and what `makeUser` makes, of its pipes.
    init(
        _ process: SpawnedProcess, loop: Loop, proto: (any LoopSubprocessProtocol)?,
        makeUser: (CInt) -> any LoopStreamProtocol
    ) throws(LoopError) {
        self.loop = loop
        self.proto = proto
        pid = process.pid
        pidfd = process.pidfd
        if pidfd >= 0 { loop.claimDescriptor(pidfd) }
        resource = loop.register(self)
        var rest = process.pipes
        do throws(LoopError) {
            for (index, fd) in process.pipes.enumerated() where fd >= 0 {
                let number = CInt(index)
                let pipe = SubprocessPipe(number, of: self, user: makeUser(number))
                if index == 0 {
                    try loop.connectWritePipe(fd) { pipe }
                } else {
                    try loop.connectReadPipe(fd) { pipe }
                }
                rest[index] = -1
                pipes[number] = pipe
            }
        } catch {
            for fd in rest where fd >= 0 { Glibc.close(fd) }
            close()
            watch()
            throw error
        }
    }

    func begin() {
        if let proto {
            loop.measure("connectionMade of a process") {
                do {
                    try proto.connectionMade(self)
                } catch {
                    loop.handle(
                        thrown: error, message: "connectionMade of a process threw an error")
                    close()
                }
            }
        }
        watch()
    }

    private func watch() {
        if pidfd >= 0 {
            _ = loop.submitPoll(.read, on: pidfd, once: true, target: self)
        } else {
            loop.callSoonPlainly { [self] in exited(Self.unknownCode) }
        }
    }

    // MARK: The pipes

    /// The transport of the pipe to the standard stream `fd`: 0, 1 or 2.
    ///
    /// Nil when that is no pipe, or the pipe is gone.
    public func pipeTransport(_ fd: CInt) -> LoopTransport? { pipes[fd]?.transport }

    func pipeLost(_ fd: CInt) {
        pipes[fd] = nil
        // With its loop, when nobody is told of anything any more.
        if !loop.isClosed { finishIfOver() }
    }

    // MARK: Signals

    /// Sends `signal` to the process.
    ///
    /// It never reaches another process, also when the number was given to one meanwhile.
    ///
    /// - Throws: ``LoopError/Code/noSuchProcess`` when it has ended; ``LoopError`` when it may not
    ///   be sent a signal.
    public func sendSignal(_ signal: CInt) throws(LoopError) {
        loop.checkThread("sendSignal", instead: "handle.callSoonThreadSafe")
        let error = pidfd < 0 ? -ESRCH : gyre_process_signal(pidfd, signal)
        guard error == 0 else { throw LoopError(errno: -error, operation: "sendSignal") }
    }

    /// Asks the process to end, with `SIGTERM`.
    ///
    /// - Throws: As ``sendSignal(_:)``.
    public func terminate() throws(LoopError) { try sendSignal(SIGTERM) }

    /// Ends the process at once, with `SIGKILL`.
    ///
    /// - Throws: As ``sendSignal(_:)``.
    public func kill() throws(LoopError) { try sendSignal(SIGKILL) }

    /// Closes the pipes and kills the process if it still runs.
    ///
    /// ``LoopSubprocessProtocol/processExited()`` and ``LoopSubprocessProtocol/connectionLost(_:)``
    /// follow in a later iteration. Does nothing the second time.
    public func close() {
        loop.checkThread("close", instead: "handle.callSoonThreadSafe")
        guard !isClosing else { return }
        isClosing = true
        for pipe in pipes.values { pipe.transport?.close() }
        // It may have ended, or be another user's: then nobody can.
        if returnCode == nil { try? kill() }
    }

    // MARK: The end

    private static var unknownCode: CInt { 255 }

    /// Calls `body` when the process has ended, whatever its pipes do.
    func whenExited(_ body: @escaping () -> Void) {
        if returnCode == nil { exitWaiters.append(body) } else { body() }
    }

    private func exited(_ code: CInt) {
        returnCode = code
        if pidfd >= 0 { loop.closeDescriptor(pidfd) }
        pidfd = -1
        for waiter in exitWaiters { waiter() }
        exitWaiters = []
        // What the process wrote comes first.
        for pipe in pipes.values { pipe.processEnded() }
        finishIfOver()
    }

    func finishIfOver() {
        guard returnCode != nil, !pipes.values.contains(where: \.holdsExit) else { return }
        if !isExitTold {
            isExitTold = true
            if let proto { loop.measure("processExited") { proto.processExited() } }
        }
        guard pipes.isEmpty, !isOver else { return }
        isOver = true
        isClosing = true
        loop.unregister(resource)
        guard let proto = proto.take() else { return }
        loop.measure("connectionLost of a process") { proto.connectionLost(nil) }
    }

    /// Leaves no zombie: what was killed is there for a moment, which a thread waits for.
    private func killAndCollect() {
        let pidfd = pidfd
        _ = gyre_process_signal(pidfd, SIGKILL)
        var code: CInt = 0
        guard gyre_process_collect(pidfd, false, &code) == 0 else { return }
        let copy = gyre_copy_descriptor(pidfd)
        do throws(LoopError) {
            guard copy >= 0 else { throw LoopError(errno: -copy, operation: "dup") }
            try BlockingPool(threadsMax: 1).run {
                var code: CInt = 0
                _ = gyre_process_collect(copy, true, &code)
                Glibc.close(copy)
            }
        } catch {
            if copy >= 0 { Glibc.close(copy) }
            _ = gyre_process_collect(pidfd, true, &code)
        }
    }
}

extension LoopSubprocessTransport: OperationTarget, LoopResource {
    package func operationCompleted(_ completion: Completion) {
        var code: CInt = 0
        switch gyre_process_collect(pidfd, false, &code) {
        case 0: watch()
        case 1: exited(code)
        default: exited(Self.unknownCode)
        }
    }

    package func loopDidClose() {
        isClosing = true
        proto = nil
        pipes = [:]
        exitWaiters = []
        guard pidfd >= 0 else { return }
        killAndCollect()
        loop.closeDescriptor(pidfd)
        pidfd = -1
    }
}

@available(*, unavailable)
extension LoopSubprocessTransport: Sendable {}
