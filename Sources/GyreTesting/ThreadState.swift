// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore

/// What the kernel says of one thread: whether it blocks, and the processor time it used.
public struct ThreadState: Sendable {
    private let path: String

    /// The calling thread.
    public static var current: ThreadState {
        ThreadState(path: "/proc/" + linkTarget("/proc/thread-self"))
    }

    /// Whether it sleeps in a system call at this moment.
    public var isBlocked: Bool {
        // The name, in brackets, may hold anything; the state is the first field behind it.
        guard let text = read("stat"), let bracket = text.lastIndex(of: ")") else { return false }
        return text[bracket...].dropFirst(2).first == "S"
    }

    /// Looks at it until it blocks.
    ///
    /// The processor is left to others in between.
    ///
    /// - Throws: A ``ConformanceFailure`` when it has not blocked after `limit`.
    public func waitUntilBlocked(within limit: Duration = .seconds(20)) throws {
        try wait(within: limit) { isBlocked }
    }

    /// Looks at it until it blocks in the wait of `loop`, and not in a lock or the allocator.
    ///
    /// - Throws: A ``ConformanceFailure`` when it has not blocked after `limit`.
    public func waitUntilAsleep(
        in loop: LoopHandle, within limit: Duration = .seconds(20)
    ) throws {
        try wait(within: limit) { loop.isLoopAsleep && isBlocked }
    }

    private func wait(within limit: Duration, _ isReached: () -> Bool) throws {
        let deadline = LoopClock.monotonic.now.advanced(by: limit)
        while !isReached() {
            try expect(LoopClock.monotonic.now < deadline, "the thread does not block")
            sched_yield()
        }
    }

    /// The processor time it used so far.
    public var processorTime: Duration {
        let fields = read("schedstat")?.split(separator: " ")
        return .nanoseconds(fields?.first.flatMap { Int64($0) } ?? 0)
    }

    private func read(_ name: String) -> String? {
        let fd = open("\(path)/\(name)", O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return nil }
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = Glibc.read(fd, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes.prefix(count), as: UTF8.self) : nil
    }
}
