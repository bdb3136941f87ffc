// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// A part of a task that can be cancelled by itself: the body of a timeout, or of a group.
protocol OwnTaskScope: AnyObject, Sendable {
    /// The task that runs the body.
    var task: LoopTask<Void>? { get set }
}

/// Runs `body` in a task of its own, begun at once, and waits for its end.
///
/// Cancelling the caller cancels that task, each time. The other way round nothing reaches the
/// caller: a timeout leaves neither a cancellation nor Swift's flag behind in it. A cancellation of
/// the caller that comes when the body has ended waits for the caller's next wait, so that what the
/// body returned is not lost.
func runInOwnTask<Scope: OwnTaskScope, Value>(
    _ scope: Scope, name: String, file: StaticString, line: UInt, on loop: Loop,
    isolation: isolated (any Actor)?, _ body: (Scope) async throws -> Value
) async throws -> Value {
    try await withoutActuallyEscaping(body) { body in
        // Captured, so that this closure stays where the caller is.
        _ = isolation
        let borrowed = BorrowedBody(scope, body)
        let task = loop.createTask(name: name, eager: true, file: file, line: line) {
            try await borrowed.run()
        }
        scope.task = task
        try await task.suspendUntilDone()
        try task.result()
        guard let value = borrowed.value else { trap("a body ended without a value") }
        return value
    }
}

/// A body that is lent to another task.
private final class BorrowedBody<Scope: Sendable, Value>: @unchecked Sendable {
    // SAFETY: the task that borrows the body runs on the thread of the caller, who waits until it
    // ended, and touches nothing meanwhile. It has let go of the body when the caller goes on, as
    // `withoutActuallyEscaping` checks.
    private let scope: Scope
    private let body: (Scope) async throws -> Value
    private(set) var value: Value?

    init(_ scope: Scope, _ body: @escaping (Scope) async throws -> Value) {
        self.scope = scope
        self.body = body
    }

    func run() async throws { value = try await body(scope) }
}
