// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Two connected sockets, non-blocking, closed with the object.
public final class SocketPair {
    /// One end.
    public let near: CInt
    /// The other end; -1 after ``closeFar()``.
    public private(set) var far: CInt

    /// Makes a pair.
    ///
    /// Traps when there are no descriptors left.
    public init() {
        var ends: [CInt] = [-1, -1]
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        precondition(socketpair(AF_UNIX, kind, 0, &ends) == 0, "no descriptors left")
        near = ends[0]
        far = ends[1]
    }

    deinit {
        close(near)
        closeFar()
    }

    /// Closes the far end: the near one sees an end of file.
    public func closeFar() {
        guard far >= 0 else { return }
        close(far)
        far = -1
    }

    /// Sends `count` bytes from the far end to the near one, as many as fit.
    ///
    /// Returns how many.
    @discardableResult
    public func sendToNear(_ count: Int = 1) -> Int {
        let bytes = [UInt8](repeating: 0x5A, count: count)
        return send(far, bytes, count, CInt(MSG_NOSIGNAL))
    }

    /// Takes what the near end holds, up to `count` bytes.
    ///
    /// Returns how many: 0 is the end of file,
    /// -1 is nothing there.
    @discardableResult
    public func receiveAtNear(_ count: Int = 4096) -> Int {
        var bytes = [UInt8](repeating: 0, count: count)
        return recv(near, &bytes, count, 0)
    }

    /// Fills the near end's send buffer until it is not writable any more.
    public func fillNear() {
        let bytes = [UInt8](repeating: 0, count: 64 << 10)
        while send(near, bytes, bytes.count, CInt(MSG_NOSIGNAL)) > 0 {}
    }

    /// Takes everything that waits at the far end, so that the near one is writable again.
    public func drainFar() {
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        while recv(far, &bytes, bytes.count, 0) > 0 {}
    }
}
