// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

// Receiving: completes for every piece that arrives, until the end of file (a result of 0, the
// last), an error, or a cancel. The bytes lie in memory of the loop and are lent for the call.

extension Loop {
    package func submitReceive(on fd: CInt, target: any OperationTarget) -> OperationID {
        submit(Operation(kind: .receive, fd: fd, direction: .read), target: target)
    }
}

extension Operation {
    // SAFETY: recv writes at most `scratch.count` bytes; what it wrote is lent on by the caller.
    @inline(__always)
    static func attemptReceive(
        on fd: CInt, into scratch: UnsafeMutableRawBufferPointer
    ) -> Attempt {
        attempting { recv(fd, scratch.baseAddress, scratch.count, CInt(MSG_DONTWAIT)) }
    }

    #if IOUring
    func encodeReceive(_ id: OperationID, into ring: OpaquePointer) -> Bool {
        gyre_ring_receive(ring, id.rawValue, fd)
    }
    #endif
}
