// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore

// Writing where sends go together with the loop's next wait: small pieces are copied into memory of
// the loop and submitted, which costs no system call. Such a send takes what the socket has room
// for and waits for nothing, so the memory is back after that wait whatever the peer does; the
// remainder is kept as any other.

extension LoopTransport {
    /// The piece that was submitted and has not completed.
    private var piece: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: pieceStart, count: Int(pieceCount))
    }

    // SAFETY: `bytes` are lent for the call; they are copied or sent before it returns. The piece
    // stays in place until its operation completed or was taken back.
    @inline(__always)
    func batch(_ bytes: UnsafeRawBufferPointer, in buffers: SendBuffers) {
        guard sendID == .none, queue == nil, bytes.count < Self.directSize,
            let piece = buffers.copy(bytes)
        else { return batchMore(bytes, in: buffers) }
        submit(piece)
    }

    @inline(__always)
    private func submit(_ piece: UnsafeRawBufferPointer) {
        pieceStart = piece.baseAddress
        pieceCount = Int32(truncatingIfNeeded: piece.count)
        sendID = loop.submitImmediateSend(piece, on: fd, target: self)
        if piece.count > marks.high { tellMarks() }
    }

    /// More in the same iteration: joins what the kernel has not got yet, until that is worth a
    /// send of its own.
    @inline(never)
    private func batchMore(_ bytes: UnsafeRawBufferPointer, in buffers: SendBuffers) {
        if sendID != .none, takeBackPiece() {
            if piece.count + bytes.count < Self.directSize,
                let longer = buffers.extend(piece, by: bytes)
            {
                return submit(longer)
            }
            sendPiece(in: buffers)
            guard !state.contains(.ending) else { return }
        }
        if sendID != .none || queue != nil {
            collect(bytes)
        } else if bytes.count < Self.directSize, let piece = buffers.copy(bytes) {
            submit(piece)
        } else {
            sendNow(bytes)
        }
    }

    /// Sends at once what the kernel has not got yet, as far as it takes it.
    ///
    /// For those who send at once what comes behind it.
    func settlePiece() {
        guard let buffers = loop.sendBuffers, takeBackPiece() else { return }
        sendPiece(in: buffers)
    }

    /// Drops what the kernel has not got yet.
    func dropPiece() {
        guard let buffers = loop.sendBuffers, takeBackPiece() else { return }
        removePiece(in: buffers)
    }

    private func takeBackPiece() -> Bool {
        guard pieceCount > 0, loop.takeBack(sendID) else { return false }
        sendID = .none
        return true
    }

    private func removePiece(in buffers: SendBuffers) {
        buffers.release(piece)
        (pieceStart, pieceCount) = (nil, 0)
    }

    private func sendPiece(in buffers: SendBuffers) {
        let piece = piece
        if let sent = send(piece), sent < piece.count {
            keepInFront(UnsafeRawBufferPointer(rebasing: piece[sent...]))
        }
        removePiece(in: buffers)
        if queue != nil { submitSend() }
    }

    /// The send of the piece completed.
    @inline(__always)
    func pieceSent(_ result: CInt) {
        guard let buffers = loop.sendBuffers else { return }
        if result == pieceCount {
            removePiece(in: buffers)
            guard
                queue != nil
                    || !state.isDisjoint(
                        with: [.closing, .endRequested, .writingPaused, .sendingFile])
            else { return }
            allSent()
        } else {
            partSent(result, in: buffers)
        }
    }

    @inline(never)
    private func allSent() {
        guard !state.contains(.ending) else { return finishIfEnded() }
        if queue == nil { emptied() } else { flush() }
        tellMarks()
    }

    @inline(never)
    private func partSent(_ result: CInt, in buffers: SendBuffers) {
        let rest = UnsafeRawBufferPointer(rebasing: piece[max(0, Int(result))...])
        guard !state.contains(.ending), result >= 0 || result == -EAGAIN else {
            removePiece(in: buffers)
            if state.contains(.ending) { return finishIfEnded() }
            return fail(LoopError(errno: -result, operation: "send"))
        }
        keepInFront(rest)
        removePiece(in: buffers)
        submitSend()
        tellMarks()
    }

    private func keepInFront(_ bytes: UnsafeRawBufferPointer) {
        let later = queue
        queue = nil
        keep(bytes)
        while let later, later.count > 0 {
            let bytes = later.next()
            keep(bytes)
            later.consume(bytes.count)
        }
    }
}
