// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
public import GyreCore

// Sending. A datagram goes to the kernel at once, unless others wait, or those that arrived
// together are being answered: then it is kept, and goes with others in one system call.
//
// What the network says of a datagram reaches the socket later, and fails the next call, whichever
// that is. So a send that fails with such an error is tried once more: the datagram has nothing to
// do with it.

extension LoopDatagramTransport {
    /// Sends `bytes` as one datagram to `address`, or to the endpoint's remote address.
    ///
    /// Never blocks and keeps no reference to them. What the kernel does not take now is kept; see
    /// ``LoopDatagramProtocol/pauseWriting()``. Whether it arrives nobody knows;
    /// ``LoopDatagramProtocol/errorReceived(_:)`` tells what is told. On an endpoint that is
    /// closing or closed the bytes are dropped.
    ///
    /// - Throws: ``LoopError/Code/invalidArgument`` when `address` is not the remote address, or
    ///   not of the endpoint's family; ``LoopError/Code/notConnected`` when there is neither.
    public func sendTo(_ bytes: RawSpan, _ address: LoopAddress? = nil) throws(LoopError) {
        guard try maySend(to: address) else { return }
        bytes.withUnsafeBytes { send($0, to: address) }
    }

    /// Sends `bytes`, as ``sendTo(_:_:)-(RawSpan,_)``.
    public func sendTo(_ bytes: [UInt8], _ address: LoopAddress? = nil) throws(LoopError) {
        guard try maySend(to: address) else { return }
        bytes.withUnsafeBytes { send($0, to: address) }
    }

    /// Sends the UTF-8 bytes of `text`, as ``sendTo(_:_:)-(RawSpan,_)``.
    public func sendTo(_ text: String, _ address: LoopAddress? = nil) throws(LoopError) {
        guard try maySend(to: address) else { return }
        var text = text
        text.withUTF8 { send(UnsafeRawBufferPointer($0), to: address) }
    }

    private func maySend(to address: LoopAddress?) throws(LoopError) -> Bool {
        loop.checkThread("sendTo", instead: "handle.callSoonThreadSafe")
        guard !state.contains(.closing) else { return false }
        switch (address, remoteAddress) {
        case (nil, nil):
            throw LoopError(
                .notConnected, operation: "sendTo",
                detail: "the endpoint has no remote address, and no other was given")
        case (let address?, let remote?) where address != remote:
            throw LoopError(
                .invalidArgument, operation: "sendTo",
                detail: "the endpoint is connected to \(remote), not to \(address)")
        case (let address?, nil) where address.family != family:
            throw LoopError(
                .invalidArgument, operation: "sendTo",
                detail: "\(address) is of another family than the endpoint")
        default: return true
        }
    }

    // SAFETY: what is sent is lent for the call only: either the kernel takes it at once, or the
    // queue copies it.
    private func send(_ bytes: UnsafeRawBufferPointer, to address: LoopAddress?) {
        // A connected socket takes none with an address.
        let target = remoteAddress == nil ? address : nil
        guard queue.isEmpty, !state.contains(.delivering) else { return keep(bytes, target) }
        while true {
            let number = Self.send(bytes, to: target, on: fd)
            switch number {
            case 0: return settleFailure()
            case EAGAIN:
                settleFailure()
                keep(bytes, target)
                return waitForRoom()
            default: if !triesAgain(number) { return sendFailed(number, to: target) }
            }
        }
    }

    /// Returns 0 or an error number.
    private static func send(
        _ bytes: UnsafeRawBufferPointer, to address: LoopAddress?, on fd: CInt
    ) -> CInt {
        let flags = CInt(MSG_DONTWAIT | MSG_NOSIGNAL)
        while true {
            let result =
                address?.withSocketAddress {
                    Glibc.sendto(fd, bytes.baseAddress, bytes.count, flags, $0, $1)
                } ?? Glibc.send(fd, bytes.baseAddress, bytes.count, flags)
            if result >= 0 { return 0 }
            if errno != EINTR { return errno }
        }
    }

    private func keep(_ bytes: UnsafeRawBufferPointer, _ address: LoopAddress?) {
        queue.append(bytes, to: address)
        // What is kept only until those that arrived are answered is no sign of a slow network.
        if !state.contains(.delivering) { tellMarks() }
    }

    /// Sends what is kept, as far as the kernel takes it.
    func flush() {
        while !queue.isEmpty, writeID == .none, writeRetry == nil, !state.contains(.ending),
            !state.contains(.delivering)
        {
            let result = queue.send(on: fd)
            switch -result {
            case ..<0:
                settleFailure()
                queue.removeFirst(Int(result))
                writePause = .milliseconds(1)
            case 0, EINTR: break
            case EAGAIN:
                settleFailure()
                waitForRoom()
            case let number:
                guard !triesAgain(number) else { continue }
                sendFailed(number, to: queue.firstAddress)
                queue.removeFirst(1)
            }
        }
        tellMarks()
        if queue.isEmpty, state.contains(.closing) { end(nil) }
    }

    /// The kernel has no room.
    private func waitForRoom() {
        // Of a Unix socket that is sent to without being connected to, nobody tells when it has
        // room again.
        guard family == AF_UNIX, remoteAddress == nil else {
            writeID = loop.submitReady(.write, on: fd, target: self)
            return
        }
        writeRetry = loop.callLaterPlainly(writePause) { [self] in
            writeRetry = nil
            flush()
        }
        writePause = min(writePause * 2, .milliseconds(50))
    }

    // MARK: Errors

    /// Whether an error may have come from the network, for an earlier datagram.
    private static func mayBeOld(_ number: CInt) -> Bool {
        switch number {
        case ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN, ENOPROTOOPT, EPROTO,
            EMSGSIZE:
            true
        default: false
        }
    }

    /// Whether the error is put down to an earlier datagram, for now.
    private func triesAgain(_ number: CInt) -> Bool {
        guard failure == 0, Self.mayBeOld(number) else { return false }
        failure = number
        return true
    }

    /// The second try went well, or failed for another reason: the first failed for an earlier
    /// datagram.
    private func settleFailure(unless number: CInt = 0) {
        guard failure != 0 else { return }
        let earlier = failure
        failure = 0
        guard earlier != number, !reportKeptErrors() else { return }
        report(LoopError(errno: earlier, operation: "send", detail: remoteDetail))
    }

    /// A datagram is lost.
    private func sendFailed(_ number: CInt, to address: LoopAddress?) {
        settleFailure(unless: number)
        let detail = (address ?? remoteAddress)?.description
        report(LoopError(errno: number, operation: "send", detail: detail))
    }

    // MARK: Flow control

    /// How many bytes are kept because the kernel did not take them yet; each datagram counts some
    /// more than it has.
    public var writeBufferSize: Int { queue.size }

    /// The marks of the write buffer, in bytes.
    public var writeBufferLimits: (low: Int, high: Int) { (marks.low, marks.high) }

    /// Sets the marks of the write buffer, in bytes, as
    /// ``LoopTransport/setWriteBufferLimits(high:low:)``.
    ///
    /// - Throws: ``LoopError/Code/invalidArgument`` when `high` is below `low`, or one is
    ///   negative.
    public func setWriteBufferLimits(high: Int? = nil, low: Int? = nil) throws(LoopError) {
        loop.checkThread("setWriteBufferLimits", instead: "handle.callSoonThreadSafe")
        marks = try WriteMarks.given(high: high, low: low)
        tellMarks()
    }

    func tellMarks() {
        guard let proto, !state.contains(.ending) else { return }
        let isPaused = state.contains(.writingPaused)
        guard marks.pause(at: queue.size, isPaused: isPaused) != isPaused else { return }
        if isPaused {
            state.remove(.writingPaused)
            loop.measure("resumeWriting") { proto.resumeWriting() }
        } else {
            state.insert(.writingPaused)
            loop.measure("pauseWriting") { proto.pauseWriting() }
        }
    }
}
