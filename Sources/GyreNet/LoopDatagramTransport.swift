// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
package import GyreCore

/// A datagram endpoint, UDP or Unix, for the protocol object that serves it.
///
/// Sending never blocks: what the kernel does not take at once is kept and sent when there is room.
/// Several datagrams go in one system call, in both directions, where several are there: what
/// ``LoopDatagramProtocol/datagramReceived(_:from:)`` sends in answer to those that came together
/// goes together. Everything here is for the loop's thread.
public final class LoopDatagramTransport {
    struct State: OptionSet {
        let rawValue: UInt16
        /// The protocol knows of the endpoint.
        static let made = State(rawValue: 1 << 0)
        static let readingPaused = State(rawValue: 1 << 1)
        static let writingPaused = State(rawValue: 1 << 2)
        /// Datagrams that came together are being delivered: what is sent meanwhile goes together.
        static let delivering = State(rawValue: 1 << 3)
        /// A look at what arrived is queued.
        static let readScheduled = State(rawValue: 1 << 4)
        /// `close` or `abort` was called, or the socket broke.
        static let closing = State(rawValue: 1 << 5)
        /// Nothing more is sent: the operations end, then the connection is lost.
        static let ending = State(rawValue: 1 << 6)
        static let lost = State(rawValue: 1 << 7)
        /// The kernel keeps what the network says, with the addresses.
        static let keepsErrors = State(rawValue: 1 << 8)
    }

    /// How many times in a turn the socket is asked for more.
    static var readsPerTurn: Int { 4 }

    let loop: Loop
    var state: State = []
    var fd: CInt
    var proto: (any LoopDatagramProtocol)?
    let family: CInt
    /// The address that the endpoint is connected to.
    public let remoteAddress: LoopAddress?
    var readID = OperationID.none
    var writeID = OperationID.none
    /// Until it is tried again, when a Unix socket that is sent to is full.
    var writeRetry: LoopTimer?
    var writePause = Duration.milliseconds(1)
    /// An error number that a send failed with, and that may be of an earlier datagram: it is tried
    /// once more.
    var failure: CInt = 0
    var buffer: DatagramBuffer?
    let queue = DatagramQueue()
    /// What was received together with one in whose call reading was paused.
    private var held: [(bytes: [UInt8], address: LoopAddress)] = []
    var marks = WriteMarks()
    private var file: SocketFile?
    private var resource: Int32 = -1
    private var lossError: (any Error)?

    /// Takes over `fd`.
    init(
        fd: CInt, loop: Loop, proto: any LoopDatagramProtocol, family: CInt, remote: LoopAddress?,
        file: SocketFile?, keepsErrors: Bool
    ) {
        self.fd = fd
        self.loop = loop
        self.proto = proto
        self.family = family
        remoteAddress = remote
        self.file = file
        if keepsErrors { state.insert(.keepsErrors) }
        loop.claimDescriptor(fd)
        resource = loop.register(self)
    }

    func begin() {
        guard let proto else { return }
        state.insert(.made)
        call("connectionMade") { try proto.connectionMade(self) }
        updateReading()
    }

    // MARK: Reading

    /// Stops ``LoopDatagramProtocol/datagramReceived(_:from:)`` until ``resumeReading()``.
    ///
    /// What arrives meanwhile waits in the kernel, and is dropped when its buffer is full; who
    /// sends to a Unix socket waits instead. Does nothing when paused already, or closing.
    public func pauseReading() {
        loop.checkThread("pauseReading", instead: "handle.callSoonThreadSafe")
        guard !state.contains(.closing) else { return }
        state.insert(.readingPaused)
        if readID != .none { loop.cancel(readID) }
    }

    /// Goes on reading after ``pauseReading()``.
    ///
    /// What is there already is delivered in a later iteration. Does nothing when not paused, or
    /// closing.
    public func resumeReading() {
        loop.checkThread("resumeReading", instead: "handle.callSoonThreadSafe")
        guard state.contains(.readingPaused), !state.contains(.closing) else { return }
        state.remove(.readingPaused)
        updateReading()
    }

    /// Whether datagrams are delivered: neither paused nor closing.
    public var isReading: Bool { state.isDisjoint(with: [.readingPaused, .closing]) }

    /// Looks at what arrived, in a later iteration.
    private func updateReading() {
        guard isReading, state.contains(.made), readID == .none,
            state.isDisjoint(with: [.readScheduled, .delivering])
        else { return }
        state.insert(.readScheduled)
        loop.callSoonPlainly { [self] in
            state.remove(.readScheduled)
            read(isWoken: false)
        }
    }

    /// Receives what is there, and waits for more when that was all.
    private func read(isWoken: Bool) {
        guard isReading, readID == .none else { return }
        state.insert(.delivering)
        let isDrained = receiveAll(isWoken: isWoken)
        state.remove(.delivering)
        flush()
        guard isReading, readID == .none else { return }
        if isDrained {
            readID = loop.submitReady(.read, on: fd, target: self)
        } else {
            updateReading()
        }
    }

    /// Whether nothing is left.
    private func receiveAll(isWoken: Bool) -> Bool {
        if !held.isEmpty { deliverHeld() }
        let buffer = buffer ?? DatagramBuffer(size: family == AF_UNIX ? 256 << 10 : 64 << 10)
        self.buffer = buffer
        for turn in 0..<Self.readsPerTurn {
            guard isReading else { return false }
            let count = buffer.receive(on: fd)
            if count > 0 {
                deliver(Int(count), in: buffer)
                // Fewer than there was room for: the kernel found no more.
                if count < DatagramBuffer.capacity { return isReading }
                continue
            }
            switch -count {
            case 0, EINTR: break
            case EAGAIN:
                // Woken by nothing but a report of the network.
                if isWoken, turn == 0 { reportKeptErrors() }
                return isReading
            case let number: receiveFailed(number)
            }
        }
        return false
    }

    @inline(__always)
    private func deliver(_ count: Int, in buffer: DatagramBuffer) {
        for index in 0..<count {
            guard isReading else { return hold(index..<count, of: buffer) }
            if buffer.isTruncated(at: index) {
                report(
                    LoopError(
                        errno: EMSGSIZE, operation: "receive",
                        detail: "from \(buffer.address(at: index)): longer than \(buffer.size)"))
            } else {
                deliver(buffer.bytes(at: index), from: buffer.address(at: index))
            }
        }
    }

    private func deliver(_ bytes: UnsafeRawBufferPointer, from address: LoopAddress) {
        guard let proto else { return }
        // SAFETY: the memory is the buffer's, or `held`'s, and stays as it is until the call
        // returns; a RawSpan cannot leave it.
        let data = RawSpan(_unsafeBytes: bytes)
        guard !loop.isDebug else {
            return call("datagramReceived") {
                try proto.datagramReceived(RawSpan(_unsafeBytes: bytes), from: address)
            }
        }
        do {
            try proto.datagramReceived(data, from: address)
        } catch {
            failed(error, in: "datagramReceived")
        }
    }

    /// Reading was paused, or ended, by the call for one of those that came together.
    private func hold(_ range: Range<Int>, of buffer: DatagramBuffer) {
        guard !state.contains(.closing) else { return }
        for index in range where !buffer.isTruncated(at: index) {
            held.append((Array(buffer.bytes(at: index)), buffer.address(at: index)))
        }
    }

    private func deliverHeld() {
        var rest = held[...]
        held = []
        while isReading, let datagram = rest.popFirst() {
            datagram.bytes.withUnsafeBytes { deliver($0, from: datagram.address) }
        }
        if !state.contains(.closing) { held = Array(rest) }
    }

    private func receiveFailed(_ number: CInt) {
        switch number {
        case EBADF, ENOTSOCK, EINVAL, EFAULT, EOPNOTSUPP:
            end(LoopError(errno: number, operation: "receive"))
        default:
            // The report that is kept has the address.
            if !reportKeptErrors() {
                report(LoopError(errno: number, operation: "receive", detail: remoteDetail))
            }
        }
    }

    var remoteDetail: String? { remoteAddress?.description }

    // MARK: Errors of single datagrams

    /// Tells the protocol what the network said.
    ///
    /// Returns whether it said something.
    @discardableResult
    func reportKeptErrors() -> Bool {
        guard state.contains(.keepsErrors), fd >= 0 else { return false }
        var found = false
        var (number, storage, length) = (CInt(0), gyre_socket_address(), UInt32(0))
        while gyre_datagrams_take_error(fd, &number, &storage, &length) > 0 {
            guard number != 0 else { continue }
            found = true
            let address = length > 0 ? LoopAddress(plain: storage, length: length) : nil
            report(LoopError(errno: number, operation: "send", detail: address?.description))
        }
        return found
    }

    /// Tells the protocol of an error, in a later iteration.
    func report(_ error: LoopError) {
        loop.callSoonPlainly { [self] in
            guard state.isDisjoint(with: .lost), let proto else { return }
            loop.measure("errorReceived") { proto.errorReceived(error) }
        }
    }

    // MARK: Closing

    /// Whether the endpoint is closing or closed: nothing more is delivered, nor taken for sending.
    public var isClosing: Bool { state.contains(.closing) }

    /// Sends what is kept, then closes.
    ///
    /// ``LoopDatagramProtocol/connectionLost(_:)`` follows in a later iteration, without an error.
    public func close() {
        loop.checkThread("close", instead: "handle.callSoonThreadSafe")
        guard !state.contains(.closing) else { return }
        state.insert(.closing)
        if readID != .none { loop.cancel(readID) }
        if queue.isEmpty { end(nil) }
    }

    /// Closes at once; what was not sent is dropped.
    ///
    /// ``LoopDatagramProtocol/connectionLost(_:)`` follows in a later iteration, without an error.
    public func abort() {
        loop.checkThread("abort", instead: "handle.callSoonThreadSafe")
        end(nil)
    }

    /// Nothing more is sent or received; when the operations have ended, the connection is lost.
    func end(_ error: (any Error)?) {
        guard !state.contains(.ending) else { return }
        state.formUnion([.closing, .ending])
        lossError = error
        writeRetry?.cancel()
        writeRetry = nil
        if readID != .none { loop.cancel(readID) }
        if writeID != .none { loop.cancel(writeID) }
        // Never inside the call that caused it.
        if readID == .none, writeID == .none { loop.callSoonPlainly { [self] in lose() } }
    }

    private func finishIfEnded() {
        if state.contains(.ending), readID == .none, writeID == .none { lose() }
    }

    private func lose() {
        guard !state.contains(.lost), let proto else { return }
        state.insert(.lost)
        release()
        let error = lossError
        loop.measure("connectionLost of \(type(of: proto))") { proto.connectionLost(error) }
    }

    private func release() {
        queue.removeAll()
        held = []
        buffer = nil
        proto = nil
        file?.remove()
        file = nil
        loop.closeDescriptor(fd)
        fd = -1
        loop.unregister(resource)
    }

    /// Calls the protocol object; what it throws ends the endpoint.
    private func call(_ name: String, _ body: () throws -> Void) {
        loop.measure("\(name) of a datagram endpoint") {
            do { try body() } catch { failed(error, in: name) }
        }
    }

    private func failed(_ error: any Error, in name: String) {
        loop.handle(thrown: error, message: "\(name) of a datagram endpoint threw an error")
        end(error)
    }

    // MARK: About the endpoint

    /// The address of this side, nil when the endpoint is closed.
    public var localAddress: LoopAddress? { fd < 0 ? nil : Socket.localAddress(of: fd) }

    /// The socket, for options that the transport does not know; -1 when the endpoint is closed.
    ///
    /// It stays the transport's: do not read, write or close it.
    public var descriptor: CInt { fd }

    /// The protocol object that is served, nil after connection lost.
    public var currentProtocol: (any LoopDatagramProtocol)? { proto }

    /// How many datagrams the kernel has dropped because the socket's receive buffer was full; nil
    /// when the endpoint is closed.
    public var droppedCount: Int? {
        var count = UInt32(0)
        guard fd >= 0, gyre_datagrams_dropped(fd, &count) == 0 else { return nil }
        return Int(count)
    }
}

extension LoopDatagramTransport: OperationTarget, LoopResource {
    package func operationCompleted(_ completion: Completion) {
        let isRead = completion.id == readID
        if isRead { readID = .none } else { writeID = .none }
        guard !state.contains(.ending) else { return finishIfEnded() }
        switch (completion.result, isRead) {
        case (0..., true): read(isWoken: true)
        case (0..., false): flush()
        case (-ECANCELED, true): updateReading()
        case (let number, _): end(LoopError(errno: -number, operation: isRead ? "receive" : "send"))
        }
    }

    package func loopDidClose() {
        state.formUnion([.closing, .ending, .lost])
        writeRetry = nil
        release()
    }
}

@available(*, unavailable)
extension LoopDatagramTransport: Sendable {}
