// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

// Connecting: completes once, with 0 or an error.

extension Loop {
    // SAFETY: the address stays where it is until the completion, since `target` owns it and the
    // operation table holds `target` so long.
    /// Starts to connect `fd` to a socket address, which `target` keeps in place.
    package func submitConnect(
        to address: UnsafeRawBufferPointer, on fd: CInt, target: any OperationTarget
    ) -> OperationID {
        submit(
            Operation(
                kind: .connect, fd: fd, direction: .write,
                pointer: address.baseAddress, count: address.count),
            target: target)
    }
}

extension Operation {
    /// The first attempt starts the connection; the next one, when the socket became writable, asks
    /// how it ended.
    package func attemptConnect() -> Attempt {
        guard !isUnderWay else { return .finished(-pendingError()) }
        let address = pointer?.assumingMemoryBound(to: sockaddr.self)
        // An interrupted connect goes on in the kernel; asking again would say EALREADY.
        guard connect(fd, address, socklen_t(count)) != 0 else { return .finished(0) }
        switch errno {
        case EINPROGRESS, EINTR: return .wouldBlock
        case let number: return .finished(-number)
        }
    }

    private func pendingError() -> CInt {
        var error: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        guard getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 else { return errno }
        return error
    }

    #if IOUring
    func encodeConnect(_ id: OperationID, into ring: OpaquePointer) -> Bool {
        gyre_ring_connect(ring, id.rawValue, fd, pointer, UInt32(count))
    }
    #endif
}
