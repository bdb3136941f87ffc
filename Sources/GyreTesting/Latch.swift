// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import Synchronization

/// Holds threads up until another opens it.
///
/// Waiting is always bounded.
///
/// - Important: Usable from any thread.
public final class Latch: Sendable {
    private let reader: CInt
    private let writer: CInt
    private let isReusable: Bool
    /// Orders what was done before the opening before what is done behind it.
    private let wasOpened = Atomic(false)

    /// Makes a closed latch.
    ///
    /// A reusable one closes again behind each wait that it let through.
    public init(isReusable: Bool = false) {
        var ends: [CInt] = [-1, -1]
        precondition(pipe(&ends) == 0, "no descriptors left for a latch")
        reader = ends[0]
        writer = ends[1]
        self.isReusable = isReusable
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
    }

    deinit {
        close(reader)
        close(writer)
    }

    /// Lets the waiting threads through.
    public func open() {
        wasOpened.store(true, ordering: .releasing)
        var byte: UInt8 = 1
        // A full pipe is an open latch already.
        while write(writer, &byte, 1) < 0, errno == EINTR {}
    }

    /// Waits until it is open.
    ///
    /// False when `duration` passed before.
    public func wait(for duration: Duration = .seconds(20)) -> Bool {
        let deadline = LoopClock.monotonic.now.advanced(by: duration)
        while true {
            let left = LoopClock.monotonic.now.duration(to: deadline).nanosecondsRoundedUp
            var entry = pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
            let milliseconds = max(0, min(left / 1_000_000 + 1, 1_000_000))
            if poll(&entry, 1, left > 0 ? CInt(milliseconds) : 0) > 0 { break }
            if left <= 0 { return false }
        }
        precondition(wasOpened.load(ordering: .acquiring), "the latch let a thread through")
        if isReusable {
            var bytes = [UInt8](repeating: 0, count: 4096)
            while read(reader, &bytes, bytes.count) > 0 {}
        }
        return true
    }
}
