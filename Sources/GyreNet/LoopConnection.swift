// SPDX-License-Identifier: Apache-2.0

public import GyreCore
public import GyreTasks

/// A connection for async code: bytes are awaited, and writing waits while the peer is slow.
///
/// Made by ``withServer(host:port:options:patience:handler:_:)``,
/// ``serve(host:port:options:handler:)`` and ``withConnection(to:port:options:_:)``, which close
/// it. Any task may use it; on the loop's thread nothing is between it and the socket. One task at
/// a time reads.
///
/// Cancelling a task that reads loses no byte: the next read has them.
public struct LoopConnection: Sendable {
    /// How many bytes may wait to be read is twice that.
    static let limit = 128 << 10

    let core: ConnectionCore
    /// The handle of the loop that the connection belongs to.
    public var handle: LoopHandle { core.loop.handle }

    init(_ core: ConnectionCore) {
        self.core = core
    }

    // MARK: Reading

    /// The bytes that arrive, in order, in pieces of any size.
    ///
    /// Ends when the peer sends no more, or the connection was closed. While nobody reads, some are
    /// kept, and then the peer has to wait.
    public var chunks: Chunks { Chunks(connection: self) }

    /// The next bytes that arrive; nil when the peer sends no more.
    ///
    /// - Throws: ``LoopError`` when the connection broke, or another task reads;
    ///   `CancellationError` when the task is cancelled.
    @inlinable
    @inline(__always)
    public func read() async throws -> LoopChunk? {
        // Inlined, and in steps that are not: a task that waits then needs no memory but its own.
        while true {
            switch try startRead() {
            case .chunk(let chunk): return chunk
            case .end: return nil
            case .isOutside: return try await readFromOutside()
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
        case chunk(LoopChunk)
        case end
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
    func startRead() throws -> ReadStart {
        guard core.isHere else { return .isOutside }
        try core.checkReader()
        if let chunk = core.takeChunk() { return .chunk(chunk) }
        if try core.isFinished() { return .end }
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
    func readFromOutside() async throws -> LoopChunk? {
        let bytes = try await core.onLoop { try await read().map { Array($0) } }
        return bytes.map { LoopChunk(copying: $0) }
    }

    /// The bytes of a connection, for `for try await`.
    public struct Chunks: AsyncSequence {
        @usableFromInline let connection: LoopConnection

        /// Makes an iterator; those of one connection take turns.
        @inlinable
        public func makeAsyncIterator() -> Iterator { Iterator(connection: connection) }

        /// Hands out chunk after chunk.
        public struct Iterator: AsyncIteratorProtocol {
            @usableFromInline let connection: LoopConnection

            @inlinable
            init(connection: LoopConnection) {
                self.connection = connection
            }

            /// The next chunk, as ``LoopConnection/read()``.
            @inlinable
            public func next() async throws -> LoopChunk? { try await connection.read() }

            /// The next chunk, as ``LoopConnection/read()``.
            @inlinable
            @inline(__always)
            public func next(
                isolation actor: isolated (any Actor)?
            ) async throws -> LoopChunk? {
                try await connection.read()
            }
        }
    }

    // MARK: Writing

    /// Sends `chunk` behind what was written before.
    ///
    /// Comes back when the kernel took it, or the write buffer has room for more: the peer's pace
    /// is that of the writer. Cancelling the task that waits takes back nothing.
    ///
    /// - Throws: ``LoopError`` when the connection broke or is closed, or after ``writeEOF()``;
    ///   `CancellationError` when the task is cancelled while it waits.
    @inlinable
    @inline(__always)
    public func write(_ chunk: LoopChunk) async throws {
        switch try send(chunk) {
        case .isSent: return
        case .isPaused: try await drain()
        case .isOutside: try await write(Array(chunk))
        }
    }

    /// How a write goes on.
    @usableFromInline
    enum WriteStart {
        case isSent
        /// The peer is slow, see ``drain()``.
        case isPaused
        /// The task is not on the loop.
        case isOutside
    }

    /// Sends `chunk`.
    @usableFromInline
    func send(_ chunk: LoopChunk) throws -> WriteStart {
        guard core.isHere else { return .isOutside }
        return try core.send(chunk.storage) ? .isPaused : .isSent
    }

    @usableFromInline
    func drain() async throws { try await core.drain() }

    /// Sends `bytes`, as ``write(_:)-(LoopChunk)``.
    public func write(_ bytes: [UInt8]) async throws {
        guard handle.isOnLoop else { return try await core.onLoop { try await write(bytes) } }
        try core.writable().write(bytes)
        if core.isWritingPaused { try await core.drain() }
    }

    /// Sends the UTF-8 bytes of `text`, as ``write(_:)-(LoopChunk)``.
    public func write(_ text: String) async throws {
        guard handle.isOnLoop else { return try await core.onLoop { try await write(text) } }
        try core.writable().write(text)
        if core.isWritingPaused { try await core.drain() }
    }

    /// Sends the bytes of `file` from `offset` on, `count` of them or all up to its end, behind
    /// what was written before; see ``LoopTransport/sendFile(_:offset:count:method:)``.
    ///
    /// - Returns: How many bytes were sent.
    /// - Throws: ``LoopError`` of the file or the connection; ``LoopError/Code/inUse`` while
    ///   another is sent; `CancellationError` when the task is cancelled, which ends it early.
    public func sendFile(
        _ file: CInt, offset: Int = 0, count: Int? = nil,
        method: LoopSendFileMethod = .automatic
    ) async throws -> Int {
        guard handle.isOnLoop else {
            return try await core.onLoop {
                try await sendFile(file, offset: offset, count: count, method: method)
            }
        }
        return try await core.open().sendFile(file, offset: offset, count: count, method: method)
    }

    /// Ends the sending side after what was written; the peer's bytes still arrive.
    public func writeEOF() async throws {
        guard handle.isOnLoop else { return try await core.onLoop { try await writeEOF() } }
        core.writeEOF()
    }

    // MARK: Ending

    /// Closes the connection after what was written was sent, and waits until it is gone.
    ///
    /// Cancelling the task that waits drops what was not sent.
    public func close() async throws {
        guard handle.isOnLoop else { return try await core.onLoop { try await close() } }
        await core.finish()
    }

    /// Closes at once; what was not sent is dropped.
    ///
    /// - Important: Callable from any thread: at once on the loop's, soon from another.
    public func abort() {
        if handle.isOnLoop {
            core.abort()
        } else {
            // On a closed loop the connection is gone.
            try? handle.callSoonThreadSafe { [core] _ in core.abort() }
        }
    }

    // MARK: About it

    /// The address of the peer; nil when the connection is gone, or off the loop's thread.
    public var peerAddress: LoopAddress? { look(\.peerAddress) }

    /// The address of this side; nil when the connection is gone, or off the loop's thread.
    public var localAddress: LoopAddress? { look(\.localAddress) }

    private func look<Value>(_ body: (LoopTransport) -> Value?) -> Value? {
        handle.isOnLoop ? core.look(body) : nil
    }
}

extension LoopConnection: Hashable {
    /// Whether both are of one connection, so that a set holds each connection once.
    public static func == (left: LoopConnection, right: LoopConnection) -> Bool {
        left.core === right.core
    }

    /// Feeds what tells connections apart into `hasher`.
    public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(core)) }
}
