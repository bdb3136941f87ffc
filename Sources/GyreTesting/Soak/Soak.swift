// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Many connections that open, talk, stall, end one direction, reset and are cancelled at random,
/// all at once, for a time.
///
/// In the end every byte is accounted for, no descriptor, timer, task or operation is left, and
/// memory is what it was when all connections were open for the first time.
public enum Soak {
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
        /// The memory of the process in MiB after half of the time.
        public internal(set) var memoryHalfway = 0
        /// The same at the end, with all connections still open.
        public internal(set) var memoryAtEnd = 0

        /// All of it in one line.
        public var description: String {
            let all = connections.values.reduce(0, +)
            let kinds = connections.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
            return "\(all) connections, \(openMaximum) at once; "
                + "\(written) bytes written, \(received) received, "
                + "\(written - received) lost with broken connections; "
                + "memory \(memoryHalfway) MiB half-way, \(memoryAtEnd) MiB at the end; "
                + kinds.joined(separator: ", ")
        }
    }

    /// Keeps `connections` open for `duration`, on a loop of `kit`.
    ///
    /// The same `seed` gives the same connections, though the kernel lets them interleave
    /// differently.
    ///
    /// - Throws: A ``ConformanceFailure`` that says what was lost or left behind.
    public static func run(
        _ kit: ConformanceKit, connections: Int, duration: Duration, seed: UInt64
    ) throws -> Outcome {
        raiseDescriptorLimit(to: 2 * connections + 200)
        let loop = try kit.makeLoop()
        let before = OpenDescriptors()
        let outcome: Outcome
        do {
            let run = try SoakRun(loop, connections: connections, duration: duration, seed: seed)
            outcome = try run.run(kit, duration)
        }
        try expect(loop.statistics.operationCount, equals: 0, "operations are left")
        try expect(loop.statistics.timerCount, equals: 0, "timers are left")
        try expect(loop.allTasks.count, equals: 0, "tasks are left")
        // Threads that read files may not have ended yet, but they hold nothing.
        let leaked = OpenDescriptors().opened(since: before).filter { !$0.contains("pipe:") }
        try expect(leaked, equals: [], "descriptors are left")
        try loop.close()
        // In seconds memory says nothing: allocators warm up, and sanitizers keep what is freed.
        guard duration >= .seconds(30) else { return outcome }
        // Buffers of the allocator, not more connections: those would be tens of MiB.
        let growth = outcome.memoryAtEnd - outcome.memoryHalfway
        try expect(
            growth <= max(16, outcome.memoryHalfway / 10), "memory grew by \(growth) MiB")
        return outcome
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

/// One run: the loop, its servers, and the books.
final class SoakRun {
    /// What one connection has told so far.
    private struct Entry {
        var client: (sent: Int, received: Int)?
        var server: (sent: Int?, received: Int)?
    }

    let loop: Loop
    let file: CInt
    private let connections: Int
    private let seed: UInt64
    /// The longest pause: such that a few hundred connections a second come and go.
    private let pauseMaximum: Duration
    private var servers: [LoopServer] = []
    private var number: UInt64 = 0
    private var open = 0
    private var isEnding = false
    private var isFilling = false
    private var entries: [UInt64: Entry] = [:]
    private var failure: String?
    private var outcome = Soak.Outcome()

    init(_ loop: Loop, connections: Int, duration: Duration, seed: UInt64) throws {
        self.loop = loop
        self.connections = connections
        self.seed = seed
        pauseMaximum = .milliseconds(max(2, 2 * connections))
        let name = "/tmp/gyre-soak-\(getpid())-\(seed)"
        file = Glibc.open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        try expect(file >= 0, "no temporary file: errno \(errno)")
        unlink(name)
        let bytes = pattern(SoakPlan.fileSize)
        try expect(write(file, bytes, bytes.count), equals: bytes.count, "writing the file")
        // Each address has ports of its own: those of closed connections stay taken for a minute.
        for last in 1...8 {
            servers.append(
                try loop.createServer(host: "127.0.0.\(last)", port: 0) { [unowned self] in
                    SoakServer(self)
                })
        }
    }

    deinit { close(file) }

    func run(_ kit: ConformanceKit, _ duration: Duration) throws -> Soak.Outcome {
        let patient = ConformanceKit(
            policy: kit.policy, limit: duration + .seconds(300), makeLoop: kit.makeLoop)
        loop.callLater(duration / 2) { [self] in
            outcome.memoryHalfway = Soak.residentMemory()
        }
        loop.callLater(duration) { [self] in
            isEnding = true
            outcome.memoryAtEnd = Soak.residentMemory()
            awaitEnd()
        }
        loop.callSoon { [self] in fill() }
        try patient.run(loop)
        if let failure { throw ConformanceFailure(failure) }
        for (number, entry) in entries { try settle(number, entry) }
        for server in servers { server.close() }
        servers = []
        try kit.drain(loop)
        return outcome
    }

    private var accepted: Int { servers.reduce(0) { $0 + $1.connectionCount } }

    /// Every connection ends by itself.
    private func awaitEnd() {
        // Stalls that outlive their connections are timers, too.
        let isOver = open == 0 && accepted == 0 && loop.statistics.timerCount == 0
        if isOver, loop.allTasks.isEmpty { return loop.stop() }
        loop.callLater(.milliseconds(20)) { [self] in awaitEnd() }
    }

    func fail(_ message: String) {
        failure = failure ?? message
        loop.stop()
    }

    // MARK: Connections

    func plan(_ number: UInt64) -> SoakPlan { SoakPlan(number: number, seed: seed) }

    /// A random time; often none, and none at all in the end, when what is left is brought to it.
    func pause(_ random: inout SeededRandom) -> Duration {
        guard random.next(below: 3) > 0, !isEnding else { return .zero }
        return pauseMaximum * Double(random.next(below: 1000)) / 1000
    }

    private func fill() {
        isFilling = false
        guard !isEnding else { return }
        // No more at once than the servers' backlog holds, nor while they still hold what the
        // clients have left: the descriptors are counted.
        let room = min(connections - open, 2 * connections - open - accepted)
        for _ in 0..<max(0, min(64, room)) { start() }
        outcome.openMaximum = max(outcome.openMaximum, open)
        fillLater()
    }

    private func fillLater() {
        guard !isFilling, open < connections else { return }
        isFilling = true
        loop.callLater(.milliseconds(1)) { [self] in fill() }
    }

    private func start() {
        number += 1
        open += 1
        let plan = plan(number)
        outcome.connections[plan.ending.rawValue, default: 0] += 1
        entries[number] = Entry()
        let server = servers[Int(number % UInt64(servers.count))].addresses[0]
        switch plan.ending {
        case .taskEnds, .taskCancelled: startTask(plan, server)
        default: startClient(plan, server)
        }
    }

    private func startClient(_ plan: SoakPlan, _ server: LoopAddress) {
        let client = SoakClient(self, plan)
        let connecting = loop.createConnection(
            host: server.host, port: server.port, makeProtocol: { client },
            completion: { [self] outcome in
                guard case .failure(let error) = outcome else { return }
                if plan.ending == .connectCancelled, error.code == .cancelled {
                    clientEnded(plan, sent: 0, received: 0, nil)
                } else {
                    fail("connection \(plan.number) was not made: \(error)")
                }
            })
        guard plan.ending == .connectCancelled else { return }
        var random = plan.clientRandom
        loop.callLater(.microseconds(random.next(below: 3000))) {
            connecting.cancel()
            client.transport?.abort()
        }
    }

    private func startTask(_ plan: SoakPlan, _ server: LoopAddress) {
        let run = LoopBound(self, on: loop.handle)
        let (host, port) = (server.host, server.port)
        // Begun at once, so that it tells how it ended however early it is cancelled.
        let task = loop.createTask(eager: true) {
            await SoakTask(run.object, plan).talk(host, port)
        }
        if plan.ending == .taskCancelled {
            var random = plan.clientRandom
            loop.callLater(pauseMaximum * Double(random.next(below: 2000)) / 1000) {
                task.cancel("the soak")
            }
        }
    }

    // MARK: The books

    func clientEnded(_ plan: SoakPlan, sent: Int, received: Int, _ error: (any Error)?) {
        if plan.isClean, let error { fail("a client of \(plan.ending) ended with \(error)") }
        open -= 1
        if plan.ending == .connectCancelled {
            // The server may never know of it.
            entries[plan.number] = nil
        } else {
            entries[plan.number]?.client = (sent, received)
            settleIfDone(plan.number)
        }
        fillLater()
    }

    func serverEnded(_ plan: SoakPlan, sent: Int?, received: Int, _ error: (any Error)?) {
        if plan.isClean, let error { fail("a server of \(plan.ending) ended with \(error)") }
        entries[plan.number]?.server = (sent, received)
        settleIfDone(plan.number)
    }

    private func settleIfDone(_ number: UInt64) {
        guard let entry = entries[number], entry.client != nil, entry.server != nil else { return }
        do { try settle(number, entry) } catch { fail("\(error)") }
        entries[number] = nil
    }

    private func settle(_ number: UInt64, _ entry: Entry) throws {
        let plan = plan(number)
        guard let client = entry.client else {
            throw ConformanceFailure("the client of \(plan) never ended")
        }
        let server = entry.server ?? (sent: 0, received: 0)
        // A file that was cut off has sent at least what came.
        let sentBack = server.sent ?? client.received
        outcome.written += client.sent + sentBack
        outcome.received += server.received + client.received
        if plan.isClean {
            let whole =
                plan.upload == client.sent && plan.upload == server.received
                && plan.download == server.sent && plan.download == client.received
            try expect(whole, "bytes are missing of \(plan): \(entry)")
        } else {
            let fits = server.received <= client.sent && client.received <= sentBack
            try expect(fits, "bytes came that nobody sent, of \(plan): \(entry)")
        }
    }
}
