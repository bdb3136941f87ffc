// SPDX-License-Identifier: Apache-2.0

import GyreCore

// The protocol object of a transport: another one at run time, and one with buffers of its own.

extension LoopTransport {
    /// Serves the connection with another protocol object from now on.
    ///
    /// What arrives is delivered to `new`, beginning with the call after this one; from inside
    /// `bufferUpdated`, with what is left of the piece. It is not told that the connection was
    /// made, or of an end of file that was delivered before; but when writing is paused it is told
    /// so, inside the call. Does nothing when the connection is gone.
    public func setProtocol(_ new: any LoopStreamProtocol) {
        loop.checkThread("setProtocol", instead: "handle.callSoonThreadSafe")
        guard proto != nil else { return }
        proto = new
        noteKind(of: new)
        guard state.contains(.writingPaused) else { return }
        loop.measure("pauseWriting") { new.pauseWriting() }
    }

    func noteKind(of proto: any LoopStreamProtocol) {
        buffered = proto as? any LoopBufferedProtocol
        if buffered == nil { state.remove(.lendsBuffer) } else { state.insert(.lendsBuffer) }
    }

    /// Bytes arrived that do not simply go to a stream protocol.
    @inline(never)
    func receivedAside(_ bytes: UnsafeRawBufferPointer) {
        if state.isDisjoint(with: [.readingPaused, .sendingFile]), held.isEmpty {
            deliverPieces(bytes)
        } else {
            held.append(contentsOf: bytes)
        }
    }

    // SAFETY: the bytes are lent for this call, and copied in it.
    /// Delivers `bytes` to whatever protocol there is, which may change and pause meanwhile.
    func deliverPieces(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        while rest.count > 0, let buffered, !state.contains(.closing) {
            guard state.isDisjoint(with: [.readingPaused, .sendingFile]) else {
                return held.append(contentsOf: rest)
            }
            var taken = 0
            call("bufferUpdated") { taken = try buffered.take(rest) }
            // What it throws ends the connection.
            guard taken > 0 else { return }
            rest = UnsafeRawBufferPointer(rebasing: rest[taken...])
        }
        guard rest.count > 0, !state.contains(.closing) else { return }
        if state.isDisjoint(with: [.readingPaused, .sendingFile]) {
            deliver(rest)
        } else {
            held.append(contentsOf: rest)
        }
    }
}

extension LoopTransport {
    /// Whether ``writeEOF()`` can end one direction: for all but the reading end of a pipe.
    public var canWriteEOF: Bool { kind != .readPipe }
}
