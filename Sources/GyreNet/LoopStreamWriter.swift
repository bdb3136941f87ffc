// SPDX-License-Identifier: Apache-2.0

public import GyreCore
import GyreTasks

/// The sending side of a connection as a stream of bytes: asyncio's `StreamWriter`.
///
/// Made together with a ``LoopStreamReader`` by `openConnection` and `startServer`. Writing does
/// not wait: what the kernel does not take at once is kept. A program that awaits ``drain()`` after
/// what it writes goes at the peer's pace.
public struct LoopStreamWriter: Sendable {
    let core: ConnectionCore

    init(_ core: ConnectionCore) { self.core = core }

    /// The handle of the loop that the stream belongs to.
    public var handle: LoopHandle { core.loop.handle }

    // MARK: Writing

    /// Sends `bytes` behind what was written before.
    ///
    /// On a stream that is closed or broke they are dropped, and ``drain()`` says so.
    ///
    /// - Throws: ``LoopError/Code/endOfFileWritten`` after ``writeEOF()``.
    /// - Important: Callable from any thread: from another it is done soon, in the order of the
    ///   calls, errors go to the loop's exception handler, and a closed loop is an error.
    public func write(_ bytes: [UInt8]) throws {
        guard core.isHere else { return try writeSoon(bytes) }
        try core.transport?.write(bytes)
    }

    private func writeSoon(_ bytes: [UInt8]) throws(LoopError) {
        try handle.callSoonThreadSafe { [core] _ in try core.transport?.write(bytes) }
    }

    /// Sends the UTF-8 bytes of `text`, as ``write(_:)-([UInt8])``.
    public func write(_ text: String) throws {
        try onLoop { core throws(LoopError) in try core.transport?.write(text) }
    }

    /// Sends `chunk`, as ``write(_:)-([UInt8])``.
    public func write(_ chunk: LoopChunk) throws {
        guard handle.isOnLoop else { return try write(Array(chunk)) }
        try chunk.withBytes { bytes throws(LoopError) in try core.transport?.write(bytes) }
    }

    /// Sends several pieces in order, together: as ``write(_:)-([UInt8])`` of all of them.
    ///
    /// Adds nothing between them, as asyncio does not.
    public func writeLines(_ pieces: [[UInt8]]) throws {
        try onLoop { core throws(LoopError) in try core.transport?.writeLines(pieces) }
    }

    /// Sends the UTF-8 bytes of several pieces, as ``writeLines(_:)-([[UInt8]])``.
    public func writeLines(_ pieces: [String]) throws {
        try writeLines(pieces.map { Array($0.utf8) })
    }

    /// Waits while more is to be sent than the high mark of the write buffer, until the peer has
    /// caught up.
    ///
    /// See ``LoopTransport/setWriteBufferLimits(high:low:)``.
    ///
    /// - Throws: ``LoopError`` when the stream is closed or broke, then with the kernel's error;
    ///   `CancellationError` when the task is cancelled while it waits.
    @inlinable
    @inline(__always)
    public func drain() async throws {
        if try mayWait() { try await waitUntilDrained() }
    }

    /// Whether the peer is slow, or that is to be seen on the loop.
    @usableFromInline
    func mayWait() throws -> Bool {
        guard core.isHere else { return true }
        _ = try core.open()
        return core.isWritingPaused
    }

    /// How many tasks wait for the stream, for tests.
    package var waiterCount: Int { core.waiterCount }

    @usableFromInline
    func waitUntilDrained() async throws {
        guard core.isHere else { return try await core.onLoop { try await drain() } }
        try await core.drain()
    }

    /// Whether ``writeEOF()`` can be called: whether the stream has a way to end one direction.
    public var canWriteEOF: Bool { true }

    /// Ends the sending side after what was written; the peer's bytes still arrive.
    ///
    /// - Important: Callable from any thread, as ``write(_:)-([UInt8])``.
    public func writeEOF() throws { try onLoop { core in core.transport?.writeEOF() } }

    // MARK: Closing

    /// Sends what was written, then closes both directions.
    ///
    /// Does nothing the second time.
    ///
    /// - Important: Callable from any thread: from another it is done soon.
    public func close() {
        // On a closed loop the connection is gone.
        try? onLoop { core in core.transport?.close() }
    }

    /// Closes both directions at once; what was not sent is dropped.
    ///
    /// - Important: Callable from any thread: from another it is done soon.
    public func abort() {
        // On a closed loop the connection is gone.
        try? onLoop { core in core.transport?.abort() }
    }

    /// Whether the stream is closed or closing.
    ///
    /// - Important: On the loop's thread only.
    public var isClosing: Bool {
        core.loop.checkThread("isClosing", instead: "drain, which throws then")
        return core.transport?.isClosing ?? true
    }

    /// Waits until the connection is gone, after ``close()`` or by itself.
    ///
    /// - Throws: ``LoopError`` when the connection broke; `CancellationError` when the task is
    ///   cancelled, and the closing goes on.
    public func waitClosed() async throws {
        guard handle.isOnLoop else { return try await core.onLoop { try await waitClosed() } }
        try await core.waitClosed()
    }

    // MARK: About it

    /// The address of the peer, asyncio's `get_extra_info("peername")`; nil when the connection is
    /// gone, or off the loop's thread.
    public var peerAddress: LoopAddress? { transport?.peerAddress }

    /// The address of this side, asyncio's `get_extra_info("sockname")`; nil when the connection is
    /// gone, or off the loop's thread.
    public var localAddress: LoopAddress? { transport?.localAddress }

    /// The transport below, for everything else: the marks of its write buffer, its descriptor; nil
    /// when the connection is gone, or off the loop's thread.
    public var transport: LoopTransport? { handle.isOnLoop ? core.transport : nil }

    /// Calls `body` now, or soon from another thread.
    @inline(__always)
    private func onLoop(
        _ body: @escaping @Sendable (ConnectionCore) throws(LoopError) -> Void
    ) throws {
        guard handle.isOnLoop else {
            return try handle.callSoonThreadSafe { [core] _ in try body(core) }
        }
        try body(core)
    }
}

extension LoopStreamWriter: Hashable {
    /// Whether both are of one connection, so that a set holds each stream once.
    public static func == (left: LoopStreamWriter, right: LoopStreamWriter) -> Bool {
        left.core === right.core
    }

    /// Feeds what tells connections apart into `hasher`.
    public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(core)) }
}
