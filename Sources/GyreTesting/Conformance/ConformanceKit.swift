// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// What a ``Behaviour`` is checked with: a way to make loops of the kind under test, and to run
/// them without the danger of hanging.
public struct ConformanceKit: Sendable {
    /// The policy under test, for messages.
    public let policy: String
    /// How long one run may take before it counts as hanging.
    public let limit: Duration
    private let make: @Sendable (LoopClock) throws -> Loop

    /// A kit for the loops that `makeLoop` makes, each with the clock it is handed.
    public init(
        policy: String, limit: Duration = .seconds(20),
        makeLoop: @escaping @Sendable (LoopClock) throws -> Loop
    ) {
        self.policy = policy
        self.limit = limit
        make = makeLoop
    }

    /// Makes a loop.
    public func makeLoop(clock: LoopClock = .monotonic) throws -> Loop {
        try make(clock)
    }

    /// Runs `loop` until something stops it.
    ///
    /// - Throws: What ``GyreCore/Loop/runForever()`` throws, or ``WatchdogExpired``.
    public func run(_ loop: Loop, file: StaticString = #fileID, line: UInt = #line) throws {
        try watched(loop, "\(file):\(line)") { try loop.runForever() }
    }

    /// Runs one iteration of `loop`.
    ///
    /// See ``run(_:file:line:)``.
    public func run(
        _ loop: Loop, _ mode: LoopRunMode, file: StaticString = #fileID, line: UInt = #line
    ) throws {
        try watched(loop, "\(file):\(line)") { try loop.run(mode) }
    }

    /// Runs what is ready, and what that schedules, for as long as there is something.
    ///
    /// For loops whose work ends by itself.
    ///
    /// - Throws: A ``ConformanceFailure`` when there is still work after `iterationsMax`.
    public func drain(_ loop: Loop, iterationsMax: Int = 1000) throws {
        for _ in 0..<iterationsMax {
            try run(loop, .noWait)
            if loop.statistics.readyCount == 0 { return }
        }
        throw ConformanceFailure("callbacks keep coming")
    }

    private func watched(_ loop: Loop, _ purpose: String, _ body: () throws -> Void) throws {
        let watchdog = try Watchdog(on: loop.handle, limit: limit, purpose: purpose)
        let outcome = Result { try body() }
        try watchdog.end()
        try outcome.get()
    }
}
