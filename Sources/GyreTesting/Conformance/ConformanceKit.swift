// SPDX-License-Identifier: Apache-2.0

public import GyreCore
import GyreTasks

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
        policy: String, limit: Duration = .seconds(60),
        makeLoop: @escaping @Sendable (LoopClock) throws -> Loop
    ) {
        self.policy = policy
        self.limit = limit
        make = makeLoop
    }

    /// Makes a loop, in which an error that reaches the exception handler is a failure: it ends the
    /// run.
    ///
    /// Behaviours that are about such errors set a handler of their own.
    public func makeLoop(clock: LoopClock = .monotonic) throws -> Loop {
        let loop = try make(clock)
        loop.exceptionHandler = { _, context in
            let error = context.error.map { ": \($0)" } ?? ""
            throw ConformanceFailure(
                "\(context.message)\(error)", file: context.site?.description ?? policy, line: 0)
        }
        return loop
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

    /// Runs `loop` until `future` is done, and returns its value.
    func complete<Value: Sendable>(
        _ future: LoopFuture<Value>, on loop: Loop, file: StaticString = #fileID, line: UInt = #line
    ) throws -> Value {
        try watched(loop, "\(file):\(line)") { try loop.runUntilComplete(future) }
    }

    func watched<Result>(
        _ loop: Loop, _ purpose: String, _ body: () throws -> Result
    ) throws -> Result {
        let watchdog = try Watchdog(on: loop.handle, limit: limit, purpose: purpose)
        let outcome = Swift.Result { try body() }
        try watchdog.end()
        return try outcome.get()
    }
}
