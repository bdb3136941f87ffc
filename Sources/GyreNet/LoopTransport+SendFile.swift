// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreTasks

// Sending files. While one is sent nothing else is written, and reading pauses. What was written
// before goes first; then a poll tells when there is room, and the kernel, or a copy, fills it.

extension LoopTransport {
    /// Sends the bytes of `file` from `offset` on, `count` of them or all up to its end, behind
    /// what was written before.
    ///
    /// While it lasts nothing may be written, and nothing is read; both are as before when it ends.
    /// ``writeEOF()`` and ``close()`` take effect behind the file. Whatever the end, the position
    /// of `file` is then behind the last byte that was sent. The file stays the caller's, and open
    /// until the end.
    ///
    /// `completion` is called in a later iteration with how many bytes were sent, fewer than
    /// `count` where the file is shorter; or with a ``LoopError``: that of the file, after which
    /// the transport goes on; that of the connection, which is lost; ``LoopError/Code/inUse`` while
    /// another file is sent; ``LoopError/Code/endOfFileWritten`` after ``writeEOF()``;
    /// ``LoopError/Code/closed`` on a closed transport, and when it is aborted meanwhile.
    ///
    /// - Returns: A handle with which it can be cancelled.
    @discardableResult
    public func sendFile(
        _ file: CInt, offset: Int = 0, count: Int? = nil,
        method: LoopSendFileMethod = .automatic,
        completion: @escaping (Result<Int, any Error>) -> Void
    ) -> LoopFileSending {
        loop.checkThread("sendFile", instead: "handle.callSoonThreadSafe")
        let sending = LoopFileSending(transport: self, method: method, completion: completion)
        do throws(LoopError) {
            try checkMayWrite("sendFile")
            sending.range = try FileRange(file, offset: offset, count: count)
        } catch {
            sending.finishLater(.failure(error))
            return sending
        }
        fileSending = sending
        state.insert(.sendingFile)
        updateReading()
        if bufferedCount == 0 {
            continueFile()
        } else {
            settlePiece()
            // What is on its way comes here when it is sent, as the rest does.
            if bufferedCount == 0 { continueFile() } else { flush() }
        }
        return sending
    }

    /// Sends the bytes of `file`, as ``sendFile(_:offset:count:method:completion:)``; `sendfile` of
    /// asyncio.
    ///
    /// Cancelling the task ends it early: what the kernel took is sent, and the position of the
    /// file tells how much that was.
    ///
    /// - Returns: How many bytes were sent.
    /// - Throws: As there; `CancellationError`.
    public func sendFile(
        _ file: CInt, offset: Int = 0, count: Int? = nil,
        method: LoopSendFileMethod = .automatic
    ) async throws -> Int {
        var outcome: Result<Int, any Error>?
        var ended = LoopFuture<Void>(on: loop)
        let sending = sendFile(file, offset: offset, count: count, method: method) {
            outcome = $0
            if !ended.isDone { try? ended.setResult(()) }
        }
        do {
            try await ended.value
        } catch {
            sending.cancel()
            // Until the transport is free again, which needs nothing of the peer.
            while outcome == nil {
                ended = LoopFuture(on: loop)
                try? await ended.waitForEnd()
            }
            throw error
        }
        guard let outcome else { throw CancellationError() }
        return try outcome.get()
    }

    // MARK: Steps

    /// Everything before is sent: goes on with the file.
    func continueFile() {
        guard let sending = fileSending, !state.contains(.ending) else { return }
        guard sending.outcome == nil, sending.range?.isSent == false else {
            return endFile(.success(()))
        }
        if sending.method == .copying {
            readFile(sending)
        } else {
            sendNatively(sending)
        }
    }

    private func sendNatively(_ sending: LoopFileSending) {
        sending.keepFromBlocking(fd)
        switch sending.range?.send(to: fd) {
        case .wouldBlock: pollForFile()
        case .finished(let count) where count > 0: pollForFile()
        case .finished(let error) where error < 0:
            let number = -error
            if FileRange.isOfConnection(number) {
                fail(LoopError(errno: number, operation: "sendfile"))
            } else if sending.method == .automatic {
                // A copy works, or says what is wrong with the file.
                sending.method = .copying
                sending.blockAgain(fd)
                if sending.isPolling { loop.cancel(sendID) } else { readFile(sending) }
            } else {
                endFile(.failure(LoopError(errno: number, operation: "sendfile")))
            }
        default: endFile(.success(()))
        }
    }

    /// One piece an iteration, also while there is room for more.
    private func pollForFile() {
        if fileSending?.range?.isSent == true { return endFile(.success(())) }
        guard sendID == .none else { return }
        fileSending?.isPolling = true
        sendID = loop.submitPoll(.write, on: fd, target: self)
    }

    func filePolled(_ completion: Completion) {
        guard !completion.more else { return continueFile() }
        sendID = .none
        fileSending?.isPolling = false
        guard !state.contains(.ending) else { return finishIfEnded() }
        guard completion.result == -ECANCELED else {
            return fail(LoopError(errno: -completion.result, operation: "poll"))
        }
        if fileSending?.outcome != nil { finishFile() } else { continueFile() }
    }

    private func readFile(_ sending: LoopFileSending) {
        guard let read = sending.range?.nextPiece else { return }
        let reading = loop.runInExecutor { try read() }
        sending.reading = reading
        reading.addDoneCallback { [self] reading in
            // The file was cancelled, or the connection broke.
            guard fileSending === sending, sending.outcome == nil else { return }
            sending.reading = nil
            let bytes: [UInt8]
            do {
                bytes = try reading.result()
            } catch {
                return endFile(.failure(error))
            }
            guard !bytes.isEmpty else { return endFile(.success(())) }
            sending.range?.advance(by: bytes.count)
            // SAFETY: the bytes are copied into the queue during the call.
            bytes.withUnsafeBytes { keep($0) }
            flush()
        }
    }

    // MARK: Its end

    /// Ends the file when the operation under way has ended.
    func endFile(_ outcome: Result<Void, any Error>) {
        guard let sending = fileSending else { return }
        if sending.outcome == nil { sending.outcome = outcome }
        if let reading = sending.reading.take() { reading.cancel() }
        if sending.isPolling { loop.cancel(sendID) } else { finishFile() }
    }

    /// Everything is as it was before the file.
    private func finishFile() {
        guard let sending = fileSending.take() else { return }
        state.remove(.sendingFile)
        sending.blockAgain(fd)
        sending.finish()
        goOnReading()
        if bufferedCount > 0 { flush() } else { emptied() }
        tellMarks()
    }

    /// The connection broke, or was aborted.
    func breakFile(_ error: (any Error)?) {
        guard let sending = fileSending.take() else { return }
        if let reading = sending.reading.take() { reading.cancel() }
        // The rest of a copy is not sent any more.
        let sent = sending.range?.sent ?? 0
        sending.range?.advance(by: -min(sent, bufferedCount))
        let aborted = LoopError(
            .closed, operation: "sendFile", detail: "the connection was closed meanwhile")
        sending.outcome = .failure(error ?? aborted)
        sending.finish()
    }
}

/// A file that is being sent: the handle that `sendFile` returns.
public final class LoopFileSending {
    private let transport: LoopTransport
    private var completion: ((Result<Int, any Error>) -> Void)?
    fileprivate(set) var method: LoopSendFileMethod
    fileprivate(set) var range: FileRange?
    /// How it ends, once that is known.
    fileprivate(set) var outcome: Result<Void, any Error>?
    fileprivate var reading: LoopFuture<[UInt8]>?
    /// The send operation of the transport is a poll of this file's.
    fileprivate var isPolling = false
    /// The flags of a socket that blocks, and does not for now.
    private var flags: CInt?

    fileprivate init(
        transport: LoopTransport, method: LoopSendFileMethod,
        completion: @escaping (Result<Int, any Error>) -> Void
    ) {
        self.transport = transport
        self.method = method
        self.completion = completion
    }

    /// Sends no more of the file.
    ///
    /// The completion is called with ``LoopError/Code/cancelled`` in a later iteration; the
    /// transport goes on. What was taken for sending before is sent, and the file's position says
    /// how much. Does nothing when the file was sent, or failed.
    public func cancel() {
        transport.loop.checkThread("cancel", instead: "handle.callSoonThreadSafe")
        guard outcome == nil, transport.fileSending === self else { return }
        transport.endFile(.failure(LoopError(.cancelled, operation: "sendFile")))
    }

    /// There is no flag for `sendfile` not to block: the socket has to be told so.
    ///
    /// That of a ring blocks otherwise.
    fileprivate func keepFromBlocking(_ fd: CInt) {
        guard flags == nil else { return }
        let before = fcntl(fd, F_GETFL)
        flags = before
        if before & O_NONBLOCK == 0 { _ = fcntl(fd, F_SETFL, before | O_NONBLOCK) }
    }

    fileprivate func blockAgain(_ fd: CInt) {
        guard let before = flags.take(), before & O_NONBLOCK == 0, fd >= 0 else { return }
        _ = fcntl(fd, F_SETFL, before)
    }

    fileprivate func finish() {
        range?.finish()
        let sent = range?.sent ?? 0
        finishLater((outcome ?? .success(())).map { sent })
    }

    /// The completion is never called inside a call of the user's.
    fileprivate func finishLater(_ result: Result<Int, any Error>) {
        if outcome == nil { outcome = result.map { _ in } }
        guard let completion = completion.take() else { return }
        transport.loop.callSoonPlainly { completion(result) }
    }
}

@available(*, unavailable)
extension LoopFileSending: Sendable {}
