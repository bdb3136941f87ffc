// SPDX-License-Identifier: Apache-2.0

import Glibc

// The one table from the kernel's error numbers to codes.

extension LoopError {
    /// The error of a system call that failed with `errno`.
    package init(errno number: CInt, operation: String, detail: String? = nil) {
        self.init(Code(errno: number), operation: operation, errno: number, detail: detail)
    }
}

extension LoopError.Code {
    init(errno number: CInt) {
        self =
            switch number {
            case EADDRINUSE: .addressInUse
            case EADDRNOTAVAIL: .addressNotAvailable
            case ECONNREFUSED: .connectionRefused
            case ECONNRESET: .connectionReset
            case ECONNABORTED: .connectionAborted
            case EPIPE, ESHUTDOWN: .brokenPipe
            case EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN: .unreachable
            case ENOTCONN: .notConnected
            case ETIMEDOUT, ETIME: .timedOut
            case ECANCELED: .cancelled
            case EMFILE, ENFILE: .noDescriptors
            case ENOMEM, ENOBUFS: .noMemory
            case EPERM, EACCES: .notPermitted
            case ENOENT: .notFound
            case ESRCH: .noSuchProcess
            case ENOSYS, EOPNOTSUPP, EAFNOSUPPORT, EPROTONOSUPPORT: .notSupported
            case EINVAL: .invalidArgument
            case EBUSY: .inUse
            default: .system
            }
    }
}

extension LoopError: CustomStringConvertible {
    /// One line: the operation, the code, the kernel's text and the detail.
    public var description: String {
        var text = "\(operation): \(code)"
        if let errno { text += " (\(LoopError.text(errno: errno)))" }
        if let detail { text += ": \(detail)" }
        return text
    }

    static func text(errno number: CInt) -> String {
        guard let text = strerror(number) else { return "errno \(number)" }
        return "\(String(cString: text)), errno \(number)"
    }
}
