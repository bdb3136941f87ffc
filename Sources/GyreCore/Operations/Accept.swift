// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

// Accepting: completes for every connection, with its descriptor, until an error or a cancel.

extension Loop {
    package func submitAccept(on fd: CInt, target: any OperationTarget) -> OperationID {
        submit(Operation(kind: .accept, fd: fd, direction: .read), target: target)
    }
}

extension Operation {
    /// A connection that was gone again before it could be accepted is no error of the listener.
    package func attemptAccept(flags: CInt) -> Attempt {
        while true {
            let attempt = attempting { Int(gyre_accept(fd, flags)) }
            if case .finished(-ECONNABORTED) = attempt { continue }
            return attempt
        }
    }

    #if IOUring
    func encodeAccept(_ id: OperationID, flags: CInt, into ring: OpaquePointer) -> Bool {
        gyre_ring_accept(ring, id.rawValue, fd, flags)
    }
    #endif
}
