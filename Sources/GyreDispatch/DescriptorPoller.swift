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
    private enum State {
        static let idle: UInt8 = 0
        static let polling: UInt8 = 1
        /// A byte lies in the pipe, or will in a moment.
        static let stopping: UInt8 = 2
    }

    private let state = Atomic(State.idle)
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
    package var isPolling: Bool { state.load(ordering: .acquiring) == State.polling }

    /// Begins to wait until one of `entries` is ready, which sets the signal.
    ///
    /// Nothing is polled yet.
    package func start(_ entries: [pollfd]) {
        state.store(State.polling, ordering: .releasing)
        queue.async { [self] in wait(for: entries) }
    }

    /// Stops waiting, if it does.
    ///
    /// The kernel holds none of the descriptors any more when it returns: a descriptor that is
    /// closed while a thread polls it stays open underneath until the poll is over.
    package func stop() {
        let wasPolling = state.compareExchange(
            expected: State.polling, desired: State.stopping, ordering: .acquiringAndReleasing
        ).exchanged
        guard wasPolling else { return }
        var byte: UInt8 = 0
        while write(writer, &byte, 1) < 0, errno == EINTR {}
        queue.sync {}
    }

    private func wait(for entries: [pollfd]) {
        let own = pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
        Self.poll(entries + [own])
        let before = state.exchange(State.idle, ordering: .acquiringAndReleasing)
        guard before == State.stopping else { return signal.ready() }
        // The byte may still be on its way when a descriptor ended the poll first.
        Self.poll([own])
        var byte: UInt8 = 0
        while read(reader, &byte, 1) < 0, errno == EINTR {}
    }

    private static func poll(_ entries: [pollfd]) {
        var entries = entries
        while Glibc.poll(&entries, nfds_t(entries.count), -1) < 0 {
            if errno != EINTR { trap("poll(2) failed with errno \(errno)") }
        }
    }
}
