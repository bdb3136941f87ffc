// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

/// The loop on epoll.
///
/// A socket is registered for edges, for reading with its first operation and for writing with the
/// first that waits for room: others cost no epoll_ctl. Not for both at once, since datagram and
/// Unix sockets report that they are writable after each send. Descriptors that a user watches are
/// registered for levels, and only for what is watched.
package final class EpollBackend: LoopBackend {
    package let name = "epoll"
    package var waker: any LoopWaker { event }
    package var socketFlags: CInt { Self.socketFlags }
    package var descriptor: CInt? { epoll }
    package var hasUndelivered: Bool { readiness.hasWork || next < count }

    private static var socketFlags: CInt {
        CInt(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    }
    private static var capacity: Int { 1024 }
    private static var wakeData: UInt64 { .max }

    /// How a descriptor stands in the interest list.
    private enum Registration: Equatable {
        case none
        case edges(writes: Bool)
        case levels(UInt32)
    }

    private let operations: OperationTable
    private let event: EventDescriptor
    private let epoll: CInt
    private let readiness: Readiness
    // Looked at for every connection. No access calls other code, so none overlaps another.
    @exclusivity(unchecked) private var registrations: [Registration] = []
    // SAFETY: `events` owns room for `capacity` values; the kernel has filled `next ..< count`.
    private let events: UnsafeMutablePointer<epoll_event>
    private var count = 0
    private var next = 0
    private var isOpen = true

    /// Makes an epoll instance.
    ///
    /// Throws ``LoopError/Code/policyUnavailable``.
    package init(operations: OperationTable) throws(LoopError) {
        self.operations = operations
        event = try EventDescriptor()
        epoll = epoll_create1(CInt(EPOLL_CLOEXEC))
        guard epoll >= 0 else {
            throw Self.error("epoll_create1", errno: errno)
        }
        readiness = Readiness(operations: operations, socketFlags: Self.socketFlags)
        events = .allocate(capacity: Self.capacity)
        var wake = epoll_event(
            events: EPOLLIN.rawValue | EPOLLET.rawValue, data: epoll_data(u64: Self.wakeData))
        guard epoll_ctl(epoll, EPOLL_CTL_ADD, event.fd, &wake) == 0 else {
            throw Self.error("epoll_ctl", errno: errno)
        }
    }

    deinit {
        close()
        events.deallocate()
    }

    /// Without descriptors or memory another policy would not help.
    private static func error(_ operation: String, errno number: CInt) -> LoopError {
        switch number {
        case EPERM, EACCES, ENOSYS, EINVAL:
            LoopError(.policyUnavailable, operation: operation, errno: number)
        default: LoopError(errno: number, operation: operation)
        }
    }

    package func submit(_ id: OperationID) {
        guard let operation = operations[id], readiness.submit(id, operation) else { return }
        let error = register(operation.fd)
        if error != 0 { readiness.fail(operation.fd, operation.direction, errno: error) }
    }

    package func cancel(_ id: OperationID) {
        guard let operation = operations[id], readiness.cancel(id, operation) else { return }
        // Narrows a watched level; failing means that the user closed the descriptor already.
        _ = register(operation.fd)
    }

    package func wait(nanoseconds: Int64) {
        guard next == count else { return }
        next = 0
        let result = gyre_epoll_wait(
            epoll, events, CInt(Self.capacity), readiness.hasWork ? 0 : nanoseconds)
        if result < 0, result != -EINTR {
            trap("epoll_wait: \(LoopError.text(errno: -result))")
        }
        count = max(0, Int(result))
    }

    package func deliver() {
        // What is pending now is older than what the events add.
        if readiness.hasWork { readiness.deliverPending { fd, _ in register(fd) } }
        while next < count, !operations.isInterrupted {
            let event = events[next]
            next += 1
            if next + 2 < count {
                readiness.prefetch(
                    Self.fd(of: events[next]), Self.fd(of: events[next + 1]),
                    Self.fd(of: events[next + 2]))
            }
            guard event.data.u64 != Self.wakeData else { continue }
            let report = Self.report(event)
            if !readiness.receive(report) { deliver(report) }
        }
    }

    /// Apart, since what the closure needs would cost every receive something.
    @inline(never)
    private func deliver(_ report: Readiness.Report) {
        readiness.deliver(report) { fd, _ in register(fd) }
    }

    package func closeDescriptor(_ fd: CInt) {
        readiness.forget(fd)
        if Int(fd) < registrations.count { registrations[Int(fd)] = .none }
        // Closing removes it from the interest list, unless a child process still has a copy;
        // the generation in its data keeps such reports from reaching anybody.
        Glibc.close(fd)
    }

    package func close() {
        guard isOpen else { return }
        isOpen = false
        Glibc.close(epoll)
    }

    /// Any number for the event that wakes.
    @inline(__always)
    private static func fd(of event: epoll_event) -> CInt {
        CInt(truncatingIfNeeded: event.data.u64 & 0x7fff_ffff)
    }

    private static func report(_ event: epoll_event) -> Readiness.Report {
        var report = Readiness.Report(
            fd: fd(of: event),
            generation: UInt32(truncatingIfNeeded: event.data.u64 >> 32))
        let hangUp = EPOLLRDHUP.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue
        report.readsToEnd = event.events & (hangUp | EPOLLPRI.rawValue) != 0
        report.isReadable = event.events & (EPOLLIN.rawValue | EPOLLPRI.rawValue | hangUp) != 0
        report.isWritable =
            event.events & (EPOLLOUT.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0
        return report
    }

    // MARK: The interest list

    /// Brings the registration of `fd` in line with the operations on it.
    ///
    /// Returns 0 or errno.
    private func register(_ fd: CInt) -> CInt {
        while registrations.count <= Int(fd) { registrations.append(.none) }
        let wanted = registration(for: fd)
        let current = registrations[Int(fd)]
        guard wanted != current else { return 0 }
        registrations[Int(fd)] = wanted
        let error =
            switch (current, wanted) {
            case (_, .none): control(EPOLL_CTL_DEL, fd, wanted)
            case (.none, _): control(EPOLL_CTL_ADD, fd, wanted)
            case (_, _): control(EPOLL_CTL_MOD, fd, wanted)
            }
        if error != 0 { registrations[Int(fd)] = .none }
        return error
    }

    private func registration(for fd: CInt) -> Registration {
        guard readiness.isPolled(fd) else {
            let hadWrites = registrations[Int(fd)] == .edges(writes: true)
            return .edges(writes: hadWrites || readiness.hasOperation(on: fd, .write))
        }
        var mask: UInt32 = 0
        if readiness.hasOperation(on: fd, .read) { mask |= EPOLLIN.rawValue | EPOLLRDHUP.rawValue }
        if readiness.hasOperation(on: fd, .write) { mask |= EPOLLOUT.rawValue }
        return mask == 0 ? .none : .levels(mask)
    }

    /// The user may have closed a watched descriptor, and its number may have come back: then the
    /// kernel knows less, or more, than the registrations say.
    private func control(_ command: CInt, _ fd: CInt, _ wanted: Registration) -> CInt {
        var event = epoll_event()
        event.data.u64 = UInt64(readiness.generation(of: fd)) << 32 | UInt64(fd)
        switch wanted {
        case .none: break
        case .edges(let writes):
            event.events =
                EPOLLIN.rawValue | EPOLLPRI.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue
            if writes { event.events |= EPOLLOUT.rawValue }
        case .levels(let mask): event.events = mask
        }
        if epoll_ctl(epoll, command, fd, &event) == 0 { return 0 }
        switch (command, errno) {
        case (EPOLL_CTL_MOD, ENOENT): return control(EPOLL_CTL_ADD, fd, wanted)
        case (EPOLL_CTL_ADD, EEXIST): return control(EPOLL_CTL_MOD, fd, wanted)
        case (EPOLL_CTL_DEL, _): return 0
        case (_, let number): return number
        }
    }
}
