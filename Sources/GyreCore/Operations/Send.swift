// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

// Sending what the socket had no room for: completes once, with the number of bytes taken, which
// may be fewer than given. Submit it only after a direct send found the socket full: a readiness
// backend waits for room before it tries. A backend that batches sends also takes immediate ones,
// which wait for no room.

extension Loop {
    // SAFETY: the bytes stay where they are and unchanged until the completion, since `target` owns
    // them and the operation table holds `target` so long.
    /// Starts to send `bytes`, which `target` keeps in place and unchanged.
    package func submitSend(
        _ bytes: UnsafeRawBufferPointer, on fd: CInt, target: any OperationTarget
    ) -> OperationID {
        submit(
            Operation(
                kind: .send, fd: fd, direction: .write,
                pointer: bytes.baseAddress, count: bytes.count),
            target: target)
    }

    /// Sends as much of `bytes` as the socket has room for when the loop waits next; completes with
    /// `-EAGAIN` when it has none.
    ///
    /// Only where ``sendBuffers`` are.
    package func submitImmediateSend(
        _ bytes: UnsafeRawBufferPointer, on fd: CInt, target: any OperationTarget
    ) -> OperationID {
        submit(
            Operation(
                kind: .send, fd: fd, direction: .write,
                pointer: bytes.baseAddress, count: bytes.count, isImmediate: true),
            target: target)
    }
}

extension Operation {
    package func attemptSend() -> Attempt {
        let flags = CInt(MSG_DONTWAIT | MSG_NOSIGNAL)
        return attempting { send(fd, pointer, count, flags) }
    }

    #if IOUring
    func encodeSend(_ id: OperationID, into ring: OpaquePointer) -> Bool {
        // Wait-all lets the kernel go on after a short send by itself.
        let wait = isImmediate ? MSG_DONTWAIT : MSG_WAITALL
        let flags = CInt(MSG_NOSIGNAL) | CInt(wait)
        return gyre_ring_send(ring, id.rawValue, fd, pointer, UInt64(count), flags)
    }
    #endif
}
