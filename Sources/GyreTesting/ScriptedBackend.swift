// SPDX-License-Identifier: Apache-2.0

import Glibc
package import GyreCore
import Synchronization

/// A backend without a kernel: the test sees every call of the loop, and completes operations by
/// hand.
///
/// Waits are scripted too: each wait that may block takes the next step of ``steps``, on the loop's
/// thread, in place of the kernel. Without a step it blocks until ``LoopWaker/wake()`` or its time
/// is over, as a real backend does, and traps after ten seconds in which nothing came: such a test
/// would hang.
package final class ScriptedBackend: LoopBackend {
    /// An operation as the loop submitted it.
    package struct Submission {
        package let id: OperationID
        package let operation: Operation
    }

    private struct Event {
        let id: OperationID
        let result: CInt
        let more: Bool
        let bytes: [UInt8]
    }

    package let name = "scripted"
    package var waker: any LoopWaker { scriptedWaker }
    package let socketFlags: CInt = 0
    package let descriptor: CInt? = nil

    private let operations: OperationTable
    private let scriptedWaker = ScriptedWaker()
    private var events: [Event] = []
    private var nextEvent = 0

    /// What was submitted, in order.
    package private(set) var submissions: [Submission] = []
    /// What was asked to end, in order.
    package private(set) var cancellations: [OperationID] = []
    /// The timeouts of all waits, in nanoseconds; negative is for ever.
    package private(set) var waits: [Int64] = []
    /// Descriptors the loop closed.
    ///
    /// They are only noted: a test makes its numbers up.
    package private(set) var closedDescriptors: [CInt] = []
    /// Whether the loop closed the backend.
    package private(set) var isClosed = false
    /// What happens in the coming waits that may block, one for each.
    ///
    /// Called with the timeout.
    package var steps: [(Int64) -> Void] = []

    package init(operations: OperationTable) {
        self.operations = operations
    }

    /// How often the loop was woken.
    package var wakeUps: Int { scriptedWaker.count }

    /// Lets the operation complete: the next ``deliver()`` tells its target.
    package func complete(
        _ id: OperationID, _ result: CInt, more: Bool = false, bytes: [UInt8] = []
    ) {
        events.append(Event(id: id, result: result, more: more, bytes: bytes))
    }

    // MARK: The contract

    package func submit(_ id: OperationID) {
        guard let operation = operations[id] else { return }
        submissions.append(Submission(id: id, operation: operation))
    }

    package func cancel(_ id: OperationID) {
        cancellations.append(id)
    }

    package func wait(nanoseconds: Int64) {
        waits.append(nanoseconds)
        guard nanoseconds != 0, nextEvent == events.count else { return }
        guard steps.isEmpty else { return steps.removeFirst()(nanoseconds) }
        scriptedWaker.wait(nanoseconds: nanoseconds)
    }

    package func deliver() {
        while nextEvent < events.count, !operations.isInterrupted {
            let event = events[nextEvent]
            nextEvent += 1
            // SAFETY: the bytes are lent to the target for the length of the call.
            event.bytes.withUnsafeBytes { bytes in
                operations.complete(event.id, event.result, more: event.more, bytes: bytes)
            }
        }
    }

    package func closeDescriptor(_ fd: CInt) {
        closedDescriptors.append(fd)
    }

    package func close() {
        isClosed = true
    }
}

/// Counts wake-ups and ends a scripted wait.
private final class ScriptedWaker: LoopWaker {
    private let calls = Atomic(0)
    private let latch = Latch(isReusable: true)

    var count: Int { calls.load(ordering: .relaxed) }

    func wake() {
        calls.wrappingAdd(1, ordering: .relaxed)
        latch.open()
    }

    func wait(nanoseconds: Int64) {
        let limit = Duration.seconds(10)
        let isBounded = nanoseconds >= 0 && .nanoseconds(nanoseconds) < limit
        let isWoken = latch.wait(for: isBounded ? .nanoseconds(nanoseconds) : limit)
        precondition(
            isWoken || isBounded, "the loop sleeps, and neither the script nor a thread wakes it")
    }
}

/// Makes a loop on a ``ScriptedBackend``.
package func makeScriptedLoop(
    clock: LoopClock = .monotonic
) throws(LoopError) -> (loop: Loop, backend: ScriptedBackend) {
    let selection = LoopSelection(policy: "scripted", requested: "scripted", origin: "test")
    var made: ScriptedBackend?
    let loop = try Loop(selection: selection, clock: clock) { operations in
        let backend = ScriptedBackend(operations: operations)
        made = backend
        return backend
    }
    guard let made else { preconditionFailure("a loop was made without a backend") }
    return (loop, made)
}
