// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Glibc
package import GyreCore

/// The loop on Dispatch alone: sources tell that a descriptor became ready, and the operation that
/// waits there is tried on the loop's thread, which waits on a semaphore.
///
/// Four habits of Dispatch on Linux shape this.
/// - A report comes late, on another thread: by then it may be void. So a report only says where to
///   look, and poll(2) says what is there, for all reports of an iteration in one call.
/// - With a hang-up the source reports for the last time, and does not tell. The look does, and a
///   source that may be dead is replaced before it is armed again.
/// - An error without any other event (the reader of a full pipe went away, a datagram was refused)
///   is not reported at all, and Dispatch's own thread spins on it until the source is cancelled.
///   The few descriptors that can fail like this are looked at on the side, every now and then.
/// - It knows descriptors by their number. One must not be closed before the sources on it have
///   ended, and they end on other threads: closing waits for that.
///
/// A descriptor that a user watches is looked at once an iteration for as long as it is ready, and
/// gets a source only when it is not.
package final class DispatchBackend: LoopBackend {
    package let name = "dispatch"
    package var waker: any LoopWaker { queue }
    package var socketFlags: CInt { Self.socketFlags }
    package var descriptor: CInt? { nil }

    private static var socketFlags: CInt {
        CInt(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    }
    /// How often descriptors are looked at whose errors Dispatch does not report.
    private static var checkNanoseconds: Int64 { 50_000_000 }
    /// A GNU extension that Swift's Glibc module does not show.
    private static var pollRDHUP: CInt { 0x2000 }

    private struct Watch {
        var kind: DescriptorKind?
        var read: DescriptorSource?
        var write: DescriptorSource?
        /// It stands in `candidates`.
        ///
        /// What stands there without this was closed since.
        var isCandidate = false
        /// Dispatch may have dropped the sources.
        var isBroken = false

        subscript(direction: Operation.Direction) -> DescriptorSource? {
            get { direction == .read ? read : write }
            set { if direction == .read { read = newValue } else { write = newValue } }
        }
    }

    private let operations: OperationTable
    private let queue = ReportQueue()
    private let readiness: Readiness
    /// By descriptor.
    private var watches: [Watch] = []
    private var posted: [ReportQueue.Report] = []
    /// Descriptors to look at.
    private var candidates: [CInt] = []
    /// What the last look found; those at `next...` are still to be delivered.
    private var found: [Readiness.Report] = []
    private var next = 0
    /// Watched descriptors whose errors Dispatch does not report, and when to look at them.
    private var silent: Set<CInt> = []
    private var nextCheck = Int64.max

    /// Makes a backend.
    ///
    /// Dispatch itself traps where the system gives it nothing, so this never throws.
    package init(operations: OperationTable) throws(LoopError) {
        self.operations = operations
        readiness = Readiness(operations: operations, socketFlags: Self.socketFlags)
    }

    deinit { close() }

    package func submit(_ id: OperationID) {
        guard let operation = operations[id], readiness.submit(id, operation) else { return }
        if case .unwatchable(let error) = kind(of: operation.fd) {
            readiness.fail(operation.fd, operation.direction, errno: error)
        } else if operation.kind == .poll {
            look(at: operation.fd)
        } else if readiness.isWaiting(operation.fd, operation.direction) {
            arm(operation.fd, operation.direction)
        }
    }

    package func cancel(_ id: OperationID) {
        guard let operation = operations[id], readiness.cancel(id, operation) else { return }
        // Nobody watches it any more, and the user may close it when this returns.
        let fd = operation.fd
        if !readiness.hasOperation(on: fd, .read), !readiness.hasOperation(on: fd, .write) {
            release(fd)
        }
    }

    package func wait(nanoseconds: Int64) {
        guard next == found.count else { return }
        found.removeAll(keepingCapacity: true)
        next = 0
        lookAtCandidates()
        let isBusy = !found.isEmpty || readiness.hasWork
        let end = isBusy ? Int64.min : Self.deadline(after: nanoseconds)
        while true {
            let limit = min(end, nextCheck)
            let isSignalled = queue.wait(until: limit, into: &posted)
            takeReports()
            if !silent.isEmpty { checkSilent() }
            lookAtCandidates()
            if isSignalled || limit == end || !found.isEmpty || readiness.hasWork { return }
        }
    }

    package func deliver() {
        if readiness.hasWork {
            let tried = readiness.pending
            readiness.deliverPending(watch: watch)
            for fd in tried { settle(fd) }
        }
        while next < found.count, !operations.isInterrupted {
            let report = found[next]
            next += 1
            readiness.deliver(report, watch: watch)
            settle(report.fd)
        }
    }

    package func closeDescriptor(_ fd: CInt) {
        readiness.forget(fd)
        release(fd)
        Glibc.close(fd)
    }

    package func close() {
        for watch in watches {
            watch.read?.retire()
            watch.write?.retire()
        }
        queue.retiring.wait()
        watches = []
        silent = []
        candidates = []
    }

    private static func deadline(after nanoseconds: Int64) -> Int64 {
        switch nanoseconds {
        case 0: .min
        case ..<0: .max
        default: LoopClock.systemNanoseconds().addingSaturated(nanoseconds)
        }
    }

    // MARK: Looking

    private func look(at fd: CInt) {
        hold(fd)
        guard !watches[Int(fd)].isCandidate else { return }
        watches[Int(fd)].isCandidate = true
        candidates.append(fd)
    }

    private func takeReports() {
        for report in posted {
            let source = report.source
            // A source that was replaced meanwhile speaks of the past.
            guard Int(source.fd) < watches.count,
                watches[Int(source.fd)][source.direction] === source
            else { continue }
            if report.isEmpty, !kind(of: source.fd).isStream {
                watches[Int(source.fd)].isBroken = true
            }
            look(at: source.fd)
        }
        posted.removeAll(keepingCapacity: true)
    }

    /// Asks the kernel how the candidates stand.
    ///
    /// Those with something to deliver go to `found`; what waits on the others waits for Dispatch.
    private func lookAtCandidates() {
        guard !candidates.isEmpty else { return }
        let fds = candidates.filter { watches[Int($0)].isCandidate }
        candidates.removeAll(keepingCapacity: true)
        for entry in Self.poll(fds.map { pollfd(fd: $0, events: interest($0), revents: 0) }) {
            watches[Int(entry.fd)].isCandidate = false
            let events = CInt(entry.revents)
            if events & POLLHUP != 0 { watches[Int(entry.fd)].isBroken = true }
            if events & POLLNVAL != 0, readiness.isPolled(entry.fd) {
                // The user closed what the loop still watches.
                fail(entry.fd, errno: EBADF)
            } else if events != 0 {
                found.append(report(entry.fd, events))
            } else {
                arm(entry.fd)
            }
        }
    }

    private func interest(_ fd: CInt) -> Int16 {
        let isPolled = readiness.isPolled(fd)
        var events: CInt = 0
        if !isPolled || readiness.hasOperation(on: fd, .read) { events |= POLLIN | Self.pollRDHUP }
        if !isPolled || readiness.hasOperation(on: fd, .write) { events |= POLLOUT }
        return Int16(truncatingIfNeeded: events)
    }

    private func report(_ fd: CInt, _ events: CInt) -> Readiness.Report {
        var report = Readiness.Report(fd: fd, generation: readiness.generation(of: fd))
        let broken = POLLHUP | POLLERR | POLLNVAL
        report.isHungUp = events & (broken | Self.pollRDHUP) != 0
        report.isReadable = events & (broken | Self.pollRDHUP | POLLIN) != 0
        report.isWritable = events & (broken | POLLOUT) != 0
        return report
    }

    private static func poll(_ entries: [pollfd]) -> [pollfd] {
        var entries = entries
        while Glibc.poll(&entries, nfds_t(entries.count), 0) < 0 {
            precondition(errno == EINTR, "poll(2) failed with errno \(errno)")
        }
        return entries
    }

    /// Finds the errors that Dispatch does not report, and ends its spinning on them.
    private func checkSilent() {
        let now = LoopClock.systemNanoseconds()
        guard now >= nextCheck else { return }
        nextCheck = now + Self.checkNanoseconds
        for entry in Self.poll(silent.map { pollfd(fd: $0, events: 0, revents: 0) })
        where CInt(entry.revents) & POLLERR != 0 {
            release(entry.fd)
            look(at: entry.fd)
        }
    }

    // MARK: Waiting for Dispatch

    /// What is left to do for operations on `fd` after a delivery.
    private func settle(_ fd: CInt) {
        if readiness.isPolled(fd) {
            if interest(fd) != 0 { look(at: fd) }
        } else {
            arm(fd)
        }
    }

    private func arm(_ fd: CInt) {
        if readiness.isWaiting(fd, .read) { arm(fd, .read) }
        if readiness.isWaiting(fd, .write) { arm(fd, .write) }
    }

    private func watch(_ fd: CInt, _ id: OperationID) -> CInt {
        if case .unwatchable(let error) = kind(of: fd) { return error }
        arm(fd, .write)
        return 0
    }

    private func arm(_ fd: CInt, _ direction: Operation.Direction) {
        let kind = kind(of: fd)
        if watches[Int(fd)].isBroken { release(fd) }
        if let source = watches[Int(fd)][direction] { return source.arm() }
        watches[Int(fd)].kind = kind
        watches[Int(fd)][direction] = DescriptorSource(
            fd: fd, direction: direction, queue: queue)
        switch (kind, direction) {
        case (.otherSocket, _), (.pipe, .write):
            if silent.isEmpty {
                nextCheck = LoopClock.systemNanoseconds() + Self.checkNanoseconds
            }
            silent.insert(fd)
        default: break
        }
    }

    private func kind(of fd: CInt) -> DescriptorKind {
        hold(fd)
        if let kind = watches[Int(fd)].kind { return kind }
        let kind = DescriptorKind(of: fd)
        // Nothing comes of one that cannot be watched, so nobody would say when it is closed.
        if case .unwatchable = kind { return kind }
        watches[Int(fd)].kind = kind
        return kind
    }

    private func fail(_ fd: CInt, errno number: CInt) {
        for direction in [Operation.Direction.read, .write]
        where readiness.hasOperation(on: fd, direction) {
            readiness.fail(fd, direction, errno: number)
        }
        release(fd)
    }

    /// Ends the sources on `fd` and forgets what is known of it.
    private func release(_ fd: CInt) {
        guard Int(fd) < watches.count else { return }
        let watch = watches[Int(fd)]
        watches[Int(fd)] = Watch()
        if silent.remove(fd) != nil, silent.isEmpty { nextCheck = .max }
        guard watch.read != nil || watch.write != nil else { return }
        watch.read?.retire()
        watch.write?.retire()
        queue.retiring.wait()
    }

    private func hold(_ fd: CInt) {
        while watches.count <= Int(fd) { watches.append(Watch()) }
    }
}
