// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore
import GyreTasks

/// A process that was started, for async code: asyncio's `Process`.
///
/// Any task may use it. The loop watches the process to its end, also when nobody holds this any
/// more; it has to be waited for by nobody.
public struct LoopProcess: Sendable {
    private let core: ProcessCore
    /// The process's number.
    public let pid: CInt
    /// What the process reads, nil unless it is piped.
    ///
    /// Close it, so that the process comes to the end of its input.
    public let stdin: LoopStreamWriter?
    /// What the process writes, nil unless it is piped.
    public let stdout: LoopStreamReader?
    /// The errors that the process writes, nil unless they are piped.
    public let stderr: LoopStreamReader?

    init(_ core: ProcessCore) {
        self.core = core
        pid = core.process.pid
        stdin = core.pipes[0].map { LoopStreamWriter($0) }
        stdout = core.pipes[1].map { LoopStreamReader($0) }
        stderr = core.pipes[2].map { LoopStreamReader($0) }
    }

    /// The handle of the loop that watches the process.
    public var handle: LoopHandle { core.loop.handle }

    /// How the process ended: its exit status, or the negative number of the signal that killed it;
    /// nil while it runs, or off the loop's thread.
    public var returnCode: CInt? { handle.isOnLoop ? core.process.returnCode : nil }

    /// How many tasks wait for the process, for tests.
    package var waiterCount: Int { core.waiterCount }

    /// Waits until the process has ended.
    ///
    /// Its piped output may still be to be read. A process that writes more than its pipe holds,
    /// and nobody reads it, never ends: ``communicate(_:)-([UInt8])`` does both.
    ///
    /// - Returns: The exit status, or the negative number of the signal that killed it.
    /// - Throws: `CancellationError` when the task is cancelled; the process goes on.
    @discardableResult
    public func wait() async throws -> CInt {
        guard handle.isOnLoop else { return try await onLoop { try await wait() } }
        return try await core.waitForExit()
    }

    /// Hands `input` to the process, reads what it writes to the end, and waits until it has ended.
    ///
    /// A process that does not read all of its input is no error.
    ///
    /// - Returns: What it wrote to the streams that are piped; empty for the others.
    /// - Throws: ``LoopError/Code/invalidArgument`` when there is input and `stdin` is no pipe;
    ///   `CancellationError` when the task is cancelled: the process goes on, and what was read is
    ///   lost.
    public func communicate(
        _ input: [UInt8] = []
    ) async throws -> (stdout: [UInt8], stderr: [UInt8]) {
        guard handle.isOnLoop else { return try await onLoop { try await communicate(input) } }
        guard input.isEmpty || stdin != nil else {
            throw LoopError(
                .invalidArgument, operation: "communicate", detail: "stdin is no pipe")
        }
        let output = reading(stdout)
        let errors = reading(stderr)
        do {
            try await feed(input)
            let result = (try await output.value, try await errors.value)
            try await wait()
            return result
        } catch {
            // The streams are free again when this returns.
            for reading in [output, errors] {
                reading.cancel()
                try? await reading.waitForEnd()
            }
            throw error
        }
    }

    /// Hands the UTF-8 bytes of `input` to the process, as ``communicate(_:)-([UInt8])``.
    public func communicate(
        _ input: String
    ) async throws -> (stdout: [UInt8], stderr: [UInt8]) {
        try await communicate(Array(input.utf8))
    }

    private func reading(_ reader: LoopStreamReader?) -> LoopTask<[UInt8]> {
        core.loop.createTask(eager: true) { try await reader?.readToEnd() ?? [] }
    }

    private func feed(_ input: [UInt8]) async throws {
        guard let stdin else { return }
        do {
            try stdin.write(input)
            if !input.isEmpty { try await stdin.drain() }
        } catch let error as LoopError {
            // The process wants no more of it.
            let codes: [LoopError.Code] = [.brokenPipe, .connectionReset, .closed]
            guard codes.contains(error.code) else { throw error }
        }
        stdin.close()
    }

    // MARK: Signals

    /// Sends `signal` to the process, and never to another.
    ///
    /// - Throws: ``LoopError/Code/noSuchProcess`` when it has ended.
    /// - Important: Callable from any thread: from another it is sent soon, and a process that has
    ///   ended is no error.
    public func sendSignal(_ signal: CInt) throws(LoopError) {
        guard !handle.isOnLoop else { return try core.process.sendSignal(signal) }
        try handle.callSoonThreadSafe { [core] _ in try? core.process.sendSignal(signal) }
    }

    /// Asks the process to end, with `SIGTERM`, as ``sendSignal(_:)``.
    public func terminate() throws(LoopError) { try sendSignal(SIGTERM) }

    /// Ends the process at once, with `SIGKILL`, as ``sendSignal(_:)``.
    public func kill() throws(LoopError) { try sendSignal(SIGKILL) }

    /// From another thread: there and back.
    private func onLoop<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        guard Loop.current == nil else {
            throw LoopError(.loopMismatch, operation: "process", detail: "it is another loop's")
        }
        return try await handle.createTaskThreadSafe { try await body() }.value
    }
}
