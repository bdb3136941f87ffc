// SPDX-License-Identifier: Apache-2.0

import Dispatch
package import Glibc
package import GyreCore
import Synchronization

/// Waits for descriptors on a thread of Dispatch, in place of the loop's.
///
/// It reports once that something became ready; what that is, the loop finds by looking itself.
///
/// - Important: Started and stopped on the loop's thread.
package final class DescriptorPoller: Sendable {
    private struct State {
        var isPolling = false
        /// Asked to stop: a byte lies in the pipe.
        var isStopping = false
    }

    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "gyre.poll")
    private let signal: LoopSignal
    private let reader: CInt
    private let writer: CInt

    /// Makes a poller that sets `signal`.
    ///
    /// Throws ``LoopError/Code/policyUnavailable`` when there are no descriptors for it.
    package init(signal: LoopSignal) throws(LoopError) {
        // Where pipe(2) would do; but only here can the descriptors be closed on exec from the
        // start.
        var ends: [CInt] = [-1, -1]
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
            throw LoopError(.policyUnavailable, operation: "socketpair", errno: errno)
        }
        self.signal = signal
        reader = ends[0]
        writer = ends[1]
    }

    deinit {
        // A thread that polls holds this object, so none does.
        close(reader)
        close(writer)
    }

    /// Whether a thread waits.
    package var isPolling: Bool { state.withLock { $0.isPolling } }

    /// Begins to wait until one of `entries` is ready, which sets the signal.
    ///
    /// Nothing is polled yet.
    package func start(_ entries: [pollfd]) {
        state.withLock { $0.isPolling = true }
        queue.async { [self] in wait(for: entries) }
    }

    /// Stops waiting, if it does.
    ///
    /// The kernel holds none of the descriptors any more when it returns: a descriptor that is
    /// closed while a thread polls it stays open underneath until the poll is over.
    package func stop() {
        let wasPolling = state.withLock { state in
            guard state.isPolling else { return false }
            state.isStopping = true
            var byte: UInt8 = 0
            while write(writer, &byte, 1) < 0, errno == EINTR {}
            return true
        }
        if wasPolling { queue.sync {} }
    }

    private func wait(for entries: [pollfd]) {
        var entries = entries
        entries.append(pollfd(fd: reader, events: Int16(POLLIN), revents: 0))
        while poll(&entries, nfds_t(entries.count), -1) < 0 {
            precondition(errno == EINTR, "poll(2) failed with errno \(errno)")
        }
        let wasStopped = state.withLock { state in
            let wasStopped = state.isStopping
            if wasStopped {
                var byte: UInt8 = 0
                while read(reader, &byte, 1) < 0, errno == EINTR {}
            }
            state = State()
            return wasStopped
        }
        if !wasStopped { signal.ready() }
    }
}
