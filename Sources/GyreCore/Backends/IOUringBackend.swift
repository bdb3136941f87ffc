// SPDX-License-Identifier: Apache-2.0

#if IOUring

package import CGyre
import Glibc

/// The loop on an io_uring.
///
/// Operations go into the submission queue and reach the kernel with the enter that also waits: one
/// system call a tick. Accepts and receives are multishot, so a connection that only reads costs no
/// submission. Received bytes lie in buffers that the kernel picks from a ring that belongs to the
/// loop; a buffer goes back as soon as the target has seen it, so an idle connection holds none.
///
/// Sockets stay blocking: on a non-blocking one the ring hands back EAGAIN instead of waiting
/// (io_uring takes O_NONBLOCK for the wish not to wait, io_uring_enter(2)).
package final class IOUringBackend: LoopBackend {
    package let name = "io_uring"
    package var waker: any LoopWaker { event }
    package var socketFlags: CInt { CInt(SOCK_CLOEXEC.rawValue) }
    package var descriptor: CInt? { gyre_ring_descriptor(ring) }
    package var batchesSends: Bool { true }
    package var runsOnThisThread: Bool { thread == 0 || thread == gyre_thread_identity() }

    private enum Tag {
        static let wake = UInt64.max
        static let cancel = UInt64.max - 1
    }

    /// What could not be put into a full submission queue.
    private enum Deferred {
        case submit(OperationID)
        case cancel(OperationID)
        case wake
    }

    private let operations: OperationTable
    private let event: EventDescriptor
    /// The thread that made the first enter, to which the ring belongs; zero before that.
    private var thread: UInt = 0
    private var deferred: [Deferred] = []
    /// Receives for which there was no buffer, in the order in which they are armed anew.
    private var starved = RingBuffer<OperationID>()
    /// Those that ran out in this batch, in that order.
    private var justStarved: [OperationID] = []
    /// How many starved receives are armed at once.
    private var armLimit = 1
    /// Receives of this batch that found a buffer.
    private var fedCount = 0
    // SAFETY: `ring` is made in init and destroyed in close, after which the loop makes no call.
    // `batch` owns room for `batchCapacity` values, those at `delivered ..< drained` initialized.
    private let ring: OpaquePointer
    private let batch: UnsafeMutablePointer<gyre_completion>
    private static var batchCapacity: Int { 256 }
    private var drained = 0
    private var delivered = 0
    private var isOpen = true

    /// Makes a ring.
    ///
    /// Throws ``LoopError/Code/policyUnavailable`` with the kernel's reason.
    package init(
        operations: OperationTable, options: gyre_ring_options = IOUringBackend.options
    ) throws(LoopError) {
        self.operations = operations
        event = try EventDescriptor()
        var created: OpaquePointer?
        var options = options
        let error = gyre_ring_create(&options, &created)
        guard error == 0, let created else {
            throw Self.error(errno: -error)
        }
        ring = created
        batch = .allocate(capacity: Self.batchCapacity)
        armWake()
    }

    deinit {
        close()
        batch.deallocate()
    }

    package func submit(_ id: OperationID) {
        guard let operation = operations[id] else { return }
        if !encode(operation, id) { deferred.append(.submit(id)) }
    }

    package func takeBack(_ id: OperationID) -> Bool { gyre_ring_take_back(ring, id.rawValue) }

    package func cancel(_ id: OperationID) {
        // Never before the submission that it is for, which may be waiting there.
        guard deferred.isEmpty, gyre_ring_cancel(ring, Tag.cancel, id.rawValue) else {
            return deferred.append(.cancel(id))
        }
    }

    package func wait(nanoseconds: Int64) {
        if !deferred.isEmpty { retryDeferred() }
        let blocks =
            nanoseconds != 0 && deferred.isEmpty && delivered == drained && starved.isEmpty
        if thread == 0 { thread = gyre_thread_identity() }
        let error = gyre_ring_enter(ring, blocks, nanoseconds)
        if error != 0 { trap("io_uring_enter: \(LoopError.text(errno: -error))") }
    }

    package func deliver() {
        // What completes meanwhile is for the next iteration: polls of descriptors that are ready
        // complete as soon as they are armed anew, and would keep this going for ever.
        fedCount = 0
        var budget = drained - delivered + Int(gyre_ring_completion_count(ring))
        while budget > 0, !operations.isInterrupted {
            if delivered == drained {
                drained = Int(gyre_ring_drain(ring, batch, UInt32(Self.batchCapacity)))
                delivered = 0
            }
            let completion = batch[delivered]
            delivered += 1
            budget -= 1
            if delivered + 3 < drained {
                operations.prefetch(OperationID(rawValue: batch[delivered + 3].user_data))
                operations.prefetchTarget(of: OperationID(rawValue: batch[delivered + 1].user_data))
            }
            deliver(completion)
            if completion.returns_buffer { gyre_ring_return_buffer(ring, completion.buffer) }
        }
        gyre_ring_publish_buffers(ring)
        if !justStarved.isEmpty { queueStarved() }
        if !starved.isEmpty, !operations.isInterrupted { armStarved() }
    }

    package func closeDescriptor(_ fd: CInt) {
        Glibc.close(fd)
    }

    package func close() {
        guard isOpen else { return }
        isOpen = false
        // What was sent outside a run.
        if thread == gyre_thread_identity() { _ = gyre_ring_enter(ring, false, 0) }
        // Requests keep pointers into memory of their targets. The kernel drops them all before
        // the destroy returns the ring's memory; those of this thread run no more after it.
        gyre_ring_end_requests(ring)
        closeUndeliveredConnections()
        gyre_ring_destroy(ring)
    }

    /// The queues are shared with the parent, who still uses them; this process's view of them
    /// goes.
    package func abandon() {
        guard isOpen else { return }
        isOpen = false
        gyre_ring_destroy(ring)
    }

    /// A connection that the kernel accepted and nobody was told of has no other owner.
    private func closeUndeliveredConnections() {
        while true {
            for index in delivered..<drained {
                let id = OperationID(rawValue: batch[index].user_data)
                guard batch[index].result >= 0, batch[index].user_data < Tag.cancel,
                    operations[id]?.kind == .accept
                else { continue }
                Glibc.close(batch[index].result)
            }
            delivered = 0
            drained = Int(gyre_ring_drain(ring, batch, UInt32(Self.batchCapacity)))
            if drained == 0 { return }
        }
    }

    // MARK: Submitting

    private func encode(_ operation: Operation, _ id: OperationID) -> Bool {
        switch operation.kind {
        case .accept: operation.encodeAccept(id, flags: socketFlags, into: ring)
        case .receive: operation.encodeReceive(id, into: ring)
        case .send: operation.encodeSend(id, into: ring)
        case .connect: operation.encodeConnect(id, into: ring)
        case .poll: operation.encodePoll(id, into: ring)
        case .ready: operation.encodeReady(id, into: ring)
        }
    }

    private func armWake() {
        if !gyre_ring_poll(ring, Tag.wake, event.fd, UInt32(POLLIN), true) {
            deferred.append(.wake)
        }
    }

    private func retryDeferred() {
        let waiting = deferred
        deferred = []
        for item in waiting {
            switch item {
            case .submit(let id): submit(id)
            case .cancel(let id): if operations.isActive(id) { cancel(id) }
            case .wake: armWake()
            }
        }
    }

    // MARK: Delivering

    @inline(__always)
    private func deliver(_ completion: gyre_completion) {
        guard completion.user_data < Tag.cancel else {
            if completion.user_data == Tag.wake, !completion.more { armWake() }
            return
        }
        let id = OperationID(rawValue: completion.user_data)
        if completion.more {
            let count = completion.bytes == nil ? 0 : Int(completion.result)
            fedCount += 1
            let bytes = UnsafeRawBufferPointer(start: completion.bytes, count: count)
            operations.complete(id, completion.result, more: true, bytes: bytes)
        } else {
            deliverLast(completion, id)
        }
    }

    /// The kernel ends a multishot request also for reasons of its own (its completion queue
    /// overflowed, no buffer was free).
    ///
    /// The operation goes on: it is armed anew.
    private func deliverLast(_ completion: gyre_completion, _ id: OperationID) {
        guard let operation = operations[id] else { return }
        let result = completion.result
        let isOver =
            switch operation.kind {
            case .send, .connect, .ready: true
            case .receive: result <= 0 && result != -ENOBUFS
            case .accept: result < 0
            case .poll: result < 0 || operation.isOnce
            }
        guard !isOver else { return operations.complete(id, result) }
        guard result != -ENOBUFS else { return justStarved.append(id) }
        let count = completion.bytes == nil ? 0 : Int(result)
        let bytes = UnsafeRawBufferPointer(start: completion.bytes, count: count)
        operations.complete(id, result, more: true, bytes: bytes)
        arm(id)
    }

    /// The first that ran out in a batch is the one that used the buffers up, as it would again: it
    /// goes last, so that a busy connection takes turns with the others.
    private func queueStarved() {
        for id in justStarved.dropFirst() { starved.append(id) }
        starved.append(justStarved[0])
        justStarved.removeAll(keepingCapacity: true)
        // Not more than the buffers sufficed for: each of the others would cost a submission and a
        // completion that only says so again.
        armLimit = max(1, fedCount)
    }

    /// Lets starved receives go on, now that the buffers of this batch are on their way back.
    private func armStarved() {
        for _ in 0..<min(armLimit, starved.count) { arm(starved.removeFirst()) }
        // As long as the buffers suffice.
        armLimit = min(2 * armLimit, 1 << 20)
    }

    private func arm(_ id: OperationID) {
        // The target may have cancelled it meanwhile: then nothing is left in the kernel to say so.
        guard let current = operations[id] else { return }
        if current.isCancelled {
            operations.complete(id, -ECANCELED)
        } else {
            submit(id)
        }
    }
}

extension IOUringBackend {
    /// A small ring with few large buffers.
    ///
    /// Memory for rings is limited to 8 MiB a user on many machines, and a full submission queue
    /// only costs one more system call. The completion queue has room for a burst.
    ///
    /// Few large buffers, filled piece by piece: targets are done with a buffer when they return,
    /// so what counts is that all of them stay in the second-level cache (16 of 1 MiB cost 1.3
    /// times as much CPU at messages of 100 KiB) and that their ends cut few messages in two. Where
    /// the kernel cannot fill a buffer in pieces, every message takes a whole one, and it needs
    /// more of them.
    package static var options: gyre_ring_options {
        gyre_ring_options(
            submission_entries: 256, completion_entries: 2048,
            incremental_buffer_count: 2, incremental_buffer_size: 512 << 10,
            plain_buffer_count: 64, plain_buffer_size: 64 << 10,
            avoids_new_features: false)
    }

    /// The same without what kernels before 6.12 do not have.
    package static var optionsOfOldKernels: gyre_ring_options {
        var options = options
        options.avoids_new_features = true
        return options
    }

    /// What the kernel gave this ring.
    package var features: gyre_ring_features { gyre_ring_features(ring) }

    /// Only what says that the machine gives no ring makes the policy unavailable, so that
    /// `automatic` goes on to another.
    private static func error(errno number: CInt) -> LoopError {
        let reason: String? =
            switch number {
            case ENOSYS: "the kernel has no io_uring, or one without multishot receive (before 6.0)"
            case EPERM, EACCES:
                "io_uring is refused: kernel.io_uring_disabled, a container or a seccomp profile"
            case ENOMEM: "not enough locked memory: raise the memlock limit (ulimit -l)"
            case EINVAL: "the kernel does not know what a ring needs here (before 6.0)"
            default: nil
            }
        guard let reason else { return LoopError(errno: number, operation: "io_uring") }
        return LoopError(.policyUnavailable, operation: "io_uring", errno: number, detail: reason)
    }
}

#endif
