// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore

// The backend that the article "Adding a backend" builds, part by part. The tests beside it run
// every behaviour on it.

/// The loop on poll(2), which every Unix has.
///
/// poll is told everything anew at every call, so it costs more with every descriptor; in return
/// there is no registration to keep true.
final class PollBackend: LoopBackend {
    let name = "poll"
    var waker: any LoopWaker { pipe }
    let socketFlags = CInt(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let descriptor: CInt? = nil

    private let operations: OperationTable
    private let readiness: Readiness
    private let pipe: PipeWaker
    /// Descriptors on which there was an operation.
    private var watched: Set<CInt> = []
    /// What the last wait found; the reports at `next...` are still to be delivered.
    private var found: [Readiness.Report] = []
    private var next = 0

    init(operations: OperationTable) throws(LoopError) {
        self.operations = operations
        pipe = try PipeWaker()
        readiness = Readiness(operations: operations, socketFlags: socketFlags)
    }

    func submit(_ id: OperationID) {
        guard let operation = operations[id], readiness.submit(id, operation) else { return }
        watched.insert(operation.fd)
    }

    func cancel(_ id: OperationID) {
        guard let operation = operations[id] else { return }
        _ = readiness.cancel(id, operation)
    }

    func wait(nanoseconds: Int64) {
        // A run that was interrupted left something: that comes first.
        guard next == found.count else { return }
        var entries = [pollfd(fd: pipe.fd, events: Int16(POLLIN), revents: 0)]
        for fd in watched {
            let events = interest(fd)
            if events != 0 { entries.append(pollfd(fd: fd, events: events, revents: 0)) }
        }
        let limit = readiness.hasWork ? 0 : milliseconds(nanoseconds)
        let count = poll(&entries, nfds_t(entries.count), limit)
        precondition(count >= 0 || errno == EINTR, "poll: errno \(errno)")
        found = count > 0 ? entries.dropFirst().compactMap(report) : []
        next = 0
        pipe.drain()
    }

    func deliver() {
        if readiness.hasWork { readiness.deliverPending(watch: watch) }
        while next < found.count, !operations.isInterrupted {
            let report = found[next]
            next += 1
            readiness.deliver(report, watch: watch)
        }
    }

    func closeDescriptor(_ fd: CInt) {
        readiness.forget(fd)
        watched.remove(fd)
        Glibc.close(fd)
    }

    func close() {
        watched = []
    }

    // MARK: Readiness

    /// What the operations on `fd` wait for.
    ///
    /// poll reports levels: asking for what nobody waits for would end every wait at once. For the
    /// same reason a descriptor without interest is left out, since hang-ups need no asking.
    private func interest(_ fd: CInt) -> Int16 {
        var events: CInt = 0
        if readiness.isWaiting(fd, .read) { events |= POLLIN }
        if readiness.isWaiting(fd, .write) { events |= POLLOUT }
        return Int16(events)
    }

    private func report(_ entry: pollfd) -> Readiness.Report? {
        let events = CInt(entry.revents)
        guard events & POLLNVAL == 0 else {
            fail(entry.fd, errno: EBADF)
            return nil
        }
        guard events != 0 else { return nil }
        var report = Readiness.Report(
            fd: entry.fd, generation: readiness.generation(of: entry.fd))
        let broken = POLLHUP | POLLERR
        report.isReadable = events & (POLLIN | broken) != 0
        report.isWritable = events & (POLLOUT | broken) != 0
        return report
    }

    /// The user closed a descriptor that the loop still watches.
    private func fail(_ fd: CInt, errno number: CInt) {
        for direction in [Operation.Direction.read, .write]
        where readiness.hasOperation(on: fd, direction) {
            readiness.fail(fd, direction, errno: number)
        }
        watched.remove(fd)
    }

    private func watch(_ fd: CInt, _ id: OperationID) -> CInt {
        watched.insert(fd)
        return 0
    }

    /// Rounded up, so that no timer fires early.
    private func milliseconds(_ nanoseconds: Int64) -> CInt {
        guard nanoseconds > 0 else { return nanoseconds < 0 ? -1 : 0 }
        return CInt(clamping: (nanoseconds - 1) / 1_000_000 + 1)
    }
}

/// Ends a wait by a byte in a pipe.
private final class PipeWaker: LoopWaker {
    let fd: CInt
    private let far: CInt

    init() throws(LoopError) {
        var ends: [CInt] = [-1, -1]
        guard pipe(&ends) == 0 else { throw LoopError(errno: errno, operation: "pipe") }
        (fd, far) = (ends[0], ends[1])
        for end in ends {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
    }

    deinit {
        close(fd)
        close(far)
    }

    func wake() {
        var byte: UInt8 = 0
        // A full pipe is as good: the wait it has to end will find it readable.
        while write(far, &byte, 1) < 0, errno == EINTR {}
    }

    func drain() {
        var bytes = [UInt8](repeating: 0, count: 64)
        while read(fd, &bytes, bytes.count) > 0 {}
    }
}
