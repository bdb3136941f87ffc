// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

/// An eventfd that wakes a loop.
///
/// It is watched for edges and never read: every write is an edge, also when the counter was not
/// zero before, so a wake-up costs the loop no read.
final class EventDescriptor: LoopWaker {
    let fd: CInt

    init() throws(LoopError) {
        fd = eventfd(0, CInt(EFD_CLOEXEC | EFD_NONBLOCK))
        guard fd >= 0 else { throw LoopError(errno: errno, operation: "eventfd") }
    }

    deinit { close(fd) }

    func wake() {
        // The counter cannot overflow in any lifetime (2^64), so the only failure is an
        // interruption, which comes before anything is written.
        while eventfd_write(fd, 1) != 0, errno == EINTR {}
    }
}
