// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Many connections that open, talk, stall, end one direction, reset and are cancelled at random,
/// all at once, for a time.
///
/// In the end every byte is accounted for, no descriptor, timer, task or operation is left, and
/// memory is what it was when half of the time was over.
public enum Soak {
    /// The memory of a process in MiB, with all connections open.
    public struct Memory: Sendable, CustomStringConvertible {
        /// After half of the time.
        public internal(set) var halfway = 0
        /// At the end.
        public internal(set) var atEnd = 0

        /// Both in one line.
        public var description: String { "\(halfway) MiB half-way, \(atEnd) MiB at the end" }

        /// - Throws: A ``ConformanceFailure`` when it grew.
        func check(after duration: Duration) throws {
            // In seconds memory says nothing: allocators warm up, and sanitizers keep what is
            // freed.
            guard duration >= .seconds(30) else { return }
            // Buffers of the allocator, not more connections: those would be tens of MiB.
            let growth = atEnd - halfway
            try expect(growth <= max(16, halfway / 10), "memory grew by \(growth) MiB")
        }
    }

    /// What came of it.
    public struct Outcome: Sendable, CustomStringConvertible {
        /// How many connections were begun, by how they were to end.
        public internal(set) var connections: [String: Int] = [:]
        /// How many were open at once.
        public internal(set) var openMaximum = 0
        /// Bytes that were written.
        public internal(set) var written = 0
        /// Those of them that were received; the others went down with connections that were broken
        /// off.
        public internal(set) var received = 0
        /// The memory of the process, or of both.
        public internal(set) var memory: [Memory] = []

        /// All of it in one line.
        public var description: String {
            let all = connections.values.reduce(0, +)
            let kinds = connections.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
            return "\(all) connections, \(openMaximum) at once; "
                + "\(written) bytes written, \(received) received, "
                + "\(written - received) lost with broken connections; "
                + memory.map { "memory \($0); " }.joined() + kinds.joined(separator: ", ")
        }
    }

    /// Keeps `connections` open for `duration`, on a loop of `kit`.
    ///
    /// Both ends are this process's, or with `command` (a program and its arguments) those that
    /// connect are another's, which calls ``runClients(_:of:connections:duration:seed:)`` and whose
    /// arguments end with the addresses to connect to.
    ///
    /// The same `seed` gives the same connections, though the kernel lets them interleave
    /// differently.
    ///
    /// - Throws: A ``ConformanceFailure`` that says what was lost or left behind.
    public static func run(
        _ kit: ConformanceKit, connections: Int, duration: Duration, seed: UInt64,
        command: [String]? = nil
    ) throws -> Outcome {
        // What a client has left may still be to be accepted.
        raiseDescriptorLimit(to: (command == nil ? 3 : 2) * connections + 200)
        let loop = try kit.makeLoop()
        let outcome = try checkingLeaks(of: loop) {
            let run = try SoakRun(loop, seed: seed, connections: connections)
            if let command {
                run.remote = try SoakRemote(command, run)
            } else {
                run.clients = SoakClients(loop, run.settings, run.addresses, run.clientEnded)
            }
            return try run.run(kit.patient(for: duration), duration)
        }
        try loop.close()
        for memory in outcome.memory { try memory.check(after: duration) }
        return outcome
    }

    /// The end of a soak that connects, in a process of its own, which the other has started: see
    /// ``run(_:connections:duration:seed:command:)``.
    ///
    /// Tells on the standard output what becomes of the connections, until the standard input ends.
    public static func runClients(
        _ kit: ConformanceKit, of addresses: String, connections: Int, duration: Duration,
        seed: UInt64
    ) throws {
        raiseDescriptorLimit(to: connections + 200)
        let loop = try kit.makeLoop()
        let servers = try addresses.split(separator: ",").map(SoakAddress.init)
        try checkingLeaks(of: loop) {
            let settings = SoakSettings(seed: seed, connections: connections)
            let run = SoakReporter(loop, settings, servers)
            try run.run(kit.patient(for: duration), duration)
        }
        try loop.close()
    }

    /// Checks that `body` leaves nothing behind.
    private static func checkingLeaks<Result>(
        of loop: Loop, _ body: () throws -> Result
    ) throws -> Result {
        let before = OpenDescriptors()
        let result = try body()
        try expect(loop.statistics.operationCount, equals: 0, "operations are left")
        try expect(loop.statistics.timerCount, equals: 0, "timers are left")
        try expect(loop.allTasks.count, equals: 0, "tasks are left")
        // Threads that read files may not have ended yet, but they hold nothing.
        let leaked = OpenDescriptors().opened(since: before).filter { !$0.contains("pipe:") }
        try expect(leaked, equals: [], "descriptors are left")
        return result
    }

    /// As far as the process may.
    private static func raiseDescriptorLimit(to count: Int) {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        guard limit.rlim_cur < rlim_t(count) else { return }
        limit.rlim_cur = rlim_t(count)
        limit.rlim_max = max(limit.rlim_max, limit.rlim_cur)
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// The memory of the process that is in use, in MiB.
    static func residentMemory() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        guard fgets(&line, CInt(line.count), file) != nil else { return 0 }
        let bytes = line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let fields = String(decoding: bytes, as: UTF8.self).split(separator: " ")
        let pages = fields.count > 1 ? Int(fields[1]) ?? 0 : 0
        return (pages * sysconf(CInt(_SC_PAGESIZE))) >> 20
    }
}

extension ConformanceKit {
    /// The same for runs that take `duration`, and some time to end.
    fileprivate func patient(for duration: Duration) -> ConformanceKit {
        ConformanceKit(policy: policy, limit: duration + .seconds(300), makeLoop: makeLoop)
    }
}
