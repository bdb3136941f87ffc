// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// What stands between a transport, which calls, and tasks, which wait.
final class ConnectionCore: LoopStreamProtocol, @unchecked Sendable {
    // SAFETY: used on the loop's thread only: LoopConnection, which is what goes to other threads,
    // brings every call here. No access to what is unchecked overlaps another: code of others, a
    // task that is woken among it, runs between them.

    /// From how many bytes that nobody reads on the peer has to wait.
    private static let heldMax = 256 << 10

    let loop: Loop
    @exclusivity(unchecked) private var transport: LoopTransport?
    private let whenMade: (ConnectionCore) -> Void

    let reading: WaitPoint
    /// The storage of the last chunk, for the next one.
    @exclusivity(unchecked) private var storage: ChunkStorage?
    /// The storage has bytes that nobody took yet.
    @exclusivity(unchecked) private var hasArrived = false
    /// What arrived while nobody waited.
    @exclusivity(unchecked) private var held: [UInt8] = []
    private var isReadingPaused = false
    @exclusivity(unchecked) private var isAtEnd = false

    /// The peer is slow: who writes waits.
    @exclusivity(unchecked) private(set) var isWritingPaused = false
    private var drains: [LoopFuture<Void>] = []

    @exclusivity(unchecked) private var loss: Loss?
    private var endings: [LoopFuture<Void>] = []

    private enum Loss {
        case byItself
        case error(any Error)
    }

    init(on loop: Loop, whenMade: @escaping (ConnectionCore) -> Void) {
        self.loop = loop
        self.whenMade = whenMade
        reading = WaitPoint(on: loop.handle, waitingFor: "data")
    }

    // MARK: The transport calls

    func connectionMade(_ transport: LoopTransport) {
        self.transport = transport
        whenMade(self)
    }

    func dataReceived(_ data: RawSpan) {
        // SAFETY: the pointer is used inside this call only, or detached before it ends.
        data.withUnsafeBytes { bytes in
            guard reading.isWaiting else { return hold(bytes) }
            lend(bytes)
            reading.wake(on: loop)
            takeBack(bytes)
        }
    }

    private func lend(_ bytes: UnsafeRawBufferPointer) {
        if let storage {
            storage.lend(bytes)
        } else {
            storage = ChunkStorage(lent: bytes)
        }
        hasArrived = true
    }

    /// The loop's memory ends with the call: what is left of the chunk needs memory of its own.
    private func takeBack(_ bytes: UnsafeRawBufferPointer) {
        if hasArrived {
            hasArrived = false
            hold(bytes)
        }
        guard !isKnownUniquelyReferenced(&storage) else { return }
        storage?.detach()
        storage = nil
    }

    private func hold(_ bytes: UnsafeRawBufferPointer) {
        held.append(contentsOf: bytes)
        guard held.count >= Self.heldMax, !isReadingPaused else { return }
        isReadingPaused = true
        transport?.pauseReading()
    }

    func endOfFileReceived() -> Bool {
        isAtEnd = true
        reading.wakeLater()
        // The handler decides when it has nothing more to say.
        return true
    }

    func connectionLost(_ error: (any Error)?) {
        loss = error.map { .error($0) } ?? .byItself
        transport = nil
        reading.wakeLater()
        for drain in drains { drain.succeed() }
        drains = []
        for ending in endings { ending.succeed() }
        endings = []
    }

    func pauseWriting() { isWritingPaused = true }

    func resumeWriting() {
        isWritingPaused = false
        for drain in drains { drain.succeed() }
        drains = []
    }

    // MARK: Tasks call

    /// What a read gets at once.
    enum Arrival {
        case chunk(LoopChunk)
        case end
        case nothing
    }

    /// What is there to read.
    ///
    /// - Throws: ``LoopError`` when the connection broke, or another task reads.
    func arrival() throws -> Arrival {
        guard !reading.isTaken else {
            throw LoopError(.inUse, operation: "read", detail: "another task reads already")
        }
        if hasArrived, let storage {
            hasArrived = false
            return .chunk(LoopChunk(storage: storage))
        }
        if !held.isEmpty { return .chunk(takeHeld()) }
        if isAtEnd { return .end }
        guard let loss else { return .nothing }
        if case .error(let error) = loss { throw error }
        return .end
    }

    private func takeHeld() -> LoopChunk {
        let chunk = LoopChunk(copying: held)
        held.removeAll(keepingCapacity: false)
        if isReadingPaused {
            isReadingPaused = false
            transport?.resumeReading()
        }
        return chunk
    }

    /// The transport, to write to.
    ///
    /// - Throws: What the connection was lost with.
    func open() throws -> LoopTransport {
        guard let transport else { throw lossError(of: "write") }
        return transport
    }

    /// Waits until the peer has caught up.
    func drain() async throws {
        let drain = LoopFuture<Void>(on: loop)
        drains.append(drain)
        try await drain.value
        if loss != nil { throw lossError(of: "write") }
    }

    private func lossError(of operation: String) -> any Error {
        if case .error(let error) = loss { return error }
        return LoopError(.closed, operation: operation, detail: "the connection is closed")
    }

    func writeEOF() { transport?.writeEOF() }

    func close() { transport?.close() }

    func abort() { transport?.abort() }

    /// Closes after what was written was sent, and waits for that; when the task is cancelled
    /// meanwhile, without that.
    func finish() async {
        transport?.close()
        while loss == nil {
            let ending = LoopFuture<Void>(on: loop)
            endings.append(ending)
            do { try await ending.value } catch { transport?.abort() }
        }
    }

    func look<Value>(_ body: (LoopTransport) -> Value?) -> Value? { transport.flatMap(body) }
}

extension LoopFuture<Void> {
    /// Ends it unless it is done.
    fileprivate func succeed() { if !isDone { try? setResult(()) } }
}
