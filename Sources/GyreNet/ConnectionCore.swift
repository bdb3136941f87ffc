// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// What stands between a transport, which calls, and tasks, which wait.
final class ConnectionCore: LoopStreamProtocol, @unchecked Sendable {
    // SAFETY: used on the loop's thread only: LoopConnection and the streams, which are what goes
    // to other threads, bring every call here. No access to what is unchecked overlaps another:
    // code of others, a task that is woken among it, runs between them.

    let loop: Loop
    @exclusivity(unchecked) private(set) var transport: LoopTransport?
    /// Dropped when it was called: what it holds may hold this connection.
    private var whenMade: ((ConnectionCore) -> Void)?

    /// When more than twice as many bytes wait to be read, the peer has to wait until they are not
    /// more than that.
    let limit: Int
    // How a task waits for data.
    @exclusivity(unchecked) var waitState = WaitState.free
    @exclusivity(unchecked) private(set) var isReadingPaused = false
    @exclusivity(unchecked) private var isAtEnd = false
    /// The rest of a line that was too long is dropped when it comes.
    @exclusivity(unchecked) private var dropsLine = false
    /// The peer is slow: who writes waits.
    @exclusivity(unchecked) private(set) var isWritingPaused = false
    /// The task that waits; nil when that is one of Swift.
    @exclusivity(unchecked) var waitingTask: WaitingTask?
    /// How many waits there were: the name of the present one, for a cancellation that is on its
    /// way from another thread.
    @exclusivity(unchecked) var waitNumber: UInt64 = 0
    /// What the delivery that runs brought, and nobody took yet.
    // SAFETY: memory of the loop, which ends with the delivery; `takeBack` empties this before.
    @exclusivity(unchecked) private var lent = UnsafeRawBufferPointer(start: nil, count: 0)
    /// What came before, and nobody took yet; empty while something is lent.
    @exclusivity(unchecked) private var buffer = ReadBuffer()
    /// What came with the bytes, where the connection passes descriptors.
    @exclusivity(unchecked) private var passed: StreamDescriptors?

    private var drains: [LoopFuture<Void>] = []

    @exclusivity(unchecked) private var loss: Loss?
    private var endings: [LoopFuture<Void>] = []

    private enum Loss {
        case byItself
        case error(any Error)
    }

    init(on loop: Loop, limit: Int, whenMade: @escaping (ConnectionCore) -> Void) {
        self.loop = loop
        self.limit = limit
        self.whenMade = whenMade
    }

    // MARK: The transport calls

    func connectionMade(_ transport: LoopTransport) {
        self.transport = transport
        if transport.kind == .passing { passed = StreamDescriptors() }
        whenMade.take()?(self)
    }

    func dataReceived(_ data: RawSpan) {
        if let passed, !notePassed(in: passed, with: data.byteCount) { return }
        // SAFETY: the pointer is used inside this call only: what is lent is taken back, and a
        // chunk of it detached, before it ends.
        data.withUnsafeBytes { bytes in
            if buffer.isEmpty, isWaiting {
                lent = bytes
                wake()
                takeBack()
            } else {
                buffer.append(bytes)
                wake()
            }
        }
        // Not while a task waits for more than that.
        if buffer.count - limit > limit || areDescriptorsUnread, !isWaiting {
            pauseReading()
        }
    }

    /// Notes the descriptors that came with the next `count` bytes.
    ///
    /// False when they are too many, which ends the connection.
    @inline(never)
    private func notePassed(in passed: StreamDescriptors, with count: Int) -> Bool {
        passed.arrived(count, with: transport?.takePassed())
        guard passed.isFull else { return true }
        self.passed = nil
        transport?.failPassing("nobody takes those that were passed")
        return false
    }

    /// Whether descriptors came with bytes that wait: those behind them have to wait, too, so that
    /// they do not become too many.
    private var areDescriptorsUnread: Bool { passed?.areUnread(arrivedCount) ?? false }

    /// The loop's memory ends with the call: what is left of it needs memory of its own.
    private func takeBack() {
        if lent.count > 0 {
            buffer.append(lent)
            lent = UnsafeRawBufferPointer(start: nil, count: 0)
        }
        ChunkStorage.takeBack(on: loop)
    }

    private func pauseReading() {
        guard !isReadingPaused else { return }
        isReadingPaused = true
        transport?.pauseReading()
    }

    func resumeReading() {
        isReadingPaused = false
        transport?.resumeReading()
    }

    func endOfFileReceived() -> Bool {
        isAtEnd = true
        wakeLater()
        // The handler decides when it has nothing more to say.
        return true
    }

    func connectionLost(_ error: (any Error)?) {
        loss = error.map { .error($0) } ?? .byItself
        transport = nil
        wakeLater()
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

    // MARK: Tasks read

    static let lineEnd = UInt8(ascii: "\n")

    /// Whether the caller is on the loop, which runs.
    @inline(__always)
    var isHere: Bool { loop.isCurrent }

    /// Throws when another task reads.
    func checkReader() throws(LoopError) {
        guard !isWaitTaken else {
            throw LoopError(.inUse, operation: "read", detail: "another task reads already")
        }
    }

    /// How many bytes are there to read.
    var arrivedCount: Int { lent.count + buffer.count }

    /// Calls `body` with all bytes that are there, which are lent for the call.
    func withArrived<Result>(
        _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result {
        lent.count > 0 ? try body(lent) : try buffer.withBytes(body)
    }

    /// The first `count` bytes of what is there, which are no longer.
    func take(_ count: Int) -> [UInt8] {
        guard lent.count > 0 else {
            let taken = buffer.take(count)
            resumeIfRead()
            return taken
        }
        let taken = Array(UnsafeRawBufferPointer(rebasing: lent[..<count]))
        lent = UnsafeRawBufferPointer(rebasing: lent[count...])
        return taken
    }

    /// Forgets the first `count` bytes of what is there.
    func drop(_ count: Int) {
        if lent.count > 0 {
            lent = UnsafeRawBufferPointer(rebasing: lent[count...])
        } else {
            buffer.drop(count)
            resumeIfRead()
        }
    }

    /// All that is there, nil when nothing is.
    func takeChunk() -> LoopChunk? {
        if dropsLine, !dropRestOfLine() { return nil }
        guard lent.count > 0 else {
            return buffer.isEmpty ? nil : LoopChunk(copying: take(buffer.count))
        }
        let chunk = LoopChunk(storage: .lending(lent, of: loop))
        lent = UnsafeRawBufferPointer(start: nil, count: 0)
        return chunk
    }

    /// Drops what is there of a line, and what comes of it later.
    func dropLine() {
        dropsLine = true
        _ = dropRestOfLine()
    }

    /// Whether what is there is no more of a line to be dropped.
    var isBehindDroppedLine: Bool { !dropsLine || dropRestOfLine() }

    private func dropRestOfLine() -> Bool {
        let end = withArrived { $0.position(of: Self.lineEnd, from: 0) }
        drop(end.map { $0 + 1 } ?? arrivedCount)
        if end != nil || isReadToEnd { dropsLine = false }
        return !dropsLine
    }

    private func resumeIfRead() {
        if isReadingPaused, buffer.count <= limit, !areDescriptorsUnread { resumeReading() }
    }

    /// Whether nothing comes behind what is there.
    ///
    /// - Throws: What the connection broke with.
    func isFinished() throws -> Bool {
        if isAtEnd { return true }
        guard let loss else { return false }
        if case .error(let error) = loss { throw error }
        return true
    }

    /// Whether everything was read.
    var isReadToEnd: Bool { arrivedCount == 0 && (isAtEnd || loss != nil) }

    /// The descriptors that came with what was read.
    func takeDescriptors() -> [Int32] { passed?.take(unread: arrivedCount) ?? [] }

    // MARK: Tasks write

    /// The transport, to write to.
    ///
    /// - Throws: What the connection was lost with.
    func open() throws -> LoopTransport {
        guard let transport else { throw lossError(of: "write") }
        return transport
    }

    /// The same where bytes that are dropped are an error: one that closes takes nothing more.
    func writable() throws -> LoopTransport {
        guard let transport, !transport.isClosing else { throw lossError(of: "write") }
        return transport
    }

    /// Sends the bytes of `storage`, which the caller holds, and says whether to wait then.
    @inline(__always)
    func send(_ storage: ChunkStorage) throws -> Bool {
        guard let transport, !transport.isClosing else { throw lossError(of: "write") }
        // SAFETY: the storage leaves its memory in place during the call.
        try transport.writeLent(storage.bytes)
        return isWritingPaused
    }

    /// How many tasks wait to write, or for the end, for tests.
    var waiterCount: Int { drains.count + endings.count }

    /// Waits until the peer has caught up.
    func drain() async throws {
        let drain = LoopFuture<Void>(on: loop)
        drains.append(drain)
        do { try await drain.value } catch {
            // The peer may be slow for long.
            drains.removeAll { $0 === drain }
            throw error
        }
        if loss != nil { throw lossError(of: "write") }
    }

    private func lossError(of operation: String) -> any Error {
        if case .error(let error) = loss { return error }
        if let error = transport?.lossError { return error }
        return LoopError(.closed, operation: operation, detail: "the connection is closed")
    }

    func writeEOF() { transport?.writeEOF() }

    // MARK: Tasks close

    func close() { transport?.close() }

    func abort() { transport?.abort() }

    /// Waits until the connection is gone.
    ///
    /// - Throws: `CancellationError` when the task is cancelled; what the connection broke with.
    func waitClosed() async throws {
        if loss == nil {
            let ending = LoopFuture<Void>(on: loop)
            endings.append(ending)
            do { try await ending.value } catch {
                // The connection may last.
                endings.removeAll { $0 === ending }
                throw error
            }
        }
        if case .error(let error) = loss { throw error }
    }

    /// Closes after what was written was sent, and waits for that; when the task is cancelled
    /// meanwhile, without that.
    func finish() async {
        transport?.close()
        do { try await waitClosed() } catch { transport?.abort() }
        while loss == nil {
            let ending = LoopFuture<Void>(on: loop)
            endings.append(ending)
            try? await ending.waitForEnd()
        }
    }

    func look<Value>(_ body: (LoopTransport) -> Value?) -> Value? { transport.flatMap(body) }

    /// Calls `body` on the loop's thread, from another: there and back.
    func onLoop<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        guard Loop.current == nil else {
            throw LoopError(
                .loopMismatch, operation: "connection", detail: "it is another loop's")
        }
        return try await loop.handle.createTaskThreadSafe { try await body() }.value
    }
}

extension LoopFuture<Void> {
    /// Ends it unless it is done.
    fileprivate func succeed() { if !isDone { try? setResult(()) } }
}
