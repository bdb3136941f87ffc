// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// Async code that runs on a loop, and a future of what it returns.
///
/// Made by `createTask` of the loop, which holds a task until it ends, whoever else does. Its body
/// runs on the loop's thread, and no other code of the loop runs between two of its suspensions.
///
/// An error that nobody looked at is reported as that of a ``LoopFuture``.
public final class LoopTask<Value: Sendable>: LoopFuture<Value>, @unchecked Sendable {
    // SAFETY: as for its superclass.

    @exclusivity(unchecked) @usableFromInline var state: TaskState

    @inlinable
    init(on handle: LoopHandle, name: String?, file: StaticString, line: UInt) {
        state = TaskState(name: name)
        super.init(on: handle, site: CallSite(file: file, line: line))
    }

    // MARK: Running

    /// Starts the body in a later iteration.
    ///
    /// - Returns: Which task of Swift runs it.
    @inlinable
    func start(_ body: sending @escaping () async throws -> Value, name: String?) -> UInt {
        // SAFETY: sent once, in a closure that is called once.
        nonisolated(unsafe) let body = body
        // One that throws needs no adapter in the library of Swift.
        let task = Task<Void, any Error>(name: name, executorPreference: handle) {
            await self.run(body)
        }
        return Self.identity(of: task)
    }

    @inlinable
    static func identity(of task: Task<Void, any Error>) -> UInt {
        // SAFETY: tells tasks apart, and is followed only while the body runs.
        unsafeBitCast(task, to: UInt.self)
    }

    // Both stay where their caller is: in the closure of a task of Swift the executor would be
    // looked at after each call, under a lock of the runtime, and after a call of a closure always.

    @inlinable
    @inline(__always)
    func run(_ body: () async throws -> Value) async {
        guard begin() else { return end(CancellationError()) }
        do {
            let value = try await call(body)
            leave()
            _ = succeed(value)
        } catch {
            end(error)
        }
    }

    @inlinable
    @inline(never)
    func call(_ body: () async throws -> Value) async throws -> Value { try await body() }

    /// The body has ended, with an error or not.
    package func end(_ result: Result<Value, any Error>) {
        switch result {
        case .success(let value):
            leave()
            _ = succeed(value)
        case .failure(let error): end(error)
        }
    }

    // MARK: Cancelling

    /// Cancels the task: what it waits for is cancelled, so that it fails there with
    /// `CancellationError`; if it does not wait, its next wait fails.
    ///
    /// Every call fails one wait. A task that did not begin never does. The body may catch the
    /// error, clean up, and even return a value: then the task is not
    /// ``LoopFutureBase/isCancelled``.
    ///
    /// `Task.isCancelled` of Swift is set too, and stays set: `Task.sleep`, and child tasks made
    /// from then on, are cancelled from the start. A body that was in such a wait meets the
    /// cancellation there, and once more in its next wait of the loop; one that catches it and goes
    /// on takes it back with ``uncancel()``.
    ///
    /// - Returns: False when the task was done.
    @discardableResult
    public override func cancel() -> Bool { cancel(nil) }

    /// Cancels the task as ``cancel()``, and says why, see ``cancellationReason``.
    @discardableResult
    public func cancel(_ reason: String?) -> Bool {
        guard !isDone else { return false }
        deliverCancellation(reason)
        return true
    }

    /// Takes one ``cancel()`` back, for code that cancelled a task for its own ends, as a timeout
    /// does, and caught the error.
    ///
    /// - Returns: How many are left.
    @discardableResult
    public func uncancel() -> Int {
        checkThread()
        return takeCancellationBack()
    }

    // MARK: For what the body waits for

    package override var waitDescription: String { "task \(name)" }

    override func beginWait(for wait: any CancellableWait) -> Bool {
        guard wait !== self else { return false }
        state.wait = wait
        if state.isCancellationPending, wait.cancelWait() { state.isCancellationPending = false }
        return true
    }

    override func leaveWait() { state.wait = nil }

    override func endWait() -> Bool {
        state.wait = nil
        guard state.isCancellationPending else { return false }
        state.isCancellationPending = false
        return true
    }

    override func cancelNextWait() {
        if state.requests > 0 { state.isCancellationPending = true }
    }

    override var cancellations: Int { state.requests }

    override var taskNumber: UInt64 { state.number }
}

extension LoopTask: AnyLoopTask {
    /// The name that the task was given, or `Task-1` and so on.
    public var name: String { state.givenName ?? "Task-\(number)" }
    /// Tasks are numbered as they are made, from 1 on.
    public var number: UInt64 { state.number }
    /// The number of the task whose code made this one; 0 when it was none.
    public var parentNumber: UInt64 { state.parentNumber }

    /// What the last ``cancel(_:)`` that gave a reason gave.
    public var cancellationReason: String? {
        checkThread()
        return state.reason
    }

    /// How many times the task was cancelled, less the calls of ``uncancel()``.
    public var cancelling: Int {
        checkThread()
        return state.requests
    }

    /// What the task waits for; nil when it does not wait for anything of a loop.
    public var waitsFor: String? {
        checkThread()
        return state.wait?.waitDescription
    }

    /// The name, and the place where the task was made.
    public var description: String { "task \(name) made at \(site)" }
}
