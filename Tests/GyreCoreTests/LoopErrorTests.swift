// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import GyreCore

@Suite("LoopError")
struct LoopErrorTests {
    @Test(
        "Error numbers of the kernel have their codes",
        arguments: [
            (EADDRINUSE, LoopError.Code.addressInUse), (EADDRNOTAVAIL, .addressNotAvailable),
            (ECONNREFUSED, .connectionRefused), (ECONNRESET, .connectionReset),
            (ECONNABORTED, .connectionAborted), (EPIPE, .brokenPipe), (ESHUTDOWN, .brokenPipe),
            (EHOSTUNREACH, .unreachable), (ENETUNREACH, .unreachable), (ENOTCONN, .notConnected),
            (ETIMEDOUT, .timedOut), (ECANCELED, .cancelled), (EMFILE, .noDescriptors),
            (ENFILE, .noDescriptors), (ENOMEM, .noMemory), (ENOBUFS, .noMemory),
            (EPERM, .notPermitted), (EACCES, .notPermitted), (ENOSYS, .notSupported),
            (EAFNOSUPPORT, .notSupported), (EINVAL, .invalidArgument), (EBUSY, .inUse),
            (EIO, .system), (EXDEV, .system), (9999, .system), (0, .system),
        ])
    func codes(_ number: CInt, _ code: LoopError.Code) {
        let error = LoopError(errno: number, operation: "test")
        #expect(error.code == code)
        #expect(error.errno == number)
    }

    @Test("The description is one line with everything that is known")
    func description() {
        let error = LoopError(errno: ECONNREFUSED, operation: "connect", detail: "127.0.0.1:1")
        #expect(
            error.description
                == "connect: connectionRefused (Connection refused, errno 111): 127.0.0.1:1")
        #expect(LoopError(.closed, operation: "run").description == "run: closed")
    }

    @Test("Errors are equal when everything about them is")
    func equality() {
        let error = LoopError(errno: EPIPE, operation: "send")
        #expect(error == LoopError(errno: EPIPE, operation: "send"))
        #expect(error != LoopError(errno: EPIPE, operation: "receive"))
        #expect(error != LoopError(errno: ESHUTDOWN, operation: "send"))
        #expect(error != LoopError(errno: EPIPE, operation: "send", detail: "x"))
    }
}
