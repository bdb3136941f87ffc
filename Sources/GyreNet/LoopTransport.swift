// SPDX-License-Identifier: Apache-2.0

import Glibc
package import GyreCore

/// A stream connection, or one end of a pipe, for the protocol object that serves it.
///
/// Writing never blocks: what the kernel does not take at once is kept and sent when there is room,
/// and the protocol is told to pause when too much is kept. Everything here is for the loop's
/// thread.
public final class LoopTransport {
    struct State: OptionSet {
        let rawValue: UInt16
        /// The protocol knows of the connection.
        static let made = State(rawValue: 1 << 0)
        /// The user, or the full buffer of a reader above, wants no data for now.
        static let readingPaused = State(rawValue: 1 << 1)
        /// The peer sends no more.
        static let endReceived = State(rawValue: 1 << 2)
        /// That end waits until reading is resumed.
        static let endHeld = State(rawValue: 1 << 3)
        /// The protocol was told to pause writing.
        static let writingPaused = State(rawValue: 1 << 4)
        /// `writeEOF` was called.
        static let endRequested = State(rawValue: 1 << 5)
        /// A flush is queued for the next iteration.
        static let flushScheduled = State(rawValue: 1 << 6)
        /// `close` or `abort` was called, or the connection broke.
        static let closing = State(rawValue: 1 << 7)
        /// Nothing more is sent: the operations end, then the connection is lost.
        static let ending = State(rawValue: 1 << 8)
        /// Connection lost was reported.
        static let lost = State(rawValue: 1 << 9)
        /// A file is being sent: nothing else is written, and nothing read.
        static let sendingFile = State(rawValue: 1 << 10)
        /// The protocol has buffers of its own.
        static let lendsBuffer = State(rawValue: 1 << 11)
        /// The descriptor is a file, or a device that is always ready.
        static let isFile = State(rawValue: 1 << 12)
    }

    /// What the descriptor is.
    ///
    /// Both ends of a pipe are waited for by polls, and read or written directly; so is a Unix
    /// socket that passes descriptors.
    enum Kind {
        case socket, readPipe, writePipe, passing
    }

    // What every message looks at comes first, so that it lies in few cache lines.
    let loop: Loop
    var state: State = []
    let kind: Kind
    var fd: CInt
    var proto: (any LoopStreamProtocol)?
    /// What arrived between a pause and the kernel's word that it stopped receiving.
    // Every receive asks whether there is any. No access calls other code, so none overlaps.
    @exclusivity(unchecked) var held: [UInt8] = []
    var sendID = OperationID.none
    // SAFETY: it points into the loop's send buffers, `pieceCount` bytes, which stay in place until
    // the piece is released.
    /// What goes with the loop's next wait.
    var pieceStart: UnsafeRawPointer?
    var pieceCount: Int32 = 0
    /// The tick of the last direct send.
    var lastSendTick: UInt32 = .max
    /// What could not be sent yet; nil when there is nothing.
    var queue: WriteQueue?
    var marks = WriteMarks()
    var receiveID = OperationID.none
    private var resource: Int32 = -1
    var owner: (any ConnectionOwner)?
    /// What the connection broke with.
    private(set) var lossError: (any Error)?
    var extras: Extras?

    /// Takes over `fd`; with `isPlain` the protocol is known to lend no buffers.
    init(
        fd: CInt, loop: Loop, proto: any LoopStreamProtocol, server: (any ConnectionOwner)?,
        kind: Kind = .socket, isPlain: Bool = false
    ) {
        self.fd = fd
        self.kind = kind
        self.loop = loop
        self.proto = proto
        owner = server
        loop.claimDescriptor(fd)
        resource = loop.register(self)
        if !isPlain { noteKind(of: proto) }
    }

    /// Tells the protocol, and begins to read unless it does not want to.
    func begin() {
        guard let proto else { return }
        state.insert(.made)
        call("connectionMade") { try proto.connectionMade(self) }
        if kind == .writePipe { watchReader() } else { updateReading() }
    }

    // MARK: Reading

    /// Stops ``LoopStreamProtocol/dataReceived(_:)`` until ``resumeReading()``, so that the peer
    /// has to wait.
    ///
    /// Does nothing when paused already, or closing.
    public func pauseReading() {
        loop.checkThread("pauseReading", instead: "handle.callSoonThreadSafe")
        guard !state.contains(.closing), kind != .writePipe else { return }
        state.insert(.readingPaused)
        updateReading()
        owner?.readingPaused()
    }

    /// Goes on reading after ``pauseReading()``.
    ///
    /// Data that is there already is delivered in a later iteration, never inside the call. Does
    /// nothing when not paused, or closing.
    public func resumeReading() {
        loop.checkThread("resumeReading", instead: "handle.callSoonThreadSafe")
        guard state.contains(.readingPaused), !state.contains(.closing) else { return }
        state.remove(.readingPaused)
        goOnReading()
    }

    func goOnReading() {
        if held.isEmpty, !state.contains(.endHeld) {
            updateReading()
        } else {
            loop.callSoonPlainly { [self] in deliverHeld() }
        }
    }

    /// Whether data is delivered: neither paused, nor closing, nor at the peer's end of file, nor
    /// the writing end of a pipe, nor sending a file.
    public var isReading: Bool {
        state.isDisjoint(with: [.readingPaused, .closing, .endReceived, .sendingFile])
            && kind != .writePipe
    }

    /// Whether ``pauseReading()`` was called, and data may still come.
    var isReadingPaused: Bool { state.contains(.readingPaused) && !state.contains(.closing) }

    /// Brings the receive operation in line with what is wanted.
    func updateReading() {
        if isReading, held.isEmpty {
            guard receiveID == .none, state.contains(.made) else { return }
            if let fileReading { return readFile(fileReading) }
            receiveID =
                kind == .socket
                ? loop.submitReceive(on: fd, target: self)
                : loop.submitPoll(.read, on: fd, target: self)
        } else if receiveID != .none {
            loop.cancel(receiveID)
        }
    }

    private func deliverHeld() {
        guard state.isDisjoint(with: [.readingPaused, .closing, .sendingFile]) else { return }
        if !held.isEmpty {
            let bytes = held
            held = []
            bytes.withUnsafeBytes { deliverPieces($0) }
        }
        if state.contains(.endHeld),
            state.isDisjoint(with: [.readingPaused, .closing, .sendingFile])
        {
            state.remove(.endHeld)
            deliverEnd()
        }
        updateReading()
    }

    private func received(_ completion: Completion) {
        if !completion.more { receiveID = .none }
        if completion.result > 0 {
            guard !state.contains(.closing) else { return }
            let aside: State = [.readingPaused, .sendingFile, .lendsBuffer]
            if !state.isDisjoint(with: aside) || !held.isEmpty {
                receivedAside(completion.bytes)
            } else {
                deliver(completion.bytes)
            }
            return
        }
        if state.contains(.ending) { return finishIfEnded() }
        switch -completion.result {
        case 0: receivedEnd()
        case ECANCELED: updateReading()
        case let number: fail(LoopError(errno: number, operation: "receive"))
        }
    }

    @inline(__always)
    func deliver(_ bytes: UnsafeRawBufferPointer) {
        guard let proto else { return }
        // SAFETY: the memory is the loop's, or `held`'s, and stays as it is until the call returns;
        // a RawSpan cannot leave it.
        let data = RawSpan(_unsafeBytes: bytes)
        guard !loop.isDebug else {
            return call("dataReceived") { try proto.dataReceived(RawSpan(_unsafeBytes: bytes)) }
        }
        do { try proto.dataReceived(data) } catch { failed(error, in: "dataReceived") }
    }

    func receivedEnd() {
        state.insert(.endReceived)
        guard !state.contains(.closing) else { return }
        if !state.isDisjoint(with: [.readingPaused, .sendingFile]) || !held.isEmpty {
            state.insert(.endHeld)
        } else {
            deliverEnd()
        }
    }

    private func deliverEnd() {
        guard let proto else { return }
        var staysOpen = false
        call("endOfFileReceived") { staysOpen = try proto.endOfFileReceived() }
        if !staysOpen || kind == .readPipe { close() }
    }

    // MARK: Closing

    /// Whether the transport is closing or closed: nothing more is delivered, nor taken for
    /// sending.
    public var isClosing: Bool { state.contains(.closing) }

    /// Sends what was written, then closes.
    ///
    /// ``LoopStreamProtocol/connectionLost(_:)`` follows in a later iteration, without an error.
    /// What is written from now on is dropped. A file that is being sent is sent to its end.
    public func close() {
        loop.checkThread("close", instead: "handle.callSoonThreadSafe")
        guard !state.contains(.closing) else { return }
        state.insert(.closing)
        updateReading()
        if bufferedCount == 0, !state.contains(.sendingFile) { end(nil) }
    }

    /// Closes at once; what was not sent is dropped.
    ///
    /// ``LoopStreamProtocol/connectionLost(_:)`` follows in a later iteration, without an error.
    ///
    /// The peer reads an end of file, as after ``close()``, unless bytes wait here that nobody
    /// read: then, and always with `sendingReset`, the connection is reset, and the peer's next
    /// call fails with ``LoopError/Code/connectionReset``.
    public func abort(sendingReset: Bool = false) {
        loop.checkThread("abort", instead: "handle.callSoonThreadSafe")
        if sendingReset, fd >= 0, kind == .socket { Socket.resetOnClose(fd) }
        end(nil)
    }

    /// The connection broke.
    func fail(_ error: any Error) { end(error) }

    /// Nothing more is sent or received.
    ///
    /// When the operations have ended, the connection is lost.
    func end(_ error: (any Error)?) {
        guard !state.contains(.ending) else { return }
        state.formUnion([.closing, .ending])
        lossError = error
        dropPiece()
        if state.contains(.sendingFile) { breakFile(error) }
        if receiveID != .none { loop.cancel(receiveID) }
        if sendID != .none {
            // A kernel that sends goes on until the cancellation reaches it; this ends it now.
            _ = shutdown(fd, CInt(SHUT_WR))
            loop.cancel(sendID)
        }
        // Never inside the call that caused it.
        if receiveID == .none, sendID == .none { loop.callSoonPlainly { [self] in lose() } }
    }

    func finishIfEnded() {
        if state.contains(.ending), receiveID == .none, sendID == .none { lose() }
    }

    private func lose() {
        guard !state.contains(.lost), let proto else { return }
        state.insert(.lost)
        release()
        let error = lossError
        loop.measure("connectionLost of \(type(of: proto))") { proto.connectionLost(error) }
        owner.take()?.connectionEnded()
    }

    /// Gives back what is the system's, and lets go of the protocol object.
    private func release() {
        queue = nil
        fileReading.take()?.end(on: loop)
        extras = nil
        held = []
        proto = nil
        if kind != .socket { NonBlocking.end(fd) }
        loop.closeDescriptor(fd)
        fd = -1
        loop.unregister(resource)
    }

    // MARK: Calling the protocol

    /// Calls the protocol object; what it throws ends the connection.
    func call(_ name: String, _ body: () throws -> Void) {
        loop.measure("\(name) of a connection") {
            do { try body() } catch { failed(error, in: name) }
        }
    }

    private func failed(_ error: any Error, in name: String) {
        loop.handle(thrown: error, message: "\(name) of a connection threw an error")
        end(error)
    }

    // MARK: About the connection

    /// The address of the peer, nil when the connection is gone.
    public var peerAddress: LoopAddress? { fd < 0 ? nil : Socket.peerAddress(of: fd) }

    /// The address of this side, nil when the connection is gone.
    public var localAddress: LoopAddress? { fd < 0 ? nil : Socket.localAddress(of: fd) }

    /// The socket, for options that the transport does not know; -1 when the connection is gone.
    ///
    /// It stays the transport's: do not read, write or close it.
    public var descriptor: CInt { fd }

    /// The protocol object that is served, nil after connection lost.
    public var currentProtocol: (any LoopStreamProtocol)? { proto }
}

extension LoopTransport: OperationTarget, LoopResource {
    package func operationCompleted(_ completion: Completion) {
        switch completion.kind {
        case .receive: received(completion)
        case .poll: polled(completion)
        default: sent(completion)
        }
    }

    package func loopDidClose() {
        state.formUnion([.closing, .ending, .lost])
        release()
        owner.take()?.connectionEnded()
    }
}

@available(*, unavailable)
extension LoopTransport: Sendable {}
