// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// One run of a soak: the servers, and the books of what both sides say.
final class SoakRun: SoakSide {
    /// What one connection has told so far.
    private struct Entry {
        var client: (sent: Int, received: Int)?
        var server: (sent: Int?, received: Int)?
    }

    private let file: TestFile
    private var servers: [LoopServer] = []
    private var entries: [UInt64: Entry] = [:]
    private var outcome = Soak.Outcome()
    private var memory = Soak.Memory()
    /// The side that connects: one of the two.
    var clients: SoakClients?
    var remote: SoakRemote?

    init(_ loop: Loop, seed: UInt64, connections: Int) throws {
        file = try TestFile(SoakPlan.fileSize)
        super.init(loop, SoakSettings(seed: seed, connections: connections))
        // Each address has ports of its own: those of closed connections stay taken for a minute.
        for last in 1...8 {
            servers.append(
                try loop.createServer(host: "127.0.0.\(last)", port: 0) { [unowned self] in
                    SoakServer(self)
                })
        }
    }

    var fileDescriptor: CInt { file.fd }

    var addresses: [SoakAddress] {
        servers.flatMap(\.addresses).map { SoakAddress(host: $0.host, port: $0.port) }
    }

    private var acceptedCount: Int { servers.reduce(0) { $0 + $1.connectionCount } }

    func run(_ kit: ConformanceKit, _ duration: Duration) throws -> Soak.Outcome {
        // They hold this.
        defer { (clients, remote) = (nil, nil) }
        loop.callLater(duration / 2) { [self] in memory.halfway = Soak.residentMemory() }
        loop.callLater(duration) { [self] in
            memory.atEnd = Soak.residentMemory()
            beginToEnd()
            awaitEnd()
        }
        clients?.acceptedCount = { [unowned self] in acceptedCount }
        loop.callSoon { [self] in clients?.fill() }
        try kit.run(loop)
        if let failure = failure ?? clients?.failure { throw ConformanceFailure(failure) }
        for (number, entry) in entries { try settle(number, entry) }
        for server in servers { server.close() }
        servers = []
        try kit.drain(loop)
        outcome.openMaximum = clients?.openMaximum ?? remote?.openMaximum ?? 0
        outcome.memory = [memory] + (remote.map { [$0.memory] } ?? [])
        return outcome
    }

    override func beginToEnd() {
        super.beginToEnd()
        clients?.beginToEnd()
        remote?.beginToEnd()
    }

    /// Every connection ends by itself.
    private func awaitEnd() {
        // Stalls that outlive their connections are timers, too.
        let isOver =
            (clients?.openCount ?? 0) == 0 && remote?.isOver != false && acceptedCount == 0
            && loop.statistics.timerCount == 0
        if isOver, loop.allTasks.isEmpty { return loop.stop() }
        loop.callLater(.milliseconds(20)) { [self] in awaitEnd() }
    }

    // MARK: The books

    func clientEnded(_ plan: SoakPlan, sent: Int, received: Int) {
        outcome.connections[plan.ending.rawValue, default: 0] += 1
        // The server may never know of it.
        guard plan.ending != .connectCancelled else { return }
        entries[plan.number, default: Entry()].client = (sent, received)
        settleIfDone(plan.number)
    }

    func serverEnded(_ plan: SoakPlan, sent: Int?, received: Int, _ error: (any Error)?) {
        if plan.isClean, let error { fail("a server of \(plan.ending) ended with \(error)") }
        guard plan.ending != .connectCancelled else { return }
        entries[plan.number, default: Entry()].server = (sent, received)
        settleIfDone(plan.number)
    }

    private func settleIfDone(_ number: UInt64) {
        guard let entry = entries[number], entry.client != nil, entry.server != nil else { return }
        do { try settle(number, entry) } catch { fail("\(error)") }
        entries[number] = nil
    }

    private func settle(_ number: UInt64, _ entry: Entry) throws {
        let plan = settings.plan(number)
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
