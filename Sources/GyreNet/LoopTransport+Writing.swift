// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore

// Writing. The first write of an iteration goes to the kernel at once, without a copy; small ones
// that follow in the same iteration are collected and go together in the next, before it waits.
// Where sends can go with the wait itself, small writes do: see the file on batching.

extension LoopTransport {
    /// From this size on a piece is sent at once even if it is not the first of the iteration.
    static var directSize: Int { 16 << 10 }
    /// Collected pieces are sent early when they reach this size.
    private static var flushSize: Int { 64 << 10 }

    /// Sends `bytes` behind what was written before.
    ///
    /// Never blocks and keeps no reference to them.
    ///
    /// What the kernel does not take now is kept; see ``LoopStreamProtocol/pauseWriting()``. On a
    /// transport that is closing or closed the bytes are dropped.
    ///
    /// - Throws: ``LoopError/Code/endOfFileWritten`` after ``writeEOF()``;
    ///   ``LoopError/Code/notSupported`` at the reading end of a pipe.
    ///   ``LoopError/Code/inUse`` while a file is sent.
    public func write(_ bytes: RawSpan) throws(LoopError) {
        try bytes.withUnsafeBytes { bytes throws(LoopError) in try writeLent(bytes) }
    }

    // SAFETY: as for `write` below.
    @inline(__always)
    func writeLent(_ bytes: UnsafeRawBufferPointer) throws(LoopError) {
        guard try mayWrite() else { return }
        write(bytes)
    }

    /// Sends `bytes`, as ``write(_:)-(RawSpan)``.
    public func write(_ bytes: [UInt8]) throws(LoopError) {
        guard try mayWrite() else { return }
        bytes.withUnsafeBytes { write($0) }
    }

    /// Sends the UTF-8 bytes of `text`, as ``write(_:)-(RawSpan)``.
    public func write(_ text: String) throws(LoopError) {
        guard try mayWrite() else { return }
        var text = text
        text.withUTF8 { write(UnsafeRawBufferPointer($0)) }
    }

    /// Sends several pieces in order, in one send where the kernel has room for them; `writelines`
    /// of asyncio, which adds nothing between them either.
    public func writeLines(_ pieces: [[UInt8]]) throws(LoopError) {
        guard try mayWrite() else { return }
        settlePiece()
        for piece in pieces { piece.withUnsafeBytes { keep($0) } }
        flush()
        tellMarks()
    }

    /// Ends the sending side after what was written; the peer reads an end of file, and its data
    /// still arrives here.
    ///
    /// The writing end of a pipe is closed, as by ``close()``. Does nothing the second time, or
    /// when closing.
    ///
    /// - Throws: Nothing now; a broken connection is reported by
    ///   ``LoopStreamProtocol/connectionLost(_:)``.
    public func writeEOF() {
        loop.checkThread("writeEOF", instead: "handle.callSoonThreadSafe")
        guard kind == .socket || kind == .passing else {
            if kind == .writePipe { close() }
            return
        }
        guard state.isDisjoint(with: [.endRequested, .closing]) else { return }
        state.insert(.endRequested)
        if bufferedCount == 0, !state.contains(.sendingFile) { shutDown() }
    }

    func mayWrite() throws(LoopError) -> Bool {
        loop.checkThread("write", instead: "handle.callSoonThreadSafe")
        guard state.isDisjoint(with: [.closing, .endRequested, .sendingFile]) else {
            if state.contains(.closing) { return false }
            throw refusal(of: "write")
        }
        guard kind != .readPipe else {
            throw LoopError(
                .notSupported, operation: "write", detail: "this is the reading end of a pipe")
        }
        return true
    }

    /// Throws where a write would be dropped or refused.
    func checkMayWrite(_ operation: String) throws(LoopError) {
        if !state.isDisjoint(with: [.closing, .endRequested, .sendingFile]) {
            throw refusal(of: operation)
        }
        guard kind == .socket else {
            throw LoopError(
                .notSupported, operation: operation,
                detail: "this is a pipe, or a connection that passes descriptors")
        }
    }

    @inline(never)
    private func refusal(of operation: String) -> LoopError {
        if state.contains(.closing) { return LoopError(.closed, operation: operation) }
        if state.contains(.sendingFile) {
            return LoopError(.inUse, operation: operation, detail: "a file is being sent")
        }
        return LoopError(
            .endOfFileWritten, operation: operation, detail: "writeEOF was called before")
    }

    // MARK: Sending

    @inline(__always)
    // SAFETY: what is written is lent for the call only: either the kernel takes it at once, or
    // `keep` copies it into the queue, whose chunks stay in place while an operation sends them.
    private func write(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0 else { return }
        if let buffers = loop.sendBuffers, kind == .socket { return batch(bytes, in: buffers) }
        let tick = UInt32(truncatingIfNeeded: loop.ticks)
        guard queue == nil, tick != lastSendTick || bytes.count >= Self.directSize else {
            return collect(bytes)
        }
        lastSendTick = tick
        sendNow(bytes)
    }

    /// Sends `bytes` as far as the kernel takes them, and keeps the rest.
    @inline(__always)
    func sendNow(_ bytes: UnsafeRawBufferPointer) {
        guard let sent = send(bytes), sent < bytes.count else { return }
        keep(UnsafeRawBufferPointer(rebasing: bytes[sent...]))
        submitSend()
        tellMarks()
    }

    /// How many bytes the kernel took; nil when the connection broke.
    @inline(__always)
    func send(_ bytes: UnsafeRawBufferPointer) -> Int? {
        guard kind == .socket else { return sent(attemptWrite(bytes)) }
        let flags = CInt(MSG_DONTWAIT | MSG_NOSIGNAL)
        let count = Glibc.send(fd, bytes.baseAddress, bytes.count, flags)
        if count >= 0 { return count }
        switch errno {
        case EAGAIN: return 0
        case EINTR:
            return sent(attempting { Glibc.send(fd, bytes.baseAddress, bytes.count, flags) })
        case let number: return sent(.finished(-number))
        }
    }

    @inline(never)
    private func sent(_ attempt: Attempt) -> Int? {
        switch attempt {
        case .finished(let count) where count >= 0: return Int(count)
        case .finished(let error):
            let isPipe = kind == .readPipe || kind == .writePipe
            fail(LoopError(errno: -error, operation: isPipe ? "write" : "send"))
            return nil
        case .wouldBlock: return 0
        }
    }

    @inline(never)
    func collect(_ bytes: UnsafeRawBufferPointer) {
        keep(bytes)
        if sendID == .none {
            if bufferedCount >= Self.flushSize {
                flush()
            } else {
                flushSoon()
            }
        }
        tellMarks()
    }

    private func flushSoon() {
        guard !state.contains(.flushScheduled) else { return }
        state.insert(.flushScheduled)
        loop.callSoonPlainly { [self] in
            state.remove(.flushScheduled)
            flush()
            tellMarks()
        }
    }

    func keep(_ bytes: UnsafeRawBufferPointer) {
        let queue = queue ?? WriteQueue()
        self.queue = queue
        queue.append(bytes)
    }

    /// Sends what was collected, as far as the kernel takes it.
    func flush() {
        guard sendID == .none, !state.contains(.ending), let queue else { return }
        while queue.count > 0 {
            let bytes = queue.next()
            guard let sent = send(bytes) else { return }
            queue.consume(sent)
            guard sent == bytes.count else { return submitSend() }
        }
        emptied()
    }

    /// The kernel is full: lets the loop send the rest when there is room.
    func submitSend() {
        guard let queue, sendID == .none, !state.contains(.ending) else { return }
        guard kind == .socket else {
            // A file that took a part takes the rest, or says why not.
            if state.contains(.isFile) { return flushSoon() }
            sendID = loop.submitPoll(.write, on: fd, once: true, target: self)
            return
        }
        queue.isFrontLent = true
        sendID = loop.submitSend(queue.next(), on: fd, target: self)
    }

    func sent(_ completion: Completion) {
        sendID = .none
        guard pieceCount == 0 else { return pieceSent(completion.result) }
        guard !state.contains(.ending), let queue else { return finishIfEnded() }
        queue.isFrontLent = false
        guard completion.result >= 0 else {
            return fail(LoopError(errno: -completion.result, operation: "send"))
        }
        queue.consume(Int(completion.result))
        flush()
        tellMarks()
    }

    func emptied() {
        queue = nil
        if state.contains(.sendingFile) {
            continueFile()
        } else if state.contains(.closing) {
            end(nil)
        } else if state.contains(.endRequested) {
            shutDown()
        }
    }

    private func shutDown() {
        // Failing means that the peer is gone, which the receiving side reports.
        _ = shutdown(fd, CInt(SHUT_WR))
    }

    // MARK: Flow control

    /// How many bytes are kept because the kernel did not take them yet.
    public var writeBufferSize: Int { bufferedCount }

    var bufferedCount: Int { Int(pieceCount) + (queue?.count ?? 0) }

    /// The marks of the write buffer, in bytes.
    public var writeBufferLimits: (low: Int, high: Int) { (marks.low, marks.high) }

    /// Sets the marks of the write buffer, in bytes.
    ///
    /// Above `high` the protocol is told to pause, at `low` or below to resume. Given only `high`,
    /// `low` is a quarter of it; given only `low`, `high` is four times that; given neither, the
    /// defaults are 64 KiB and 16 KiB.
    ///
    /// - Throws: ``LoopError/Code/invalidArgument`` when `high` is below `low`, or one is
    ///   negative.
    public func setWriteBufferLimits(high: Int? = nil, low: Int? = nil) throws(LoopError) {
        loop.checkThread("setWriteBufferLimits", instead: "handle.callSoonThreadSafe")
        marks = try WriteMarks.given(high: high, low: low)
        tellMarks()
    }

    func tellMarks() {
        // What a file fills the buffer with is nothing to the protocol, which must not write.
        guard let proto, state.isDisjoint(with: [.ending, .sendingFile]) else { return }
        let isPaused = state.contains(.writingPaused)
        guard marks.pause(at: bufferedCount, isPaused: isPaused) != isPaused else { return }
        if isPaused {
            state.remove(.writingPaused)
            loop.measure("resumeWriting") { proto.resumeWriting() }
        } else {
            state.insert(.writingPaused)
            loop.measure("pauseWriting") { proto.pauseWriting() }
        }
    }
}
