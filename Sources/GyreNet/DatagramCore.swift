// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// What stands between a datagram transport, which calls, and tasks, which wait.
final class DatagramCore: LoopDatagramProtocol, @unchecked Sendable {
    // SAFETY: used on the loop's thread only: LoopDatagramEndpoint, which is what goes to other
    // threads, brings every call here.

    let loop: Loop
    /// What arrived, and the errors, in order; shut down when the endpoint is closed.
    private let arrived: LoopQueue<Result<LoopDatagram, LoopError>>
    private let heldMax: Int
    private var transport: LoopDatagramTransport?
    private var isReadingPaused = false
    private var isWritingPaused = false
    private var drains: [LoopFuture<Void>] = []
    private var endings: [LoopFuture<Void>] = []
    private var lossError: (any Error)?
    private var isLost = false

    init(on loop: Loop, heldMax: Int) {
        self.loop = loop
        self.heldMax = max(1, heldMax)
        arrived = LoopQueue(on: loop)
    }

    // MARK: The transport calls

    func connectionMade(_ transport: LoopDatagramTransport) { self.transport = transport }

    func datagramReceived(_ data: RawSpan, from address: LoopAddress) throws {
        // SAFETY: the bytes are copied before the call ends.
        let bytes = data.withUnsafeBytes { Array($0) }
        try hold(.success(LoopDatagram(bytes: bytes, address: address)))
    }

    func errorReceived(_ error: LoopError) {
        // Sending goes on while nobody receives, and every datagram may be refused.
        guard arrived.count < heldMax else { return }
        try? hold(.failure(error))
    }

    private func hold(_ item: Result<LoopDatagram, LoopError>) throws {
        try arrived.putNoWait(item)
        guard arrived.count >= heldMax, !isReadingPaused else { return }
        isReadingPaused = true
        transport?.pauseReading()
    }

    func connectionLost(_ error: (any Error)?) {
        isLost = true
        lossError = error
        transport = nil
        arrived.shutdown()
        for waiter in drains + endings { waiter.succeed() }
        (drains, endings) = ([], [])
    }

    func pauseWriting() { isWritingPaused = true }

    func resumeWriting() {
        isWritingPaused = false
        for drain in drains { drain.succeed() }
        drains = []
    }

    // MARK: Tasks call

    /// What arrived next, or the error of one datagram; nil when the endpoint is closed.
    ///
    /// Throws what is no datagram's, and stays.
    func receive() async throws -> Result<LoopDatagram, LoopError>? {
        do {
            let item = try await arrived.get()
            if isReadingPaused, arrived.count <= heldMax / 2 {
                isReadingPaused = false
                transport?.resumeReading()
            }
            return item
        } catch let error as LoopError where error.code == .queueShutDown {
            if let lossError { throw lossError }
            return nil
        }
    }

    func send(_ bytes: [UInt8], to address: LoopAddress?) async throws {
        guard let transport else {
            throw lossError
                ?? LoopError(.closed, operation: "sendTo", detail: "the endpoint is closed")
        }
        try transport.sendTo(bytes, address)
        guard isWritingPaused else { return }
        let drain = LoopFuture<Void>(on: loop)
        drains.append(drain)
        do { try await drain.value } catch {
            // The kernel may have no room for long.
            drains.removeAll { $0 === drain }
            throw error
        }
    }

    /// Closes after what is kept was sent, and waits for that; when the task is cancelled
    /// meanwhile, without that.
    func finish() async {
        transport?.close()
        guard !isLost else { return }
        let ending = LoopFuture<Void>(on: loop)
        endings.append(ending)
        do { try await ending.value } catch { transport?.abort() }
        while !isLost {
            let ending = LoopFuture<Void>(on: loop)
            endings.append(ending)
            try? await ending.waitForEnd()
        }
    }

    func abort() { transport?.abort() }

    /// The transport, while it is open.
    func open(_ operation: String) throws(LoopError) -> LoopDatagramTransport {
        guard let transport else { throw LoopError(.closed, operation: operation) }
        return transport
    }

    func look<Value>(_ body: (LoopDatagramTransport) -> Value?) -> Value? {
        transport.flatMap(body)
    }
}

extension LoopFuture<Void> {
    /// Ends it unless it is done.
    fileprivate func succeed() { if !isDone { try? setResult(()) } }
}
