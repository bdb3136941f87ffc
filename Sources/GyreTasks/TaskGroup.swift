// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// Runs `body`, which may make tasks in the group, and waits until all of them ended.
///
/// When one of them fails, the others and the body are cancelled; when all ended, their errors are
/// thrown together, that of the body included. When the body fails, or the caller is cancelled, the
/// tasks are cancelled, too. A task of the group that is cancelled by itself disturbs nobody.
///
///     let (user, posts) = try await withLoopTaskGroup { group in
///         let user = try group.createTask { try await fetchUser() }
///         let posts = try group.createTask { try await fetchPosts() }
///         return (try await user.value, try await posts.value)
///     }
///
/// The groups of Swift (`withTaskGroup`) work on a loop, too. They differ in that their children
/// are not tasks of the loop, with names and cancellations that can be counted, and in that the
/// first error hides the others.
///
/// - Returns: What `body` returns.
/// - Throws: ``LoopTaskGroupError`` with all errors; `CancellationError` when the caller was
///   cancelled, or the body ended by a cancellation, and there were no errors;
///   ``LoopError/Code/loopMismatch`` outside a loop.
@discardableResult
public func withLoopTaskGroup<Value>(
    file: StaticString = #fileID, line: UInt = #line,
    _ body: (LoopTaskGroup) async throws -> Value
) async throws -> Value {
    let loop = try currentLoop("withLoopTaskGroup")
    let group = LoopTaskGroup(on: loop.handle, site: CallSite(file: file, line: line))
    let outcome: Result<Value, any Error>
    do {
        let value = try await runInOwnTask(
            group, name: "task group", file: file, line: line, on: loop, isolation: #isolation,
            body)
        outcome = .success(value)
    } catch {
        outcome = .failure(error)
    }
    try await group.end(outcome)
    return try outcome.get()
}

/// The errors of the tasks of a group, and of its body.
public struct LoopTaskGroupError: Error, CustomStringConvertible {
    /// The errors, in the order in which they came; that of the body is last.
    public let errors: [any Error]

    /// How many there are, and which.
    public var description: String {
        let list = errors.map { "\($0)" }.joined(separator: "; ")
        return errors.count == 1
            ? "a task of the group failed: \(list)"
            : "\(errors.count) tasks of the group failed: \(list)"
    }
}

/// The tasks of a `withLoopTaskGroup(_:)`.
///
/// - Important: On the loop's thread only.
public final class LoopTaskGroup: OwnTaskScope, FutureObserver, @unchecked Sendable {
    // SAFETY: everything is used on the thread of the loop only, which every call checks.

    private let handle: LoopHandle
    private let site: CallSite
    var task: LoopTask<Void>?
    private var children: [Int: any ObservableFuture] = [:]
    private var made = 0
    private var errors: [any Error] = []
    /// A task or the body failed, or the caller was cancelled.
    private var isAborting = false
    private var isBodyCancelled = false
    private var isCallerCancelled = false
    private var hasEnded = false
    private var emptied: DelegatingFuture<Void>?

    init(on handle: LoopHandle, site: CallSite) {
        self.handle = handle
        self.site = site
    }

    /// Makes a task of the group, as ``Loop/createTask(name:eager:file:line:_:)`` does.
    ///
    /// Tasks of the group may make further ones.
    ///
    /// - Throws: ``LoopError/Code/invalidState`` when the group is being cancelled, or has ended;
    ///   `body` then never begins.
    @discardableResult
    public func createTask<Value: Sendable>(
        name: String? = nil, eager: Bool = false,
        file: StaticString = #fileID, line: UInt = #line,
        _ body: sending @escaping () async throws -> Value
    ) throws(LoopError) -> LoopTask<Value> {
        checkThread()
        guard !hasEnded, !isAborting, let loop = Loop.current else {
            throw LoopError(
                .invalidState, operation: "createTask",
                detail: hasEnded ? "the group has ended" : "the group is being cancelled")
        }
        let child = loop.createTask(name: name, eager: eager, file: file, line: line, body)
        children[made] = child
        child.addObserver(self, index: made)
        made += 1
        return child
    }

    /// How many of its tasks did not end yet.
    public var count: Int {
        checkThread()
        return children.count
    }

    package func futureIsDone(_ index: Int) {
        let child = children.removeValue(forKey: index)
        if let error = child?.takeError() {
            errors.append(error)
            if !isAborting {
                abort()
                isBodyCancelled = task?.cancel("a task of the group failed") ?? false
            }
        }
        if children.isEmpty { emptied?.end(.value(())) }
    }

    private func abort() {
        isAborting = true
        for (_, child) in children.sorted(by: { $0.key < $1.key }) { child.cancel() }
    }

    /// Ends the group, whose body ended with `outcome`: waits for the tasks.
    ///
    /// - Throws: What the group ends with, unless it ends as its body did.
    fileprivate func end<Value>(_ outcome: Result<Value, any Error>) async throws {
        var bodyError: (any Error)?
        if case .failure(let error) = outcome { bodyError = error }
        let byGroup = isBodyCancelled && task?.cancelling == 1
        if bodyError is CancellationError, !byGroup { isCallerCancelled = true }
        if bodyError != nil, !isAborting { abort() }
        await waitForTasks()
        hasEnded = true
        task = nil
        if let bodyError, !(bodyError is CancellationError) { errors.append(bodyError) }
        guard errors.isEmpty else {
            // The errors go first, and the cancellation is not forgotten.
            if isCallerCancelled { CurrentTask.body?.cancelNextWait() }
            throw LoopTaskGroupError(errors: errors)
        }
        if isCallerCancelled { throw CancellationError() }
    }

    /// Every cancellation of the caller is passed on to the tasks.
    private func waitForTasks() async {
        while !children.isEmpty {
            let emptied = DelegatingFuture<Void>("task group", on: handle, site: site)
            emptied.canceller = { [self] _ in
                isCallerCancelled = true
                abort()
                return true
            }
            self.emptied = emptied
            // Fails only for a task that waits for itself, and for another loop's.
            try? await emptied.suspendUntilDone()
        }
        emptied = nil
    }

    private func checkThread() {
        if !handle.isOwnedByThisThread {
            trap("a task group was used on another thread than its loop's")
        }
    }
}
