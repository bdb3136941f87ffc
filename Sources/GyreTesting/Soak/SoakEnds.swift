// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreNet

/// What both ends of a connection of a soak have in common: they send a number of bytes of the
/// pattern, with pauses, stall at times, and check what they receive.
class SoakEnd: LoopStreamProtocol {
    let side: SoakSide
    private(set) var transport: LoopTransport?
    var random = SeededRandom(seed: 0)
    /// How many bytes of the pattern are to be sent, from where on, and how many were.
    var toSend = 0
    var sendSeed = 0
    private(set) var sent = 0
    /// How many came, of how many at most, and where they begin.
    var toReceive = Int.max
    var receiveSeed = 0
    private(set) var received = 0
    /// Called when `sent` comes to it, in place of going on.
    var breakAt: Int?
    private var isPaused = false
    private var isStepDue = false
    private var timer: LoopTimer?

    init(_ side: SoakSide) { self.side = side }

    func connectionMade(_ transport: LoopTransport) throws { self.transport = transport }

    // MARK: Sending

    /// Goes on after a random time, which may be none.
    func stepLater() {
        timer?.cancel()
        timer = side.loop.callLater(side.pause(&random)) { [weak self] in try self?.step() }
    }

    private func step() throws {
        guard let transport, !transport.isClosing else { return }
        guard !isPaused else {
            isStepDue = true
            return
        }
        if random.next(below: 6) == 0 { stall(transport) }
        let limit = breakAt ?? toSend
        guard sent < limit else { return try breakAt == nil ? finished() : breakOff(transport) }
        let count = min(limit - sent, 1 + random.next(below: 8000))
        try transport.write(pattern(count, seed: sendSeed + sent))
        sent += count
        stepLater()
    }

    private func stall(_ transport: LoopTransport) {
        transport.pauseReading()
        side.loop.callLater(side.pause(&random)) { transport.resumeReading() }
    }

    func breakOff(_ transport: LoopTransport) { transport.abort() }

    /// Everything was sent.
    func finished() throws {}

    /// `count` bytes were sent without ``stepLater()``.
    func noteSent(_ count: Int) { sent += count }

    func pauseWriting() { isPaused = true }

    func resumeWriting() {
        isPaused = false
        if isStepDue { stepLater() }
        isStepDue = false
    }

    // MARK: Receiving

    func dataReceived(_ data: RawSpan) throws {
        // SAFETY: the bytes are copied before the borrow ends.
        try check(data.withUnsafeBytes { Array($0) })
    }

    func check(_ bytes: [UInt8]) throws {
        try expectPattern(bytes, count: bytes.count, seed: receiveSeed + received)
        received += bytes.count
        try expect(received <= toReceive, "\(received) bytes came of \(toReceive)")
    }

    func endOfFileReceived() throws -> Bool { false }

    func connectionLost(_ error: (any Error)?) {
        timer?.cancel()
        timer = nil
        transport = nil
        isPaused = false
    }
}

/// The end that connects.
final class SoakClient: SoakEnd {
    let plan: SoakPlan
    private let clients: SoakClients

    init(_ clients: SoakClients, _ plan: SoakPlan) {
        self.plan = plan
        self.clients = clients
        super.init(clients)
        random = plan.clientRandom
        toSend = plan.upload
        sendSeed = plan.uploadSeed
        toReceive = plan.download
        receiveSeed = plan.fileOffset
        if [.clientAborts, .clientResets].contains(plan.ending) { breakAt = plan.breakAt }
    }

    override func connectionMade(_ transport: LoopTransport) throws {
        try super.connectionMade(transport)
        try transport.write(plan.header)
        stepLater()
    }

    override func breakOff(_ transport: LoopTransport) {
        transport.abort(sendingReset: plan.ending == .clientResets)
    }

    override func finished() {
        switch plan.ending {
        case .halfClose: transport?.writeEOF()
        case .clientCloses: transport?.close()
        default: break
        }
    }

    override func connectionLost(_ error: (any Error)?) {
        super.connectionLost(error)
        clients.clientEnded(plan, sent: sent, received: received, error)
    }
}

/// The end that accepts: it learns from the first bytes which connection it is.
final class SoakServer: SoakEnd {
    private let run: SoakRun
    private var header: [UInt8] = []
    private var plan: SoakPlan?
    /// A file is being sent, or was cut off: nobody knows how many bytes of it went out.
    private var isSendingFile = false
    private var hasFinished = false

    init(_ run: SoakRun) {
        self.run = run
        super.init(run)
    }

    override func dataReceived(_ data: RawSpan) throws {
        // SAFETY: the bytes are copied before the borrow ends.
        var bytes = data.withUnsafeBytes { Array($0) }
        if plan == nil {
            let missing = min(SoakPlan.headerSize - header.count, bytes.count)
            header += bytes.prefix(missing)
            bytes.removeFirst(missing)
            guard header.count == SoakPlan.headerSize else { return }
            try begin(run.settings.plan(SoakPlan.number(of: header)))
        }
        if !bytes.isEmpty { try check(bytes) }
    }

    private func begin(_ plan: SoakPlan) throws {
        self.plan = plan
        random = plan.serverRandom
        toSend = plan.download
        sendSeed = plan.fileOffset
        toReceive = plan.upload
        receiveSeed = plan.uploadSeed
        let breaks = [.serverAborts, .serverResets].contains(plan.ending)
        if breaks { breakAt = plan.breakAt }
        guard let method = plan.method, !breaks else { return stepLater() }
        isSendingFile = true
        transport?.sendFile(
            run.fileDescriptor, offset: plan.fileOffset, count: plan.download, method: method
        ) { [self] in fileSent($0, plan) }
    }

    private func fileSent(_ result: Result<Int, any Error>, _ plan: SoakPlan) {
        switch result {
        case .success(let count):
            isSendingFile = false
            noteSent(count)
            if count != plan.download { run.fail("\(count) of \(plan.download) bytes of a file") }
            finished()
        case .failure(let error):
            if plan.isClean { run.fail("a file ended with \(error)") }
        }
    }

    override func breakOff(_ transport: LoopTransport) {
        transport.abort(sendingReset: plan?.ending == .serverResets)
    }

    override func finished() {
        hasFinished = true
        if plan?.ending == .serverCloses || hasEnded { transport?.close() }
    }

    /// The client sends no more.
    private var hasEnded = false

    override func endOfFileReceived() -> Bool {
        hasEnded = true
        guard plan?.ending == .halfClose || plan?.ending == .taskEnds else { return false }
        return !hasFinished
    }

    override func connectionLost(_ error: (any Error)?) {
        super.connectionLost(error)
        // A connection may end before it said which it is.
        guard let plan else { return }
        run.serverEnded(plan, sent: isSendingFile ? nil : sent, received: received, error)
    }
}
