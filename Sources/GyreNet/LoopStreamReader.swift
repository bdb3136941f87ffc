// SPDX-License-Identifier: Apache-2.0

public import GyreCore
public import GyreTasks

/// The receiving side of a connection as a stream of bytes: asyncio's `StreamReader`.
///
/// Made together with a ``LoopStreamWriter`` by `openConnection` and `startServer`. Any task may
/// use it, one at a time; on the loop's thread nothing is between it and the socket. Bytes that
/// nobody reads are kept, up to twice the ``limit``, and then the peer has to wait.
///
/// Cancelling a task that reads loses no byte: the next read has them. Bytes that came before the
/// connection broke are read before the error is thrown.
///
/// Every call throws ``LoopError`` when the connection broke, with the kernel's error, or when
/// another task reads; and `CancellationError` when the task is cancelled while it waits.
public struct LoopStreamReader: Sendable {
    /// The ``limit`` of a reader that is given none: 64 KiB.
    public static let defaultLimit = 64 << 10

    let core: ConnectionCore

    init(_ core: ConnectionCore) { self.core = core }

    /// The handle of the loop that the stream belongs to.
    public var handle: LoopHandle { core.loop.handle }

    /// How long a line or another piece before a separator may be, in bytes.
    public var limit: Int { core.limit }

    /// Whether the peer sends no more, and everything that it sent was read: asyncio's `at_eof`.
    ///
    /// - Important: On the loop's thread only.
    public var isAtEnd: Bool {
        core.loop.checkThread("isAtEnd", instead: "read, which says it by what it returns")
        return core.isReadToEnd
    }

    /// The transport below; nil when the connection is gone, or off the loop's thread.
    ///
    /// Closing it is for readers that have no writer, those of pipes.
    public var transport: LoopTransport? { handle.isOnLoop ? core.transport : nil }

    /// How many bytes came that were not read yet, for tests.
    package var bufferedCount: Int { core.arrivedCount }

    // MARK: Reading

    /// Reads up to `countMax` bytes, as soon as there are any.
    ///
    /// Empty at the end of the stream, and when `countMax` is 0.
    @inlinable
    @inline(__always)
    public func read(_ countMax: Int) async throws -> [UInt8] {
        // Inlined, and in steps that are not, as ``LoopConnection/read()``.
        while true {
            switch try startRead(countMax) {
            case .bytes(let bytes): return bytes
            case .isOutside: return try await readFromOutside(countMax)
            // SAFETY: the connection resumes it once.
            case .suspends: await suspendHere { park($0) }
            case .isInChild: await parkInChild()
            case .isCancelled: break
            }
            try endRead()
        }
    }

    /// What a read gets at once, or how it waits, until ``endRead()``.
    @usableFromInline
    enum ReadStart {
        case bytes([UInt8])
        /// The task is not on the loop.
        case isOutside
        /// The task is to suspend, see ``park(_:)``.
        case suspends
        /// It is one that Swift made, see ``parkInChild()``.
        case isInChild
        case isCancelled
    }

    /// Reads what is there, or begins to wait.
    @usableFromInline
    func startRead(_ countMax: Int) throws -> ReadStart {
        guard core.isHere else { return .isOutside }
        try Self.check(countMax, "read")
        try core.checkReader()
        if core.isBehindDroppedLine {
            let count = core.arrivedCount
            if count > 0 || countMax == 0 { return .bytes(core.take(min(count, countMax))) }
            if try core.isFinished() { return .bytes([]) }
        }
        switch core.beginWait() {
        case .suspends: return .suspends
        case .isInChild: return .isInChild
        case .isCancelled: return .isCancelled
        }
    }

    @usableFromInline
    func park(_ continuation: UnsafeContinuation<Void, Never>) { core.park(continuation) }

    @usableFromInline
    @inline(never)
    func parkInChild() async { await core.parkInChild() }

    @usableFromInline
    func endRead() throws { try core.endWait() }

    @usableFromInline
    func readFromOutside(_ countMax: Int) async throws -> [UInt8] {
        try await core.onLoop { try await read(countMax) }
    }

    /// Reads `count` bytes: asyncio's `readexactly`.
    ///
    /// - Throws: ``LoopIncompleteReadError`` with what came, when the stream ends before.
    public func readExactly(_ count: Int) async throws -> [UInt8] {
        guard handle.isOnLoop else {
            return try await core.onLoop { try await readExactly(count) }
        }
        try Self.check(count, "readExactly")
        return try await next {
            if core.arrivedCount >= count { return core.take(count) }
            guard try core.isFinished() else { return nil }
            throw LoopIncompleteReadError(partial: core.take(core.arrivedCount), expected: count)
        }
    }

    /// Reads everything up to the end of the stream: asyncio's `read(-1)`.
    ///
    /// However much that is: the ``limit`` does not count here.
    public func readToEnd() async throws -> [UInt8] {
        guard handle.isOnLoop else { return try await core.onLoop { try await readToEnd() } }
        return try await next { try core.isFinished() ? core.take(core.arrivedCount) : nil }
    }

    /// Reads a line with its `\n`.
    ///
    /// At the end of the stream the line may have none; empty when nothing comes any more.
    ///
    /// - Throws: ``LoopLimitOverrunError`` when the line is longer than the ``limit``. All of that
    ///   line is dropped, also what comes of it later, and the next one can be read.
    public func readLine() async throws -> [UInt8] {
        guard handle.isOnLoop else { return try await core.onLoop { try await readLine() } }
        var searched = 0
        return try await next {
            let end = core.withArrived { $0.position(of: ConnectionCore.lineEnd, from: searched) }
            searched = end ?? core.arrivedCount
            guard searched <= core.limit else {
                core.dropLine()
                throw LoopLimitOverrunError(consumed: searched, limit: core.limit)
            }
            if let end { return core.take(end + 1) }
            return try core.isFinished() ? core.take(core.arrivedCount) : nil
        }
    }

    /// Reads up to and with the first of `separators`, as `readUntil("\r\n", "\n")`.
    ///
    /// What is returned is as short as possible, whatever the order of the separators.
    ///
    /// - Throws: ``LoopIncompleteReadError`` with what came, when the stream ends before;
    ///   ``LoopLimitOverrunError`` when what stands before the separator is longer than the
    ///   ``limit``, and nothing is lost: it can still be read.
    public func readUntil(_ separators: String...) async throws -> [UInt8] {
        try await readUntil(Separators(separators.map { Array($0.utf8) }))
    }

    /// Reads up to and with the first of `separators`, as ``readUntil(_:)-(String...)``.
    public func readUntil(_ separators: [UInt8]...) async throws -> [UInt8] {
        try await readUntil(Separators(separators))
    }

    private func readUntil(_ separators: Separators?) async throws -> [UInt8] {
        guard let separators else {
            throw LoopError(
                .invalidArgument, operation: "readUntil",
                detail: "it takes at least one separator, and none that is empty")
        }
        guard handle.isOnLoop else {
            return try await core.onLoop { try await readUntil(separators) }
        }
        var searched = 0
        return try await next {
            let match = core.withArrived { separators.firstMatch(in: $0, from: searched) }
            // The first bytes of a separator may be there.
            searched = match?.start ?? max(0, core.arrivedCount + 1 - separators.countMax)
            guard searched <= core.limit else {
                throw LoopLimitOverrunError(consumed: searched, limit: core.limit)
            }
            if let match { return core.take(match.end) }
            guard try core.isFinished() else { return nil }
            throw LoopIncompleteReadError(partial: core.take(core.arrivedCount), expected: nil)
        }
    }

    // MARK: Waiting

    private static func check(_ count: Int, _ operation: String) throws(LoopError) {
        guard count >= 0 else {
            throw LoopError(
                .invalidArgument, operation: operation, detail: "\(count) bytes cannot be read")
        }
    }

    /// What `attempt` returns, which is tried with what is there, and again when more came or the
    /// stream ended.
    // Inlined, so that the function that reads suspends by itself: every async call between it and
    // the suspension would look at the executor on the way back.
    @inline(__always)
    private func next<Value>(_ attempt: () throws -> Value?) async throws -> Value {
        while true {
            try core.checkReader()
            if core.isBehindDroppedLine, let value = try attempt() { return value }
            switch core.beginWait() {
            // SAFETY: the connection resumes it once.
            case .suspends: await suspendHere { core.park($0) }
            case .isInChild: await core.parkInChild()
            case .isCancelled: break
            }
            try core.endWait()
        }
    }
}
