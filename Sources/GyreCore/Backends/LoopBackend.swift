// SPDX-License-Identifier: Apache-2.0

/// What drives a loop: the contract between the tick and the kernel.
///
/// Completions first. *Submit* starts an operation, which finishes exactly once, also when it is
/// cancelled; some kinds complete several times before, with ``Completion/more`` set. *Cancel* is a
/// request: the operation's own last completion is the truth. Completions are handed out by
/// ``deliver()`` only, never inside another call. Blocking and handing out are two calls, so that a
/// loop can be stepped, embedded and faked.
///
/// All calls are made on the loop's thread; only ``waker`` is used from others.
package protocol LoopBackend: AnyObject {
    /// The name of the policy this backend serves.
    var name: String { get }

    /// Ends a wait from any thread.
    var waker: any LoopWaker { get }

    /// Flags for the sockets whose operations come here: non-blocking for readiness, blocking for
    /// a ring, which would hand `EAGAIN` back instead of waiting.
    var socketFlags: CInt { get }

    /// A descriptor that is readable when a wait would find something, or nil.
    var descriptor: CInt? { get }

    /// There is something for ``deliver()`` that no wait has to find, and ``descriptor`` does not
    /// tell.
    var hasUndelivered: Bool { get }

    /// Whether the caller's thread may wait and deliver; false for ever once another one did, where
    /// what is under way belongs to a thread.
    var runsOnThisThread: Bool { get }

    /// Whether what is submitted reaches the kernel together with the next wait, so that a small
    /// send costs less submitted than as a system call of its own.
    var batchesSends: Bool { get }

    /// Starts the operation `id`, which is in the table the backend was made with.
    func submit(_ id: OperationID)

    /// Takes back the operation `id`, when it was submitted last and the kernel has not got it yet.
    ///
    /// False when it goes on.
    func takeBack(_ id: OperationID) -> Bool

    /// Asks to end the operation `id` early.
    func cancel(_ id: OperationID)

    /// Blocks until something completed, `nanoseconds` have passed (for ever when negative, not at
    /// all when zero) or the waker was called.
    func wait(nanoseconds: Int64)

    /// Hands what the last wait found to the targets. Stops when the table is interrupted, and
    /// continues there at the next call.
    func deliver()

    /// Forgets and closes `fd`. No operation on it is active.
    func closeDescriptor(_ fd: CInt)

    /// Ends all operations without completions and gives back what the backend holds of the system.
    func close()

    /// Instead of ``close()`` in the child of a fork: gives back what this process holds of the
    /// system, and touches nothing that it shares with its parent.
    func abandon()
}

extension LoopBackend {
    /// Only those answer otherwise that another event loop may wait for.
    package var hasUndelivered: Bool { false }

    /// For those of which closing is nobody else's business.
    package func abandon() { close() }

    /// For those that make a system call for each send.
    package var batchesSends: Bool { false }

    /// For those that hand over at once.
    package func takeBack(_ id: OperationID) -> Bool { false }

    /// Only a ring cares.
    package var runsOnThisThread: Bool { true }
}

/// The one part of a backend that other threads use.
package protocol LoopWaker: AnyObject, Sendable {
    /// Ends the current wait, or the next one when there is none.
    func wake()
}
