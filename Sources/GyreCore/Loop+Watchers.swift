// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

/// The descriptors a user watches with `addReader` and `addWriter`, and those that belong to
/// transports and may not be watched.
struct Watchers {
    fileprivate var readers: [CInt: Watcher] = [:]
    fileprivate var writers: [CInt: Watcher] = [:]
    /// Calls that wait for a descriptor of the caller's.
    var uses: [UseKey: DescriptorUse] = [:]

    func isWatched(_ fd: CInt, _ direction: Operation.Direction) -> Bool {
        !(direction == .read ? readers : writers).isEmpty && self[direction, fd] != nil
    }

    /// The watches of `fd`.
    fileprivate func all(of fd: CInt) -> [Watcher] {
        guard !(readers.isEmpty && writers.isEmpty) else { return [] }
        return [readers[fd], writers[fd]].compactMap { $0 }
    }

    fileprivate subscript(direction: Operation.Direction, fd: CInt) -> Watcher? {
        get { direction == .read ? readers[fd] : writers[fd] }
        set { if direction == .read { readers[fd] = newValue } else { writers[fd] = newValue } }
    }
}

private final class Watcher: OperationTarget {
    private unowned let loop: Loop
    private let fd: CInt
    private let direction: Operation.Direction
    /// What the descriptor is open on.
    let file: FileIdentity?
    fileprivate(set) var body: (() throws -> Void)?
    private(set) var site: CallSite
    var id = OperationID.none

    init(
        loop: Loop, fd: CInt, direction: Operation.Direction, site: CallSite,
        body: @escaping () throws -> Void
    ) {
        self.loop = loop
        self.fd = fd
        self.direction = direction
        self.site = site
        self.body = body
        file = FileIdentity(fd)
    }

    /// The earlier callback is released after the access: what it held may call the loop.
    func replace(_ newBody: @escaping () throws -> Void, _ newSite: CallSite) {
        site = newSite
        var earlier: (() throws -> Void)? = newBody
        swap(&body, &earlier)
    }

    func operationCompleted(_ completion: Completion) {
        guard let body else { return }
        if completion.result >= 0 { return loop.run(body, site: site) }
        // The kernel stopped watching, and nobody asked for it: the user closed the descriptor, or
        // it cannot be watched.
        self.body = nil
        loop.watchers[direction, fd] = nil
        report(LoopError(errno: -completion.result, operation: "watch descriptor \(fd)"))
    }

    private func report(_ error: LoopError) {
        loop.callExceptionHandler(
            LoopExceptionContext(
                message: "A watched descriptor failed", error: error, site: site))
    }

    /// The descriptor was closed, or handed over, and its number is another's.
    func lose() {
        loop.watchers[direction, fd] = nil
        loop.cancel(id)
        var earlier: (() throws -> Void)?
        swap(&body, &earlier)
        // Never inside the call that found it out.
        loop.callSoonPlainly { [self] in
            report(
                LoopError(
                    .closed, operation: "watch descriptor \(fd)",
                    detail: "it was closed or handed over before the watch was removed"))
        }
    }
}

extension Loop {
    /// Calls `body` in every iteration in which `fd` is readable, for as long as it is.
    ///
    /// One reader for each descriptor: a second call replaces the callback. Reader and writer of
    /// the same descriptor are independent. The descriptor stays the caller's, who removes the
    /// reader before closing it. A reader that was left is removed when the number comes back, to
    /// this call or to a transport, and the exception handler is told.
    ///
    /// - Throws: ``LoopError`` when `fd` is not open, belongs to a transport, or is of a kind that
    ///   is never waited for (a regular file or a directory).
    public func addReader(
        _ fd: CInt, file: StaticString = #fileID, line: UInt = #line,
        _ body: @escaping () throws -> Void
    ) throws(LoopError) {
        try watch(fd, .read, CallSite(file: file, line: line), body)
    }

    /// Calls `body` in every iteration in which `fd` is writable, for as long as it is.
    ///
    /// As ``addReader(_:file:line:_:)``.
    public func addWriter(
        _ fd: CInt, file: StaticString = #fileID, line: UInt = #line,
        _ body: @escaping () throws -> Void
    ) throws(LoopError) {
        try watch(fd, .write, CallSite(file: file, line: line), body)
    }

    /// Stops watching `fd` for reading.
    ///
    /// True when it was watched.
    @discardableResult
    public func removeReader(_ fd: CInt) -> Bool { unwatch(fd, .read) }

    /// Whether `fd` is watched for reading.
    package func isReading(_ fd: CInt) -> Bool { watchers[.read, fd] != nil }

    /// Stops watching `fd` for writing.
    ///
    /// True when it was watched.
    @discardableResult
    public func removeWriter(_ fd: CInt) -> Bool { unwatch(fd, .write) }

    private func watch(
        _ fd: CInt, _ direction: Operation.Direction, _ site: CallSite,
        _ body: @escaping () throws -> Void
    ) throws(LoopError) {
        let operation = direction == .read ? "addReader" : "addWriter"
        checkThread("addReader or addWriter", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { throw LoopError(.closed, operation: operation) }
        try checkWatchable(fd, operation)
        guard watchers.uses[UseKey(fd: fd, direction: direction)] == nil else {
            throw LoopError(
                .inUse, operation: operation, detail: "a call waits for descriptor \(fd)")
        }
        for watcher in watchers.all(of: fd) where watcher.file != FileIdentity(fd) {
            watcher.lose()
        }
        if let watcher = watchers[direction, fd] {
            watcher.replace(body, site)
            return
        }
        let watcher = Watcher(loop: self, fd: fd, direction: direction, site: site, body: body)
        watchers[direction, fd] = watcher
        watcher.id = submitPoll(direction, on: fd, target: watcher)
    }

    private func unwatch(_ fd: CInt, _ direction: Operation.Direction) -> Bool {
        checkThread("removeReader or removeWriter", instead: "handle.callSoonThreadSafe")
        guard let watcher = watchers[direction, fd] else { return false }
        watchers[direction, fd] = nil
        watcher.body = nil
        cancel(watcher.id)
        return true
    }

    /// The kinds of descriptor that are always ready are refused alike on every policy, where epoll
    /// would refuse them and a ring report them for ever.
    package func checkWatchable(_ fd: CInt, _ operation: String) throws(LoopError) {
        var status = stat()
        guard fstat(fd, &status) == 0 else { throw LoopError(errno: errno, operation: operation) }
        guard isWatchable(fd, kind: status.st_mode & S_IFMT) else {
            throw LoopError(
                errno: EPERM, operation: operation,
                detail: "a file or device that is always ready cannot be watched")
        }
        try checkOwner(of: fd, operation)
    }

    func checkOwner(of fd: CInt, _ operation: String) throws(LoopError) {
        guard fd >= 0, Int(fd) < claimedDescriptors.count, claimedDescriptors[Int(fd)] else {
            return
        }
        throw LoopError(
            .inUse, operation: operation, detail: "descriptor \(fd) belongs to a transport")
    }

    private func isWatchable(_ fd: CInt, kind: mode_t) -> Bool {
        switch kind {
        case S_IFREG, S_IFDIR, S_IFBLK: return false
        case S_IFCHR: break
        default: return true
        }
        // Terminals can be watched and /dev/null cannot; only epoll tells the difference.
        let probe = epoll_create1(CInt(EPOLL_CLOEXEC))
        guard probe >= 0 else { return true }
        defer { Glibc.close(probe) }
        var event = epoll_event()
        return epoll_ctl(probe, EPOLL_CTL_ADD, fd, &event) == 0 || errno != EPERM
    }

    // MARK: Descriptors of transports

    /// Marks `fd` as belonging to a transport or server of this loop.
    package func claimDescriptor(_ fd: CInt) {
        if !watchers.uses.isEmpty { endUses(of: fd) }
        for watcher in watchers.all(of: fd) { watcher.lose() }
        while claimedDescriptors.count <= Int(fd) { claimedDescriptors.append(false) }
        claimedDescriptors[Int(fd)] = true
    }

    /// Closes a claimed descriptor.
    ///
    /// No operation on it is under way.
    package func closeDescriptor(_ fd: CInt) {
        if Int(fd) < claimedDescriptors.count { claimedDescriptors[Int(fd)] = false }
        backend.closeDescriptor(fd)
    }

    // MARK: Operations

    /// Starts the operation.
    ///
    /// On a closed loop it never begins and nobody is told: what still calls then, as its owner is
    /// let go, is closed next.
    package func submit(_ operation: Operation, target: any OperationTarget) -> OperationID {
        guard !isClosed else { return .none }
        let id = operations.insert(operation, target: target)
        backend.submit(id)
        return id
    }

    /// Takes back the operation `id`, when it was submitted last and the kernel has not got it yet.
    ///
    /// False when it goes on. Otherwise it never was: it does not complete.
    package func takeBack(_ id: OperationID) -> Bool {
        guard !isClosed, backend.takeBack(id) else { return false }
        operations.withdraw(id)
        return true
    }

    /// Asks to end the operation.
    ///
    /// Its last completion still comes, later.
    package func cancel(_ id: OperationID) {
        // A loop that closes has ended every operation already, before it lets go of their owners.
        guard !isClosed, let operation = operations[id], !operation.isCancelled else { return }
        operations.markCancelled(id)
        backend.cancel(id)
    }
}
