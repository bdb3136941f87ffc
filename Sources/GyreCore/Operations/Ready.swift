// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

// Waiting once until a system call of the caller's can go on: completes with 0 or more, or an
// error. For calls that have no operation of their own, on a descriptor whose other operations are
// none of polling. Submit it only after the call found that it would block, in the same turn: a
// readiness backend waits for what becomes ready from then on. It may complete too early, so the
// call has to be tried again.

extension Loop {
    package func submitReady(
        _ direction: Operation.Direction, on fd: CInt, target: any OperationTarget
    ) -> OperationID {
        submit(Operation(kind: .ready, fd: fd, direction: direction), target: target)
    }
}

#if IOUring
extension Operation {
    func encodeReady(_ id: OperationID, into ring: OpaquePointer) -> Bool {
        let events = direction == .read ? POLLIN | CInt(GYRE_POLLRDHUP) : POLLOUT
        return gyre_ring_poll(ring, id.rawValue, fd, UInt32(events), false)
    }
}
#endif
