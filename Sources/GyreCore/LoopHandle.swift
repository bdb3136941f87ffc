// SPDX-License-Identifier: Apache-2.0

import CGyre
import Synchronization

/// The part of a loop that every thread may use.
///
/// A ``Loop`` belongs to its thread and cannot leave it; its handle can go anywhere. It may outlive
/// the loop: calls then throw ``LoopError/Code/closed``.
public final class LoopHandle: Sendable {
    struct Mail: Sendable {
        enum Content: Sendable {
            case callback(@Sendable (Loop) throws -> Void)
            case job(Job)
        }

        let content: Content
        let site: CallSite
    }

    private struct Inbox: ~Copyable, Sendable {
        var mail = RingBuffer<Mail>()
        var isClosed = false
        var received: UInt64 = 0
        /// What the exception handler is to be told; nil when the loop is gone.
        var reports: [LoopExceptionContext]? = []
    }

    private let inbox = Mutex(Inbox())
    /// Mail waits.
    ///
    /// Written under the lock; read without it once a tick.
    private let mailWaits = Atomic(false)
    /// The loop blocks, or is about to.
    ///
    /// The protocol: the loop sets this and then looks at `mailWaits`; who sends sets `mailWaits`
    /// and then looks at this. Both in one total order, so at least one of them sees the other, and
    /// a wake-up is sent only when the loop really sleeps. Whoever clears it sends the wake-up.
    private let isSleeping = Atomic(false)
    private let wakeUpsSent = Atomic<UInt64>(0)
    private let waker: any LoopWaker
    /// Tells whether the loop that runs on a thread is this one.
    ///
    /// Never followed.
    let loopAddress = Atomic<UInt>(0)

    /// The thread the loop belongs to: the one that made it, until another runs it.
    private let owner: Atomic<UInt>

    init(waker: any LoopWaker) {
        self.waker = waker
        owner = Atomic(gyre_thread_identity())
    }

    /// Schedules `body` on the loop's thread, which it wakes if it is blocked.
    ///
    /// Runs in the order of the calls of one thread, in a later iteration. On the loop's own thread
    /// this is ``Loop/callSoon(file:line:_:)``, task-locals included.
    ///
    /// - Throws: ``LoopError/Code/closed`` when the loop is closed; `body` is then dropped.
    /// - Important: Callable from any thread. `body` is handed the loop, so it need not capture it.
    public func callSoonThreadSafe(
        file: StaticString = #fileID, line: UInt = #line,
        _ body: @escaping @Sendable (Loop) throws -> Void
    ) throws(LoopError) {
        let site = CallSite(file: file, line: line)
        let address = loopAddress.load(ordering: .relaxed)
        if Loop.withRunning(at: address, { $0.enqueue(body, site: site) }) { return }
        try send(Mail(content: .callback(body), site: site))
    }

    /// Schedules a callback of the library itself, which needs nobody's task-locals.
    package func schedule(
        _ body: @escaping @Sendable (Loop) throws -> Void, site: CallSite
    ) throws(LoopError) {
        let address = loopAddress.load(ordering: .relaxed)
        if Loop.withRunning(at: address, { $0.enqueue(.remote(body), site: site) }) { return }
        try send(Mail(content: .callback(body), site: site))
    }

    /// Schedules `delivery`, as ``callSoonThreadSafe(file:line:_:)`` does, but allocates nothing on
    /// the loop's own thread.
    ///
    /// - Throws: ``LoopError/Code/closed`` when the loop is closed.
    package func schedule(
        _ delivery: any LoopDelivery, site: CallSite
    ) throws(LoopError) {
        let address = loopAddress.load(ordering: .relaxed)
        if Loop.withRunning(at: address, { $0.enqueue(.delivery(delivery), site: site) }) {
            return
        }
        try send(Mail(content: .callback({ delivery.deliver(on: $0) }), site: site))
    }

    /// Tells the exception handler of `context`: in a later iteration, or when the loop closes
    /// before that.
    ///
    /// From any place and thread, a deinit among them. A closed loop has nobody left to tell.
    package func report(_ context: LoopExceptionContext) {
        let isFirst = inbox.withCheckedLock { inbox in
            inbox.reports?.append(context)
            return inbox.reports?.count == 1
        }
        guard isFirst else { return }
        // One that closes looks for itself.
        try? schedule({ $0.tellReports() }, site: context.site ?? Self.reportSite)
    }

    private static var reportSite: CallSite { CallSite(file: "report", line: 0) }

    /// Whether the loop belongs to the caller's thread, running or not.
    package var isOwnedByThisThread: Bool {
        owner.load(ordering: .relaxed) == gyre_thread_identity()
    }

    /// Whether the caller is on the thread on which the loop runs right now.
    public var isOnLoop: Bool {
        let current = gyre_current_loop()
        return current != nil
            && UInt(bitPattern: current) == loopAddress.load(ordering: .relaxed)
    }

    /// Whether the loop was closed.
    ///
    /// - Important: Callable from any thread; a loop that is open may be closed by the time of the
    ///   next call.
    public var isClosed: Bool { inbox.withCheckedLock { $0.isClosed } }

    func send(_ mail: Mail) throws(LoopError) {
        let (isOpen, isFirst) = inbox.withCheckedLock { inbox in
            guard !inbox.isClosed else { return (false, false) }
            let isFirst = inbox.mail.isEmpty
            inbox.mail.append(mail)
            inbox.received &+= 1
            if isFirst { mailWaits.store(true, ordering: .sequentiallyConsistent) }
            return (true, isFirst)
        }
        guard isOpen else { throw LoopError(.closed, operation: "callSoonThreadSafe") }
        // Who finds mail there leaves the waking to the one who brought the first.
        guard isFirst, isSleeping.load(ordering: .sequentiallyConsistent),
            isSleeping.exchange(false, ordering: .acquiringAndReleasing)
        else { return }
        wakeUpsSent.wrappingAdd(1, ordering: .relaxed)
        waker.wake()
    }

    // MARK: The loop's side

    /// Announces a blocking wait.
    ///
    /// False when there is mail, and the loop must not block.
    func prepareToSleep() -> Bool {
        isSleeping.store(true, ordering: .sequentiallyConsistent)
        guard mailWaits.load(ordering: .sequentiallyConsistent) else { return true }
        isSleeping.store(false, ordering: .relaxed)
        return false
    }

    /// Whether the loop has announced a blocking wait, so that a call has to wake it.
    package var isLoopAsleep: Bool { isSleeping.load(ordering: .sequentiallyConsistent) }

    func wokeUp() {
        isSleeping.store(false, ordering: .relaxed)
    }

    /// Exchanges the inbox for `mail`, which is empty.
    ///
    /// False when there was nothing.
    func takeMail(into mail: inout RingBuffer<Mail>) {
        inbox.withCheckedLock { inbox in
            swap(&inbox.mail, &mail)
            mailWaits.store(false, ordering: .relaxed)
        }
    }

    /// Whether there is something to take.
    ///
    /// Costs no lock.
    @inline(__always)
    var hasMail: Bool { mailWaits.load(ordering: .acquiring) }

    /// The caller's thread runs the loop from now on.
    func takeOwnership() { owner.store(gyre_thread_identity(), ordering: .relaxed) }

    func bind(to address: UInt) {
        loopAddress.store(address, ordering: .relaxed)
    }

    /// What is to be reported; with `isLast` nothing is any more.
    func takeReports(isLast: Bool = false) -> [LoopExceptionContext] {
        inbox.withCheckedLock { inbox in
            let reports = inbox.reports ?? []
            inbox.reports = isLast || inbox.reports == nil ? nil : []
            return reports
        }
    }

    /// Refuses further mail and drops what is there.
    func close() {
        // The next loop may be made at the same address, and must not be taken for this one.
        bind(to: 0)
        var dropped = RingBuffer<Mail>(capacity: 1)
        inbox.withCheckedLock { inbox in
            inbox.isClosed = true
            swap(&inbox.mail, &dropped)
            mailWaits.store(false, ordering: .relaxed)
        }
    }

    /// How many calls came from other threads, and how many of them cost a wake-up.
    var counts: (received: UInt64, wakeUps: UInt64) {
        // In this order: each wake-up belongs to a call that was received before.
        let wakeUps = wakeUpsSent.load(ordering: .acquiring)
        return (inbox.withCheckedLock { $0.received }, wakeUps)
    }
}

extension LoopHandle: Equatable, Hashable {
    /// Whether both belong to the same loop.
    public static func == (left: LoopHandle, right: LoopHandle) -> Bool { left === right }

    /// Feeds the identity of the loop into `hasher`.
    public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}
