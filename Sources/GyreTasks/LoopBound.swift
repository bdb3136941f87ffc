// SPDX-License-Identifier: Apache-2.0

package import GyreCore

/// An object of a loop's thread, held by what goes to any thread.
///
/// Locks and queues are `Sendable` and change all the time: what changes stands in here, and every
/// use checks the thread.
package struct LoopBound<Object: AnyObject>: @unchecked Sendable {
    // SAFETY: `stored` is handed out on the thread that owns the loop only, which is checked. The
    // last release may come on another thread, when nobody else can reach it any more.

    package let handle: LoopHandle
    private let stored: Object

    package init(_ object: Object, on handle: LoopHandle) {
        self.handle = handle
        stored = object
    }

    /// The object; traps on another thread than the loop's.
    @inline(__always)
    package var object: Object {
        if !handle.isOwnedByThisThread {
            trap("an object of a loop was used on another thread than its loop's")
        }
        return stored
    }

    /// Whether the caller is on the running loop, and waits without going there first.
    @inline(__always)
    var isHere: Bool { handle.isOnLoop }

    /// Runs `body` on the loop, for a task that runs outside of loops.
    ///
    /// - Throws: ``LoopError/Code/loopMismatch`` on another loop; ``LoopError/Code/closed`` when
    ///   this one is closed.
    func there<Result: Sendable>(
        _ operation: String, _ body: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        guard Loop.current == nil else {
            throw LoopError(
                .loopMismatch, operation: operation, detail: "it belongs to another loop")
        }
        guard !handle.isClosed else { throw LoopError(.closed, operation: operation) }
        let there = Task(executorPreference: handle) { try await body() }
        return try await withTaskCancellationHandler {
            try await there.value
        } onCancel: {
            there.cancel()
        }
    }

    /// Runs `body` on the loop: now, or soon when the caller is on another thread.
    package func soon(_ body: @escaping @Sendable (Object) -> Void) {
        if handle.isOwnedByThisThread {
            body(stored)
        } else {
            // On a closed loop nobody waits any more.
            try? handle.callSoonThreadSafe { _ in body(object) }
        }
    }
}
