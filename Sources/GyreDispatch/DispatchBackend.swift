// SPDX-License-Identifier: Apache-2.0

import Glibc
package import GyreCore

/// The loop on Dispatch and poll(2) alone: the loop's thread sleeps on a dispatch semaphore, while
/// a thread of Dispatch waits for the descriptors.
///
/// Before it sleeps, and whenever it wakes up, the loop looks at the descriptors itself, so what it
/// delivers is true at that moment and nothing has to be handed over between the threads. A look
/// costs time for every descriptor that an operation waits on; this is the loop for where there is
/// no other, and for programs built around Dispatch.
///
/// Dispatch's own sources of descriptors would be the obvious way, and were tried first. Theirs is
/// an epoll behind one thread, with three faults on Linux (libdispatch of Swift 6.3) that no user
/// can work around. A hang-up makes Dispatch drop the source on the handler's thread while its own
/// thread still walks the same lists without a lock: the process crashes, now and then. An error
/// without another event (the reader of a full pipe went away) is never reported, and Dispatch's
/// thread spins on it. And a descriptor must not be closed before two threads were asked and have
/// answered.
package final class DispatchBackend: SignallingBackend {
    package let name = "dispatch"
    package var waker: any LoopWaker { signal }
    package var socketFlags: CInt { Self.socketFlags }
    package var descriptor: CInt? { nil }
    package var hasUndelivered: Bool { readiness.hasWork || next < found.count }

    private static var socketFlags: CInt {
        CInt(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    }
    /// A GNU extension that Swift's Glibc module does not show.
    private static var pollRDHUP: CInt { 0x2000 }

    /// The process that first made one: Dispatch does not outlive a fork.
    private static let generation = Loop.forkGeneration

    private let operations: OperationTable
    private let readiness: Readiness
    let signal = LoopSignal()
    private let poller: DescriptorPoller
    /// The descriptors that operations wait on.
    private var entries: [pollfd] = []
    /// Where a descriptor stands in `entries`, by its number; negative when it does not.
    private var positions: [Int32] = []
    /// What the poller waits for is not this any more.
    private var isChanged = false
    /// What the last look found; those at `next...` are still to be delivered.
    private var found: [Readiness.Report] = []
    private var next = 0
    private var isOpen = true

    /// Makes a backend.
    ///
    /// Throws ``LoopError/Code/policyUnavailable``.
    package init(operations: OperationTable) throws(LoopError) {
        guard Self.generation == Loop.forkGeneration else {
            throw LoopError(
                .policyUnavailable, operation: "dispatch",
                detail: "this process was forked from one whose Dispatch threads it has not got")
        }
        self.operations = operations
        readiness = Readiness(operations: operations, socketFlags: Self.socketFlags)
        poller = try DescriptorPoller(signal: signal)
    }

    deinit { close() }

    package func submit(_ id: OperationID) {
        guard let operation = operations[id], readiness.submit(id, operation) else { return }
        let error = watch(operation.fd)
        if error != 0 { readiness.fail(operation.fd, operation.direction, errno: error) }
    }

    package func cancel(_ id: OperationID) {
        guard let operation = operations[id], readiness.cancel(id, operation) else { return }
        // The user may close the descriptor when this returns.
        update(operation.fd)
        if isChanged { poller.stop() }
    }

    package func wait(nanoseconds: Int64) {
        guard next == found.count else { return }
        found.removeAll(keepingCapacity: true)
        next = 0
        let end = readiness.hasWork ? Int64.min : Self.deadline(after: nanoseconds)
        while true {
            look()
            if !found.isEmpty || readiness.hasWork || end == .min { break }
            beginWaiting()
            if signal.wait(until: end) != .ready { return look() }
        }
        // What was set up to here is seen to: it must not end the next wait.
        _ = signal.wait(until: .min)
    }

    package func deliver() {
        if readiness.hasWork {
            let tried = readiness.pending
            readiness.deliverPending { fd, _ in watch(fd) }
            for fd in tried { update(fd) }
        }
        while next < found.count, !operations.isInterrupted {
            let report = found[next]
            next += 1
            readiness.deliver(report) { fd, _ in watch(fd) }
            update(report.fd)
        }
    }

    package func closeDescriptor(_ fd: CInt) {
        readiness.forget(fd)
        update(fd)
        if isChanged { poller.stop() }
        Glibc.close(fd)
    }

    package func close() {
        guard isOpen else { return }
        isOpen = false
        poller.stop()
        entries = []
        positions = []
    }

    /// The thread that waits is the parent's.
    package func abandon() {
        isOpen = false
        isChanged = false
    }

    private static func deadline(after nanoseconds: Int64) -> Int64 {
        switch nanoseconds {
        case 0: .min
        case ..<0: .max
        default: LoopClock.systemNanoseconds().addingSaturated(nanoseconds)
        }
    }

    // MARK: Looking and waiting

    /// Asks the kernel which descriptors are ready.
    private func look() {
        guard !entries.isEmpty else { return }
        let count = poll(&entries, nfds_t(entries.count), 0)
        if count < 0, errno != EINTR { trap("poll(2) failed with errno \(errno)") }
        guard count > 0 else { return }
        for entry in entries where entry.revents != 0 {
            if CInt(entry.revents) & POLLNVAL != 0 {
                fail(entry.fd, errno: EBADF)
            } else {
                found.append(report(entry.fd, CInt(entry.revents)))
            }
        }
    }

    private func report(_ fd: CInt, _ events: CInt) -> Readiness.Report {
        var report = Readiness.Report(fd: fd, generation: readiness.generation(of: fd))
        let broken = POLLHUP | POLLERR
        report.readsToEnd = events & (broken | Self.pollRDHUP) != 0
        report.isReadable = events & (broken | Self.pollRDHUP | POLLIN) != 0
        report.isWritable = events & (broken | POLLOUT) != 0
        return report
    }

    /// Lets Dispatch wait for what the loop waits for.
    func beginWaiting() {
        if poller.isPolling {
            guard isChanged else { return }
            poller.stop()
        }
        isChanged = false
        if !entries.isEmpty { poller.start(entries) }
    }

    // MARK: What is waited for

    /// Begins to wait for `fd`.
    ///
    /// Returns 0, or the error number for a descriptor that cannot be watched, as epoll has it;
    /// poll(2) would call it ready for ever.
    private func watch(_ fd: CInt) -> CInt {
        var status = stat()
        guard fstat(fd, &status) == 0 else { return errno }
        let kind = status.st_mode & S_IFMT
        guard kind != S_IFREG, kind != S_IFDIR else { return EPERM }
        update(fd)
        return 0
    }

    /// The user closed a descriptor that is waited for.
    private func fail(_ fd: CInt, errno number: CInt) {
        for direction in [Operation.Direction.read, .write]
        where readiness.hasOperation(on: fd, direction) {
            readiness.fail(fd, direction, errno: number)
        }
        update(fd)
    }

    /// Brings the entry of `fd` in line with the operations on it.
    private func update(_ fd: CInt) {
        guard fd >= 0, isOpen else { return }
        var events: CInt = 0
        if readiness.isWaiting(fd, .read) { events |= POLLIN | Self.pollRDHUP }
        if readiness.isWaiting(fd, .write) { events |= POLLOUT }
        while positions.count <= Int(fd) { positions.append(-1) }
        let position = Int(positions[Int(fd)])
        switch (position >= 0, events != 0) {
        case (false, false): return
        case (false, true):
            positions[Int(fd)] = Int32(truncatingIfNeeded: entries.count)
            entries.append(pollfd(fd: fd, events: Int16(events), revents: 0))
        case (true, true):
            guard entries[position].events != Int16(events) else { return }
            entries[position].events = Int16(events)
        case (true, false):
            positions[Int(fd)] = -1
            let last = entries.removeLast()
            if last.fd != fd {
                entries[position] = last
                positions[Int(last.fd)] = Int32(truncatingIfNeeded: position)
            }
        }
        isChanged = true
    }
}
