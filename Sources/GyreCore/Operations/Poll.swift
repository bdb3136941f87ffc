// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

// Waiting for a descriptor that others read or write: completes once in every iteration in which it
// is ready, for as long as it is, until an error or a cancel; or only the first time, when that is
// asked for. The loop cannot know when the descriptor is drained; hence the level, not the edge.

extension Loop {
    /// Starts to wait for `fd`; `once` ends the operation with its first completion.
    package func submitPoll(
        _ direction: Operation.Direction, on fd: CInt, once: Bool = false,
        target: any OperationTarget
    ) -> OperationID {
        submit(Operation(kind: .poll, fd: fd, direction: direction, isOnce: once), target: target)
    }
}

#if IOUring
extension Operation {
    /// A one-shot poll, armed anew after each completion unless one is enough: the kernel's
    /// multishot poll reports edges.
    func encodePoll(_ id: OperationID, into ring: OpaquePointer) -> Bool {
        let events = direction == .read ? POLLIN | CInt(GYRE_POLLRDHUP) : POLLOUT
        return gyre_ring_poll(ring, id.rawValue, fd, UInt32(events), false)
    }
}
#endif
