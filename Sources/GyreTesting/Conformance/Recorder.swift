// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreNet

/// A protocol object that notes what it is told, and does what a test wants done then.
final class Recorder: LoopStreamProtocol {
    enum Event: Equatable {
        case made
        case data
        case end
        case lost
        case paused
        case resumed
    }

    /// What it was told, in order; pieces of data that follow each other are one.
    private(set) var events: [Event] = []
    private(set) var received: [UInt8] = []
    private(set) var transport: LoopTransport?
    private(set) var error: (any Error)?
    /// How many pieces of data came.
    private(set) var pieces = 0
    /// What `endOfFileReceived` answers.
    var keepsOpen = false

    var onMade: (LoopTransport) throws -> Void = { _ in }
    var onData: () throws -> Void = {}
    var onEnd: () -> Void = {}
    var onLost: () -> Void = {}
    var onPause: () -> Void = {}
    var onResume: () -> Void = {}

    func count(of event: Event) -> Int { events.count { $0 == event } }

    /// Takes what was received so far.
    func take() -> [UInt8] {
        defer { received = [] }
        return received
    }

    func connectionMade(_ transport: LoopTransport) throws {
        events.append(.made)
        self.transport = transport
        try onMade(transport)
    }

    func dataReceived(_ data: RawSpan) throws {
        if events.last != .data { events.append(.data) }
        pieces += 1
        // SAFETY: the bytes are copied before the borrow ends.
        data.withUnsafeBytes { received.append(contentsOf: $0) }
        try onData()
    }

    func endOfFileReceived() -> Bool {
        events.append(.end)
        onEnd()
        return keepsOpen
    }

    func connectionLost(_ error: (any Error)?) {
        events.append(.lost)
        self.error = error
        transport = nil
        onLost()
        forgetClosures()
    }

    /// Closures of a test may hold the recorder that holds them.
    func forgetClosures() {
        onMade = { _ in }
        onData = {}
        onEnd = {}
        onLost = {}
        onPause = {}
        onResume = {}
    }

    func pauseWriting() {
        events.append(.paused)
        onPause()
    }

    func resumeWriting() {
        events.append(.resumed)
        onResume()
    }
}

/// Bytes that tell where they belong: a mix-up or a gap shows at once.
///
/// The period is prime, so that no buffer size hides a repetition.
func pattern(_ count: Int, seed: Int = 0) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count {
        let start = (seed + bytes.count) % 251
        bytes += patternPeriods[start...].prefix(count - bytes.count)
    }
    return bytes
}

private let patternPeriods = (0..<251 * 1024).map { UInt8($0 % 251) }

/// Throws unless `bytes` are the first `count` of the pattern.
func expectPattern(
    _ bytes: [UInt8], count: Int, seed: Int = 0, file: String = #filePath, line: Int = #line
) throws {
    guard bytes != pattern(count, seed: seed) else { return }
    let expected = pattern(count, seed: seed)
    let position = zip(bytes, expected).enumerated().first { $1.0 != $1.1 }?.offset
    throw ConformanceFailure(
        "got \(bytes.count) bytes of \(count)"
            + (position.map { ", and the one at \($0) is another" } ?? ""),
        file: file, line: line)
}

/// A server and one connection to it from the same loop.
final class ConnectedPair {
    let loop: Loop
    let server: LoopServer
    /// The side that connected.
    let near: Recorder
    /// The side that was accepted.
    let far: Recorder
    let nearTransport: LoopTransport
    let farTransport: LoopTransport

    /// Runs the loop until both sides are connected.
    init(_ kit: ConformanceKit, loop: Loop, near: Recorder, far: Recorder) throws {
        self.loop = loop
        self.near = near
        self.far = far
        server = try loop.createServer(host: "127.0.0.1", port: 0) { far }
        let port = try server.port
        var outcome: LoopConnecting.Outcome?
        func stopWhenConnected() {
            if outcome != nil, far.transport != nil { loop.stop() }
        }
        let onMade = far.onMade
        far.onMade = { transport in
            try onMade(transport)
            stopWhenConnected()
        }
        loop.createConnection(
            host: "127.0.0.1", port: port, makeProtocol: { near },
            completion: {
                outcome = $0
                stopWhenConnected()
            })
        try kit.run(loop)
        far.onMade = onMade
        guard let outcome, let farTransport = far.transport else {
            throw ConformanceFailure("the loop stopped before the connection was made")
        }
        nearTransport = try outcome.get()
        self.farTransport = farTransport
    }

    convenience init(_ kit: ConformanceKit) throws {
        try self.init(kit, loop: kit.makeLoop(), near: Recorder(), far: Recorder())
    }

    /// Closes the loop, which tells the recorders nothing.
    func close() throws {
        try loop.close()
        near.forgetClosures()
        far.forgetClosures()
    }
}

extension LoopServer {
    /// The port of its only address.
    var port: Int {
        get throws {
            guard let address = addresses.first else {
                throw ConformanceFailure("the server listens nowhere")
            }
            return address.port
        }
    }
}
