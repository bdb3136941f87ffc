// SPDX-License-Identifier: Apache-2.0

package import GyreCore
import Synchronization

/// Async code that runs on a loop, and a future of what it returns.
///
/// Made by `createTask` of the loop, which holds a task until it ends, whoever else does. Its body
/// runs on the loop's thread, and no other code of the loop runs between two of its suspensions.
///
/// An error that nobody looked at is reported as that of a ``LoopFuture``.
public final class LoopTask<Value: Sendable>: LoopFuture<Value>, @unchecked Sendable {
    // SAFETY: as for LoopFuture: what changes is used on the loop's thread only, which is checked.

    var cancellation = CancellationState()
    private(set) var swiftTaskIdentity: UInt = 0
    // SAFETY: the task that runs the body, which lives until the body ended, when this is cleared.
    private var swiftTask: UnsafeCurrentTask?
    private var storedReason: String?
    private var registration: Int32 = -1
    private let givenName: String?
    /// Tasks are numbered as they are made, from 1 on.
    public let number: UInt64
    /// The number of the task whose code made this one; 0 when it was none.
    public let parentNumber: UInt64

    init(on handle: LoopHandle, name: String?, site: CallSite) {
        givenName = name
        number = TaskNumbers.next()
        parentNumber = (CurrentTask.scope as? any AnyLoopTask)?.number ?? 0
        super.init(on: handle, site: site)
    }

    /// The name that the task was given, or `Task-1` and so on.
    public var name: String { givenName ?? "Task-\(number)" }

    // MARK: Running

    /// Starts the body in a later iteration.
    func start(_ body: sending @escaping () async throws -> Value) {
        Task(name: givenName, executorPreference: handle) { await self.run(body) }
    }

    /// Starts the body now, up to its first suspension.
    func startEagerly(on loop: Loop, _ body: sending @escaping () async throws -> Value) {
        loop.keepNextJob()
        start(body)
        loop.runKeptJob()
    }

    /// Lets `loop` hold the task until it ends.
    func register(on loop: Loop) {
        registration = loop.tasks.insert(self)
        if loop.withoutTask == nil {
            loop.withoutTask = { body in CurrentTask.$scope.withValue(nil, operation: body) }
        }
    }

    private func run(_ body: () async throws -> Value) async {
        if registration < 0, let loop = Loop.current { register(on: loop) }
        guard !cancellation.isPending else { return end(.cancelled) }
        swiftTaskIdentity = CurrentTask.currentIdentity
        swiftTask = withUnsafeCurrentTask { $0 }
        Loop.current?.beginTask(name, identity: swiftTaskIdentity)
        await CurrentTask.$scope.withValue(self) {
            do {
                end(.value(try await body()))
            } catch is CancellationError {
                end(.cancelled)
            } catch {
                end(.failure(error))
            }
        }
    }

    private func end(_ outcome: Outcome) {
        let loop = Loop.running
        loop.endTask(identity: swiftTaskIdentity)
        swiftTaskIdentity = 0
        swiftTask = nil
        _ = loop.tasks.remove(registration)
        _ = complete(outcome)
        if case .failure(let error as any LoopFatalError) = outcome {
            markErrorAsSeen()
            loop.interrupt(error)
        }
    }

    // MARK: Cancelling

    /// Cancels the task: what it waits for is cancelled, so that it fails there with
    /// `CancellationError`; if it does not wait, its next wait fails.
    ///
    /// Every call fails one wait. A task that did not begin never does. The body may catch the
    /// error, clean up, and even return a value: then the task is not ``LoopFuture/isCancelled``.
    ///
    /// `Task.isCancelled` of Swift is set too, and stays set: `Task.sleep`, and child tasks made
    /// from then on, are cancelled from the start.
    ///
    /// - Returns: False when the task was done.
    @discardableResult
    public override func cancel() -> Bool { cancel(nil) }

    /// Cancels the task as ``cancel()``, and says why, see ``cancellationReason``.
    @discardableResult
    public func cancel(_ reason: String?) -> Bool {
        guard !isDone else { return false }
        if let reason { storedReason = reason }
        cancellation.requests += 1
        if cancellation.wait?.cancelWait() != true { cancellation.isPending = true }
        // Behind that, so that what this task waits for is cancelled once.
        swiftTask?.cancel()
        return true
    }

    /// What the last ``cancel(_:)`` that gave a reason gave.
    public var cancellationReason: String? {
        checkThread()
        return storedReason
    }

    /// How many times the task was cancelled, less the calls of ``uncancel()``.
    public var cancelling: Int {
        checkThread()
        return cancellation.requests
    }

    /// Takes one ``cancel()`` back, for code that cancelled a task for its own ends, as a timeout
    /// does, and caught the error.
    ///
    /// - Returns: How many are left.
    @discardableResult
    public func uncancel() -> Int {
        checkThread()
        if cancellation.requests > 0 { cancellation.requests -= 1 }
        if cancellation.requests == 0 { cancellation.isPending = false }
        return cancellation.requests
    }

    override var waitDescription: String { "task \(name)" }
}

extension LoopTask: TaskScope {}

extension LoopTask: LoopResource {
    package func loopDidClose() { registration = -1 }

    package var pendingReport: LoopExceptionContext? {
        LoopExceptionContext(
            message: "The task \(name) was pending when its loop was closed", site: site)
    }
}

/// Tasks are numbered as they are made.
private enum TaskNumbers {
    private static let made = Atomic<UInt64>(0)

    static func next() -> UInt64 { made.wrappingAdd(1, ordering: .relaxed).newValue }
}
