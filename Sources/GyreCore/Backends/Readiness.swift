// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

/// Turns readiness into completions: the half of a readiness backend that is the same for epoll and
/// for poll(2) on a thread of Dispatch.
///
/// A poller reports that a descriptor became ready; the operation that waits there is then tried,
/// and what came of it is its completion. What is known of a descriptor is kept, so that a report
/// that came while nobody waited is not lost: that is what edge-triggered reports ask for.
///
/// Two rules of the kernel shape this. A receive that returns fewer bytes than asked for has
/// drained the socket, and anything later is a new edge (epoll(7), question 9), so no second call
/// has to find EAGAIN. But a hang-up reported together with data is not reported again, and a
/// receive ends early at the mark of urgent data (tcp(7)): after a report of either the socket is
/// read until there is nothing. Per iteration each descriptor gets one receive, or a bounded number
/// of accepts; what is left goes on in the next iteration, after a poll.
package final class Readiness {
    package struct Report {
        package let fd: CInt
        package let generation: UInt32
        package var isReadable = false
        package var isWritable = false
        /// The descriptor was hung up, or has urgent data: a short receive has not drained it.
        package var readsToEnd = false

        package init(fd: CInt, generation: UInt32) {
            self.fd = fd
            self.generation = generation
        }
    }

    struct Descriptor {
        var read = OperationID.none
        var write = OperationID.none
        /// Counts the descriptors that had this number, so that a late report finds nobody.
        var generation: UInt32 = 0
        var isReadable = false
        var isWritable = false
        var readsToEnd = false
        /// It stands in `pending`.
        var isPending = false
        /// A user watches it; the poller reports levels.
        var isPolled = false

        subscript(direction: Operation.Direction) -> OperationID {
            get { direction == .read ? read : write }
            set { if direction == .read { read = newValue } else { write = newValue } }
        }
    }

    private static var acceptsPerTurn: Int { 64 }

    private let operations: OperationTable
    private let socketFlags: CInt
    // SAFETY: `descriptors` owns room for `descriptorCount` values, all initialized (they are
    // trivial); every index is checked against the count, or was when the descriptor was filed.
    // Growing moves them, so no pointer outlives the call that made it. Only the loop's thread
    // touches it.
    private var descriptors: UnsafeMutablePointer<Descriptor>
    private var descriptorCount: Int
    /// Descriptors to try without a new report.
    package private(set) var pending: [CInt] = []
    /// Operations that ended without a system call.
    private var ended: [(id: OperationID, result: CInt)] = []
    // SAFETY: allocated in init, freed in deinit, lent to targets for the length of a call.
    private let scratch: UnsafeMutableRawBufferPointer

    /// A receive takes at most `receiveSize` bytes.
    ///
    /// Less than 256 KiB costs a fifth at messages of 100 KiB.
    package init(operations: OperationTable, socketFlags: CInt, receiveSize: Int = 256 << 10) {
        self.operations = operations
        self.socketFlags = socketFlags
        scratch = .allocate(byteCount: receiveSize, alignment: 64)
        descriptorCount = 64
        descriptors = .allocate(capacity: descriptorCount)
        descriptors.initialize(repeating: Descriptor(), count: descriptorCount)
    }

    deinit {
        scratch.deallocate()
        descriptors.deallocate()
    }

    /// There is something to deliver without waiting.
    package var hasWork: Bool { workWaits }
    /// Asked at every turn: looking into the arrays would cost more.
    private var workWaits = false

    package func generation(of fd: CInt) -> UInt32 {
        Int(fd) < descriptorCount ? descriptors[Int(fd)].generation : 0
    }

    package func hasOperation(on fd: CInt, _ direction: Operation.Direction) -> Bool {
        Int(fd) < descriptorCount && descriptors[Int(fd)][direction] != .none
    }

    /// Whether `fd` is watched for levels.
    package func isPolled(_ fd: CInt) -> Bool {
        Int(fd) < descriptorCount && descriptors[Int(fd)].isPolled
    }

    /// Whether an operation on `fd` can only go on when the poller reports: one is filed, and
    /// nothing that is known of the descriptor lets it be tried.
    ///
    /// For a poller that has to ask for every report.
    package func isWaiting(_ fd: CInt, _ direction: Operation.Direction) -> Bool {
        guard hasOperation(on: fd, direction),
            let operation = operations[descriptors[Int(fd)][direction]]
        else { return false }
        switch operation.kind {
        case .receive, .accept: return !descriptors[Int(fd)].isReadable
        case .send: return !descriptors[Int(fd)].isWritable
        case .connect: return operation.isUnderWay && !descriptors[Int(fd)].isWritable
        case .poll: return true
        case .ready:
            return direction == .read
                ? !descriptors[Int(fd)].isReadable : !descriptors[Int(fd)].isWritable
        }
    }

    // MARK: Submitting

    /// Files the operation.
    ///
    /// True when the poller has to watch its descriptor.
    package func submit(_ id: OperationID, _ operation: Operation) -> Bool {
        guard operation.fd >= 0 else {
            end(id, -EBADF)
            return false
        }
        let index = Int(operation.fd)
        if index >= descriptorCount { grow(toHold: index) }
        let isPoll = operation.kind == .poll
        let isShared = descriptors[index].read != .none || descriptors[index].write != .none
        guard descriptors[index][operation.direction] == .none,
            !isShared || descriptors[index].isPolled == isPoll
        else {
            end(id, -EBUSY)
            return false
        }
        descriptors[index][operation.direction] = id
        descriptors[index].isPolled = isPoll
        switch operation.kind {
        case .connect:
            descriptors[index].isWritable = false
            makePending(operation.fd)
        case .send: descriptors[index].isWritable = false
        case .receive, .accept: if descriptors[index].isReadable { makePending(operation.fd) }
        case .poll, .ready: clearReady(index, operation.direction)
        }
        // A connect is watched once it is under way: an unconnected socket reports a hang-up.
        return operation.kind != .connect
    }

    /// Withdraws the operation.
    ///
    /// True when the poller should stop watching for it.
    package func cancel(_ id: OperationID, _ operation: Operation) -> Bool {
        let index = Int(operation.fd)
        guard index < descriptorCount, descriptors[index][operation.direction] == id else {
            return false
        }
        descriptors[index][operation.direction] = .none
        end(id, -ECANCELED)
        guard operation.kind == .poll else { return false }
        // The user may close the descriptor now: what is known of it, or still on its way, is not
        // for the next one of this number.
        if descriptors[index].read == .none, descriptors[index].write == .none {
            forget(operation.fd)
            descriptors[index].isPolled = true
        }
        return true
    }

    /// The poller cannot watch `fd` for the operation that is filed there.
    package func fail(_ fd: CInt, _ direction: Operation.Direction, errno number: CInt) {
        end(descriptors[Int(fd)][direction], -number)
        descriptors[Int(fd)][direction] = .none
    }

    /// The number `fd` is about to belong to another descriptor.
    package func forget(_ fd: CInt) {
        guard Int(fd) < descriptorCount else { return }
        var fresh = Descriptor()
        fresh.generation = descriptors[Int(fd)].generation &+ 1
        fresh.isPending = descriptors[Int(fd)].isPending
        descriptors[Int(fd)] = fresh
    }

    private func grow(toHold index: Int) {
        var newCount = descriptorCount
        while newCount <= index { newCount *= 2 }
        let larger = UnsafeMutablePointer<Descriptor>.allocate(capacity: newCount)
        larger.moveInitialize(from: descriptors, count: descriptorCount)
        (larger + descriptorCount)
            .initialize(repeating: Descriptor(), count: newCount - descriptorCount)
        descriptors.deallocate()
        descriptors = larger
        descriptorCount = newCount
    }

    private func end(_ id: OperationID, _ result: CInt) {
        ended.append((id, result))
        workWaits = true
    }

    private func makePending(_ fd: CInt) {
        guard !descriptors[Int(fd)].isPending else { return }
        descriptors[Int(fd)].isPending = true
        pending.append(fd)
        workWaits = true
    }

    // MARK: Delivering

    /// Receives, where that is all that a report asks for: mostly it is.
    ///
    /// False when it is for ``deliver(_:watch:)``, and nothing was done.
    @inline(__always)
    package func receive(_ report: Report) -> Bool {
        let index = Int(report.fd)
        guard report.isReadable, !report.isWritable, !report.readsToEnd, index < descriptorCount,
            descriptors[index].generation == report.generation,
            descriptors[index].write == .none
        else { return false }
        let id = descriptors[index].read
        guard operations.isReceive(id) else { return false }
        descriptors[index].isReadable = true
        tryReceive(report.fd, id)
        return true
    }

    /// Takes note of a report and tries what waits for it.
    @inline(__always)
    package func deliver(_ report: Report, watch: (CInt, OperationID) -> CInt) {
        let index = Int(report.fd)
        guard index < descriptorCount, descriptors[index].generation == report.generation else {
            return
        }
        if report.readsToEnd { descriptors[index].readsToEnd = true }
        if report.isReadable { descriptors[index].isReadable = true }
        if report.isWritable { descriptors[index].isWritable = true }
        tryDescriptor(report.fd, watch: watch)
    }

    /// Fetches what ``deliver(_:watch:)`` will look at for the descriptors of the coming reports,
    /// the nearest first: what one step fetches, the next looks into a report later.
    @inline(__always)
    package func prefetch(_ next: CInt, _ second: CInt, _ third: CInt) {
        if Int(third) < descriptorCount { gyre_prefetch(descriptors + Int(third)) }
        if Int(second) < descriptorCount { operations.prefetch(descriptors[Int(second)].read) }
        guard Int(next) < descriptorCount else { return }
        operations.prefetchTarget(of: descriptors[Int(next)].read)
    }

    /// Tries what is pending and tells of operations that ended.
    ///
    /// Work that arises meanwhile is for the next call.
    ///
    /// `watch` is called when an operation got under way and has to be watched from now on; it
    /// returns 0 or an error number.
    package func deliverPending(watch: (CInt, OperationID) -> CInt) {
        workWaits = false
        defer { workWaits = !pending.isEmpty || !ended.isEmpty }
        if !pending.isEmpty {
            let fds = pending
            pending = []
            for (position, fd) in fds.enumerated() {
                guard !operations.isInterrupted else {
                    pending.insert(contentsOf: fds[position...], at: 0)
                    return
                }
                descriptors[Int(fd)].isPending = false
                tryDescriptor(fd, watch: watch)
            }
        }
        if !ended.isEmpty {
            let ends = ended
            ended = []
            for (position, end) in ends.enumerated() {
                guard !operations.isInterrupted else {
                    ended.insert(contentsOf: ends[position...], at: 0)
                    return
                }
                operations.complete(end.id, end.result)
            }
        }
    }

    @inline(__always)
    private func tryDescriptor(_ fd: CInt, watch: (CInt, OperationID) -> CInt) {
        let index = Int(fd)
        let generation = descriptors[index].generation
        if descriptors[index].isReadable, descriptors[index].read != .none {
            tryRead(fd, descriptors[index].read, watch: watch)
        }
        // A target may have closed the descriptor meanwhile.
        guard descriptors[index].generation == generation, !operations.isInterrupted else {
            if operations.isInterrupted, descriptors[index].generation == generation {
                makePending(fd)
            }
            return
        }
        let write = descriptors[index].write
        guard write != .none, let operation = operations[write] else { return }
        if descriptors[index].isWritable || (operation.kind == .connect && !operation.isUnderWay) {
            tryWrite(fd, write, operation, watch: watch)
        }
    }

    @inline(__always)
    private func tryRead(_ fd: CInt, _ id: OperationID, watch: (CInt, OperationID) -> CInt) {
        guard let operation = operations[id] else { return }
        switch operation.kind {
        case .receive: tryReceive(fd, id)
        case .accept: tryAccept(fd, id, operation)
        case .ready: tellReady(fd, id, .read)
        default: tellPoll(fd, id, operation, watch: watch)
        }
    }

    @inline(__always)
    private func tryReceive(_ fd: CInt, _ id: OperationID) {
        let index = Int(fd)
        switch Operation.attemptReceive(on: fd, into: scratch) {
        case .wouldBlock:
            descriptors[index].isReadable = false
        case .finished(let result) where result > 0:
            if Int(result) < scratch.count, !descriptors[index].readsToEnd {
                descriptors[index].isReadable = false
            } else {
                makePending(fd)
            }
            let bytes = UnsafeRawBufferPointer(rebasing: scratch[..<Int(result)])
            operations.complete(id, result, more: true, bytes: bytes)
        case .finished(let result):
            descriptors[index].read = .none
            operations.complete(id, result)
        }
    }

    private func tryAccept(_ fd: CInt, _ id: OperationID, _ operation: Operation) {
        let index = Int(fd)
        for _ in 0..<Self.acceptsPerTurn {
            guard descriptors[index].read == id, !operations.isInterrupted else { break }
            switch operation.attemptAccept(flags: socketFlags) {
            case .wouldBlock:
                descriptors[index].isReadable = false
                return
            case .finished(let result) where result >= 0:
                operations.complete(id, result, more: true)
            case .finished(let result):
                // Still readable: the next accept tries at once.
                descriptors[index].read = .none
                return operations.complete(id, result)
            }
        }
        if descriptors[index].read == id { makePending(fd) }
    }

    private func tryWrite(
        _ fd: CInt, _ id: OperationID, _ operation: Operation, watch: (CInt, OperationID) -> CInt
    ) {
        let attempt: Attempt
        switch operation.kind {
        case .send: attempt = operation.attemptSend()
        case .connect: attempt = operation.attemptConnect()
        case .ready: return tellReady(fd, id, .write)
        default: return tellPoll(fd, id, operation, watch: watch)
        }
        switch attempt {
        case .wouldBlock where operation.kind == .connect && !operation.isUnderWay:
            operations.markUnderWay(id)
            let error = watch(fd, id)
            if error != 0 { fail(fd, .write, errno: error) }
        case .wouldBlock:
            descriptors[Int(fd)].isWritable = false
        case .finished(let result):
            descriptors[Int(fd)].write = .none
            operations.complete(id, result)
        }
    }

    /// Whoever waited tries now, and submits anew when there was nothing.
    private func tellReady(
        _ fd: CInt, _ id: OperationID, _ direction: Operation.Direction
    ) {
        descriptors[Int(fd)][direction] = .none
        operations.complete(id, 0)
    }

    /// A watched level is reported anew for as long as it lasts, so nothing is remembered.
    private func tellPoll(
        _ fd: CInt, _ id: OperationID, _ operation: Operation,
        watch: (CInt, OperationID) -> CInt
    ) {
        let index = Int(fd)
        clearReady(index, operation.direction)
        guard operation.isOnce else { return operations.complete(id, 0, more: true) }
        let generation = descriptors[index].generation
        descriptors[index][operation.direction] = .none
        operations.complete(id, 0)
        // The poller would go on reporting the level, unless the target closed the descriptor.
        if descriptors[index].generation == generation, descriptors[index].isPolled {
            _ = watch(fd, id)
        }
    }

    private func clearReady(_ index: Int, _ direction: Operation.Direction) {
        if direction == .read {
            descriptors[index].isReadable = false
        } else {
            descriptors[index].isWritable = false
        }
    }
}
