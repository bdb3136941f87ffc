// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

// Waiting for a descriptor of the user's: completes once in every iteration in which it is ready,
// for as long as it is, until an error or a cancel. Who reads or writes is the user, so the loop
// cannot know when the descriptor is drained; hence the level, not the edge.

extension Loop {
    package func submitPoll(
        _ direction: Operation.Direction, on fd: CInt, target: any OperationTarget
    ) -> OperationID {
        submit(Operation(kind: .poll, fd: fd, direction: direction), target: target)
    }
}

#if IOUring
extension Operation {
    /// A one-shot poll, armed anew after each completion: the kernel's multishot poll reports
    /// edges.
    func encodePoll(_ id: OperationID, into ring: OpaquePointer) -> Bool {
        let events = direction == .read ? POLLIN | CInt(GYRE_POLLRDHUP) : POLLOUT
        return gyre_ring_poll(ring, id.rawValue, fd, UInt32(events), false)
    }
}
#endif
