// SPDX-License-Identifier: Apache-2.0

import CGyre

// A fork copies the memory of a loop into the child, but not its thread, and what it has of the
// kernel (its epoll or ring, its sockets) both share. So a loop stays the parent's: in the child no
// loop runs, the copy can be closed and nothing else, and that touches nothing of the parent's.
// None of this costs a tick anything.

extension Loop {
    /// Whether the loop came into this process by a fork: it is the parent's.
    ///
    /// Such a loop runs no more, and ``close()`` closes only this process's copies of its
    /// descriptors. Make a new one.
    ///
    /// A lock that another thread held while the program forked stays locked in the child for
    /// good, also one of the Swift runtime's own. Fork where the other threads wait, or start a
    /// program as a process instead.
    public var isInherited: Bool { generation != gyre_fork_generation() }

    /// Differs in a process and in one that it was forked from.
    package static var forkGeneration: UInt32 { gyre_fork_generation() }

    // SAFETY: the address is that of the loop that runs on the thread that forked, and its run is
    // on the stack of the child, too.
    /// Sees to it that a loop in whose callback the program forks is left in the child.
    static func watchForks() {
        gyre_set_fork_handler { address in
            Unmanaged<Loop>.fromOpaque(address)._withUnsafeGuaranteedRef { $0.wasInherited() }
        }
    }

    private func wasInherited() {
        operations.isInterrupted = true
        state.pointee.isRunning = false
    }

    /// What a run in a forked child ends with.
    static var inheritedError: LoopError {
        LoopError(
            .invalidState, operation: "run",
            detail: "the loop belongs to the process that this one was forked from; make another")
    }
}
