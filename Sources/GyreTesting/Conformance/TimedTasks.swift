// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

// Tasks that end in a known way after a known time, on a manual clock.

struct TimedFailure: Error, Equatable {
    var number = 0
}

/// A task that returns `value` after `seconds`.
func returning<Value: Sendable>(
    _ value: Value, after seconds: Int, file: StaticString = #fileID, line: UInt = #line
) -> LoopTask<Value> {
    Loop.running.createTask(file: file, line: line) {
        try await sleep(.seconds(seconds))
        return value
    }
}

/// A task that fails after `seconds`.
func failing(
    _ number: Int = 0, after seconds: Int, file: StaticString = #fileID, line: UInt = #line
) -> LoopTask<Int> {
    Loop.running.createTask(file: file, line: line) {
        try await sleep(.seconds(seconds))
        throw TimedFailure(number: number)
    }
}

/// A task that ends `seconds` after it was cancelled, with `value`.
func stubborn<Value: Sendable>(_ value: Value, for seconds: Int) -> LoopTask<Value> {
    Loop.running.createTask {
        do { try await sleep(.seconds(1_000_000)) } catch { try await sleep(.seconds(seconds)) }
        return value
    }
}

/// Throws a ``ConformanceFailure`` unless `body` throws an error of the type `type`, and returns
/// that.
@discardableResult
func expectAsyncError<Failure: Error>(
    _ type: Failure.Type, file: String = #filePath, line: Int = #line,
    _ body: () async throws -> Void
) async throws -> Failure {
    do {
        try await body()
    } catch let error as Failure {
        return error
    } catch {
        throw ConformanceFailure("threw \(error), expected a \(type)", file: file, line: line)
    }
    throw ConformanceFailure("threw nothing, expected a \(type)", file: file, line: line)
}

/// Throws a ``ConformanceFailure`` unless `body` throws a `LoopError` with the code `code`.
func expectAsyncError(
    _ code: LoopError.Code, file: String = #filePath, line: Int = #line,
    _ body: () async throws -> Void
) async throws {
    let error = try await expectAsyncError(LoopError.self, file: file, line: line, body)
    try expect(error.code, equals: code, "the error \(error)", file: file, line: line)
}

extension ConformanceKit {
    /// Runs `body` as a task of a new loop with a manual clock, and checks that it leaves neither
    /// tasks nor timers behind.
    func runTask(
        file: StaticString = #fileID, line: UInt = #line,
        _ body: sending @escaping () async throws -> Void
    ) throws {
        let loop = try makeLoop(clock: ManualClock().loopClock)
        try complete(loop.createTask(name: "test", body), on: loop, file: file, line: line)
        try drain(loop)
        try expect(loop.allTasks.map(\.description), equals: [], "tasks left behind")
        try expect(loop.statistics.timerCount, equals: 0, "timers left behind")
        try loop.close()
    }

    /// Runs `body` as a task of a new loop, until what it opened is closed, and checks that it
    /// leaves nothing behind.
    func runConnections(
        file: StaticString = #fileID, line: UInt = #line,
        _ body: sending @escaping () async throws -> Void
    ) throws {
        let loop = try makeLoop()
        try complete(loop.createTask(body), on: loop, file: file, line: line)
        // The last of what was sent, and the closing.
        while loop.statistics.operationCount > 0 { try run(loop, .once) }
        try drain(loop)
        try expect(loop.allTasks.count, equals: 0, "tasks are left")
        try expect(loop.statistics.timerCount, equals: 0, "timers are left")
        try expect(loop.resourceCount, equals: 0, "sockets are left")
        try loop.close()
    }
}

extension Loop {
    /// Whole seconds of the clock since `start`.
    func seconds(since start: LoopClock.Instant) -> Int64 {
        start.duration(to: now).components.seconds
    }
}
