// SPDX-License-Identifier: Apache-2.0

import CGyre
import CGyreBench
import Glibc
import Gyre
import Synchronization

extension MicroCase {
    /// One way: from before the call on one CPU until the callback runs on the other, where the
    /// loop was blocked.
    ///
    /// Most of it is the wake-up of a core that sleeps, which differs from machine to machine and
    /// from minute to minute. So the same is done with a thread that blocks in a read of an
    /// eventfd, and one that blocks in epoll_wait on one, in turns. The ratio is to the former, the
    /// faster.
    static let threadWake = MicroCase(
        name: "thread_wake", about: "wake a blocked loop from another thread, one way"
    ) { policy in
        let cpus = System.pair
        guard cpus.server != cpus.load else {
            throw BenchError("needs two CPUs, and this process may use one")
        }
        bench_pin_thread(CInt(cpus.server))
        let stamp = Stamp()
        let loop = try LoopThread(policy, cpu: cpus.load)
        let reader = try RawSleeper(.read, cpu: cpus.load, stamp: stamp)
        let poller = try RawSleeper(.epoll, cpu: cpus.load, stamp: stamp)
        let (rounds, wakes) = (25, 200)
        func medianWake(_ wake: () throws -> Void) throws -> Double {
            let times = try (0..<wakes).map { _ in try stamp.measure(wake) }
            return Sample(times)?.median ?? 0
        }
        let before = try loop.statistics()
        var (gyre, read, epoll): ([Double], [Double], [Double]) = ([], [], [])
        for _ in 0..<rounds {
            read.append(try medianWake { reader.wake() })
            gyre.append(
                try medianWake { try loop.handle.callSoonThreadSafe { _ in stamp.set() } })
            epoll.append(try medianWake { poller.wake() })
        }
        if let before, let after = try loop.statistics(),
            after.wakeUpsSent - before.wakeUpsSent < UInt64(rounds * wakes)
        {
            throw BenchError("the loop was not asleep each time it was to be woken")
        }
        reader.stop()
        poller.stop()
        try loop.stop()
        return [
            try MicroResult("thread_wake", unit: "us", gyre),
            try MicroResult("thread_wake_eventfd_read", unit: "us", read),
            try MicroResult("thread_wake_eventfd_epoll", unit: "us", epoll),
            try MicroResult(
                "thread_wake_ratio", unit: "times", zip(gyre, read).map { $0 / $1 }),
            try MicroResult(
                "thread_wake_ratio_epoll", unit: "times", zip(gyre, epoll).map { $0 / $1 }),
        ]
    }
}

/// The moment at which a woken thread ran.
private final class Stamp: Sendable {
    private let nanoseconds = Atomic<Int64>(0)

    func set() { nanoseconds.store(Stamp.now, ordering: .releasing) }

    /// Waits until every other thread sleeps, calls `wake`, and returns the microseconds until
    /// ``set()`` was called.
    func measure(_ wake: () throws -> Void) throws -> Double {
        try OtherThreads.awaitAsleep()
        nanoseconds.store(0, ordering: .relaxed)
        let start = Stamp.now
        try wake()
        let deadline = start + 10_000_000_000
        while true {
            let end = nanoseconds.load(ordering: .acquiring)
            if end != 0 { return Double(end - start) / 1000 }
            guard Stamp.now < deadline else { throw BenchError("a wake-up was lost") }
        }
    }

    private static var now: Int64 { Int64(System.monotonicSeconds * 1e9) }
}

/// A thread that sleeps on an eventfd without any loop.
private final class RawSleeper {
    enum Way {
        case read
        case epoll
    }

    private let gate: Gate
    private let isOver = Flag()
    private let thread: BenchThread

    init(_ way: Way, cpu: Int, stamp: Stamp) throws {
        let gate = try Gate()
        let isOver = isOver
        self.gate = gate
        thread = try BenchThread(cpu: cpu) {
            let poller = epoll_create1(CInt(EPOLL_CLOEXEC))
            var event = epoll_event()
            event.events = EPOLLIN.rawValue | EPOLLET.rawValue
            epoll_ctl(poller, EPOLL_CTL_ADD, gate.descriptor, &event)
            while !isOver.value.load(ordering: .acquiring) {
                switch way {
                case .read: gate.pass()
                case .epoll: epoll_wait(poller, &event, 1, -1)
                }
                stamp.set()
            }
            close(poller)
        }
    }

    func wake() { gate.open() }

    func stop() {
        isOver.value.store(true, ordering: .releasing)
        gate.open()
        thread.join()
    }

    private final class Flag: Sendable {
        let value = Atomic(false)
    }
}

/// The other threads of this process.
private enum OtherThreads {
    /// Returns once the kernel says of each that it sleeps.
    static func awaitAsleep() throws {
        let deadline = System.monotonicSeconds + 10
        while try !areAsleep() {
            guard System.monotonicSeconds < deadline else {
                throw BenchError("the threads of the process do not come to rest")
            }
        }
        // A core that has just become idle is woken faster than one that rests.
        let rested = System.monotonicSeconds + 20e-6
        while System.monotonicSeconds < rested {}
    }

    private static func areAsleep() throws -> Bool {
        let own = "\(bench_thread_id())"
        guard let folder = opendir("/proc/self/task") else { throw BenchError("no /proc") }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let thread = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard thread != own, Int(thread) != nil,
                let stat = System.readFile("/proc/self/task/\(thread)/stat"),
                let end = stat.lastIndex(of: ")")
            else { continue }
            if stat[end...].dropFirst(2).first != "S" { return false }
        }
        return true
    }
}
