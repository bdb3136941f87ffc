// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
public import GyreCore

// Unix connections that pass descriptors. What receives and sends them are calls of their own, so
// such a connection is read and written directly, and waited for by polls, as pipes are.

extension LoopTransport {
    /// How many descriptors may wait to be taken.
    static var passedMax: Int { Int(GYRE_PASSED_MAX) }

    /// Sends `bytes` behind what was written before, and descriptors with the first of them.
    ///
    /// As ``write(_:)-([UInt8])``. The peer gets descriptors of its own of the same open files; the
    /// caller may close these when the call returns.
    ///
    /// - Throws: ``LoopError/Code/notSupported`` on a connection that passes none, see
    ///   ``LoopUnixServerOptions/passesDescriptors``; ``LoopError/Code/invalidArgument`` without a
    ///   byte to go with, or with more than 253 descriptors; another ``LoopError`` when one is not
    ///   open, or cannot be copied.
    public func write(_ bytes: [UInt8], passing descriptors: [Int32]) throws(LoopError) {
        guard kind == .passing else {
            throw LoopError(
                .notSupported, operation: "write",
                detail: "the connection was not made to pass descriptors")
        }
        guard !bytes.isEmpty, descriptors.count <= Self.passedMax else {
            throw LoopError(
                .invalidArgument, operation: "write",
                detail: "at most \(GYRE_PASSED_MAX) descriptors go with at least one byte")
        }
        guard !descriptors.isEmpty else { return try write(bytes) }
        guard try mayWrite() else { return }
        let copies = try PassedDescriptors(copying: descriptors)
        let queue = queue ?? WriteQueue()
        self.queue = queue
        queue.append(copies)
        bytes.withUnsafeBytes { queue.append($0) }
        flush()
        tellMarks()
    }

    /// The descriptors that arrived since the last call, in order: those of the bytes that were
    /// delivered, up to those of the piece that ``LoopStreamProtocol/dataReceived(_:)`` is called
    /// with.
    ///
    /// They are the caller's to close. Those that nobody takes are closed with the connection,
    /// which breaks when more than 253 wait. They are not inherited by children.
    public func takeDescriptors() -> [Int32] {
        loop.checkThread("takeDescriptors", instead: "handle.callSoonThreadSafe")
        return passed?.take() ?? []
    }

    // SAFETY: recvmsg fills at most the memory it is given, the loop's, and what it filled is lent
    // to the protocol before anything else is read.
    /// Reads once from a connection that passes descriptors.
    func receivePassing() {
        let buffer = loop.scratchMemory.bytes
        guard let memory = buffer.baseAddress else { return }
        var isTruncated = false
        var count: CInt = 0
        let passed = passed ?? PassedDescriptors()
        let attempt = withUnsafeTemporaryAllocation(
            of: CInt.self, capacity: Int(GYRE_PASSED_MAX)
        ) { numbers in
            guard let start = numbers.baseAddress else { return Attempt.wouldBlock }
            let attempt = attempting {
                gyre_receive_passed(fd, memory, buffer.count, start, &count, &isTruncated)
            }
            if count > 0 { passed.append(numbers[..<Int(count)]) }
            return attempt
        }
        if count > 0 { self.passed = passed }
        guard !isTruncated, passed.numbers.count <= Self.passedMax else {
            return failPassing(
                isTruncated
                    ? "none is free for those that were passed"
                    : "nobody takes those that were passed")
        }
        switch attempt {
        case .wouldBlock: return
        case .finished(let count) where count > 0:
            deliverPieces(UnsafeRawBufferPointer(rebasing: buffer[..<Int(count)]))
        case .finished(0):
            receivedEnd()
            // The end is a level, too.
            updateReading()
        case .finished(let error): fail(LoopError(errno: -error, operation: "receive"))
        }
    }

    func failPassing(_ detail: String) {
        fail(LoopError(.noDescriptors, operation: "receive", detail: detail))
    }

    /// Those that arrived since the last call, if any; they are closed with the object.
    func takePassed() -> PassedDescriptors? {
        guard let passed, !passed.numbers.isEmpty else { return nil }
        self.passed = nil
        return passed
    }

    // SAFETY: the bytes are lent for the call.
    /// Sends bytes of the queue, with the descriptors that go with the first of them, or others.
    func attemptSendPassing(_ bytes: UnsafeRawBufferPointer) -> Attempt {
        guard let descriptors = queue?.descriptorsInFront, let start = bytes.baseAddress else {
            let flags = CInt(MSG_DONTWAIT | MSG_NOSIGNAL)
            return attempting { Glibc.send(fd, bytes.baseAddress, bytes.count, flags) }
        }
        return attempting {
            gyre_send_passing(
                fd, start, bytes.count, descriptors.numbers, CInt(descriptors.numbers.count))
        }
    }
}
