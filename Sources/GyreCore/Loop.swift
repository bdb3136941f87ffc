// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

/// An event loop: runs callbacks, timers and I/O on one thread.
///
/// A loop belongs to the thread that runs it. It is not `Sendable`: holding a `Loop` is the proof
/// of being where it may be used, and what other threads need is its ``handle``. Calls from a
/// foreign thread that slip through trap with a message.
///
/// Make one with a policy (`LoopPolicy.default.makeLoop()` in the module `Gyre`).
public final class Loop {
    /// The part of this loop that other threads may use.
    public let handle: LoopHandle
    /// Which loop this is and why: the policy that made it, and what was not usable.
    public let selection: LoopSelection

    package let operations: OperationTable
    package let backend: any LoopBackend
    package let clock: LoopClock
    /// Where small sends wait for the next wait, when the backend batches them.
    package let sendBuffers: SendBuffers?

    /// What changes at every turn, behind a pointer: in a class every access to it would be checked
    /// at run time for overlaps with others, which costs more than running a callback.
    // SAFETY: initialized in init, freed in deinit, used on the loop's thread only. No access
    // overlaps another: the queues hand out what they give up, and code of the user's runs, or is
    // released, only after the access.
    let state: UnsafeMutablePointer<LoopState>
    /// What the bytes of a delivery are handed out in, kept for the next one.
    // SAFETY: as above.
    package let chunkStorage: UnsafeMutablePointer<AnyObject?>

    /// Whether the loop is inside a run.
    public var isRunning: Bool { state.pointee.isRunning }
    /// Whether ``close()`` was called.
    public var isClosed: Bool { state.pointee.isClosed }
    /// Set together with the table's interruption, which is what is looked at.
    private var fatalError: (any LoopFatalError)?
    package var ticks: UInt64 { state.pointee.ticks }

    /// Where descriptors are read that are no sockets.
    package private(set) lazy var scratchMemory = ScratchMemory()
    /// Tells a fork that came after the loop was made.
    let generation = gyre_fork_generation()
    var watchers = Watchers()
    var signals: SignalWatcher?
    // These two are written for every connection. No access to them calls other code, so none
    // overlaps another, and checking that would cost more than the accesses.
    @exclusivity(unchecked) var resources = ResourceList()
    /// Whether a descriptor is a transport's or server's.
    @exclusivity(unchecked) var claimedDescriptors: [Bool] = []
    /// Runs the steps of the program that have no other executor, where they come to this loop.
    package var programExecutor: (any ProgramExecutor)?
    /// Called when ``runForever()`` begins; what it returns is called when that ends.
    package var aroundRun: ((Loop) throws(LoopError) -> (() -> Void)?)?
    /// Where code runs that blocks.
    package var executor = LoopExecutor()
    var inspection = Inspection()
    var parked = ParkedCallbacks()

    package init(
        selection: LoopSelection, clock: LoopClock = .monotonic,
        makeBackend: (OperationTable) throws(LoopError) -> any LoopBackend
    ) throws(LoopError) {
        let operations = OperationTable()
        self.operations = operations
        self.selection = selection
        self.clock = clock
        backend = try makeBackend(operations)
        sendBuffers = backend.batchesSends ? SendBuffers() : nil
        // Last: what is allocated before an error is thrown would never be freed.
        state = .allocate(capacity: 1)
        state.initialize(to: LoopState())
        chunkStorage = .allocate(capacity: 1)
        chunkStorage.initialize(to: nil)
        state.pointee.isDebug = getenv("GYRE_DEBUG").map { String(cString: $0) == "1" } ?? false
        handle = LoopHandle(waker: backend.waker)
        handle.bind(to: address)
        Loop.watchForks()
    }

    deinit {
        endAll(telling: defaultExceptionHandler)
        state.deinitialize(count: 1)
        state.deallocate()
        chunkStorage.deinitialize(count: 1)
        chunkStorage.deallocate()
    }

    // MARK: The tick

    /// One iteration.
    ///
    /// Everything the loop ever does happens in one of these phases.
    private func tick(mayBlock: Bool) {
        state.pointee.ticks &+= 1
        let now = updateClock()
        // What the timers schedule is not part of it, and waits for the next iteration.
        let batch = ready.count
        runDueTimers(now: now)
        runReadyCallbacks(batch)
        let limit = waitLimit(mayBlock: mayBlock)
        wait(nanoseconds: limit)
        backend.deliver()
        collectMail()
    }

    /// Without timers nobody asks for the time.
    @inline(__always)
    private func updateClock() -> Int64 {
        timers.count == 0 ? .min : clock.nowNanoseconds
    }

    /// Timers that are due leave the heap together, so that a timer made by one of them waits for
    /// the next iteration; each can be cancelled until its turn comes.
    private func runDueTimers(now: Int64) {
        if timers.count > 0 { state.pointee.collectDue(now: now) }
        while !operations.isInterrupted, let timer = state.pointee.nextDue() {
            run(timer.body, site: timer.site)
        }
    }

    /// Runs what was ready when the iteration began; what is scheduled meanwhile waits for the next
    /// one, after a poll, so that nothing starves I/O.
    private func runReadyCallbacks(_ batch: Int) {
        var remaining = batch
        if remaining > state.pointee.readyMaximum { state.pointee.readyMaximum = remaining }
        while remaining > 0, !operations.isInterrupted {
            remaining -= 1
            runFirstReady()
        }
        runFurtherJobs()
    }

    /// Runs steps of tasks that became ready meanwhile and stand in front: a task that wakes
    /// another need not wait for a poll, as long as there are few.
    ///
    /// Callbacks always wait, and what stands behind them.
    private func runFurtherJobs() {
        var remaining = Self.furtherJobsMax
        while remaining > 0, ready.isJobFirst, !state.pointee.isStopping,
            !operations.isInterrupted
        {
            remaining -= 1
            runFirstReady()
        }
    }

    /// As many as take about as long as a poll is worth.
    private static var furtherJobsMax: Int { 64 }

    @inline(__always)
    private func runFirstReady() {
        // Taken apart and consumed, so that a callback changes hands and is not counted anew.
        let (work, site) = ready.removeFirst()
        switch consume work {
        case .callback(let body): run(body, site: site)
        case .remote(let body): run({ [self] in try body(self) }, site: site)
        case .job(let job): run(job)
        case .continuation(let continuation): resumeNow(continuation)
        case .delivery(let delivery): delivery.deliver(on: self)
        case .cancelled: break
        }
    }

    /// How long the wait may take: 0 not at all, negative for ever.
    func waitLimit(mayBlock: Bool) -> Int64 {
        guard mayBlock, !state.pointee.isStopping, ready.isEmpty, !state.pointee.hasDue,
            !operations.isInterrupted
        else { return 0 }
        guard let deadline = timers.nextDeadline() else { return -1 }
        // A manual clock does not move over what other threads have sent already.
        if clock.isManual, handle.hasMail || clock.jump(to: deadline) { return 0 }
        return clock.isManual ? -1 : max(0, deadline.addingSaturated(-clock.nowNanoseconds))
    }

    /// Blocks the thread.
    ///
    /// Profilers show a loop that is idle here: do not rename or inline it.
    @inline(never)
    private func wait(nanoseconds: Int64) {
        guard nanoseconds != 0 else {
            // A callback forked, and this is the child.
            if operations.isInterrupted, isInherited { return }
            return backend.wait(nanoseconds: 0)
        }
        backend.wait(nanoseconds: handle.prepareToSleep() ? nanoseconds : 0)
        handle.wokeUp()
    }

    private func collectMail() {
        guard handle.hasMail else { return }
        handle.takeMail(into: &state.pointee.mail)
        state.pointee.sortMail()
    }

    /// The callbacks that are ready.
    @inline(__always)
    var ready: ReadyQueue {
        _read { yield state.pointee.ready }
        _modify { yield &state.pointee.ready }
    }

    /// The timers.
    @inline(__always)
    var timers: TimerHeap {
        _read { yield state.pointee.timers }
        _modify { yield &state.pointee.timers }
    }

    // MARK: Running

    /// Runs the loop until ``stop()``.
    ///
    /// A stop that was asked for before makes it run what is ready once, and return.
    ///
    /// A loop may be set up on one thread and run on another. All runs of a loop on io_uring are on
    /// the same thread.
    ///
    /// - Throws: ``LoopError`` when the loop is running or closed, belongs to another thread, or
    ///   another loop runs on this one; or the ``LoopFatalError`` that a callback threw.
    public func runForever() throws {
        // One that is about to fail shall not begin.
        let end = isClosed || Loop.current != nil ? nil : try aroundRun?(self)
        defer { end?() }
        try runTicks {
            repeat {
                tick(mayBlock: true)
            } while !state.pointee.isStopping && !operations.isInterrupted
        }
    }

    /// Runs one iteration.
    ///
    /// ``LoopRunMode/once`` blocks until there is something to do, and does it;
    /// ``LoopRunMode/noWait`` does what there is and never blocks. Calls that other threads had
    /// made before are part of what there is.
    ///
    /// - Throws: As ``runForever()``.
    public func run(_ mode: LoopRunMode) throws {
        try runTicks {
            collectMail()
            let waits = mode == .once && !hasWork
            tick(mayBlock: waits)
            guard waits, fatalError == nil else { return }
            // What the wait was for happens in the same run: a timer that came due, a call from
            // another thread.
            let batch = ready.count
            runDueTimers(now: updateClock())
            runReadyCallbacks(batch)
        }
    }

    /// There are callbacks to run before any wait.
    private var hasWork: Bool {
        if !ready.isEmpty || state.pointee.hasDue { return true }
        guard let deadline = timers.nextDeadline() else { return false }
        return deadline <= clock.nowNanoseconds
    }

    /// Ends the run after the current batch of callbacks.
    ///
    /// Callbacks that the batch schedules stay queued for the next run.
    public func stop() {
        checkThread("stop", instead: "handle.callSoonThreadSafe { $0.stop() }")
        state.pointee.isStopping = true
    }

    /// Throws what a run would throw now.
    package func checkMayRun() throws {
        guard !isClosed else { throw LoopError(.closed, operation: "run") }
        guard !isInherited else { throw Loop.inheritedError }
        guard !isRunning else { throw LoopError(.alreadyRunning, operation: "run") }
        guard gyre_current_loop() == nil else {
            throw LoopError(
                .alreadyRunning, operation: "run", detail: "another loop runs on this thread")
        }
        guard backend.runsOnThisThread else {
            throw LoopError(
                .wrongThread, operation: "run",
                detail: "a loop on \(backend.name) runs on the thread of its first run for good")
        }
    }

    private func runTicks(_ ticks: () -> Void) throws {
        try checkMayRun()
        state.pointee.isRunning = true
        handle.takeOwnership()
        gyre_set_current_loop(UnsafeMutableRawPointer(bitPattern: address))
        ticks()
        guard !isInherited else { throw Loop.inheritedError }
        // What the last callbacks sent must not wait for another run.
        if backend.batchesSends { backend.wait(nanoseconds: 0) }
        gyre_set_current_loop(nil)
        state.pointee.isRunning = false
        state.pointee.isStopping = false
        if let error = fatalError {
            fatalError = nil
            operations.isInterrupted = false
            throw error
        }
    }

    /// Leaves the run at once with `error`.
    ///
    /// What is queued stays.
    package func interrupt(_ error: any LoopFatalError) {
        guard fatalError == nil else { return }
        fatalError = error
        operations.isInterrupted = true
    }

    // MARK: Closing

    /// Closes the loop: queued callbacks and timers are dropped unrun and release what they hold,
    /// transports and servers close their descriptors, signals get their dispositions back.
    ///
    /// Closing twice does nothing.
    ///
    /// - Throws: ``LoopError/Code/alreadyRunning`` when the loop is running.
    public func close() throws(LoopError) {
        guard !isRunning || isInherited else {
            throw LoopError(.alreadyRunning, operation: "close", detail: "stop the loop first")
        }
        endAll(telling: callExceptionHandler)
    }

    /// Says which tasks never ended, and which errors nobody looked at, those of futures among them
    /// that go with what is queued.
    private func endAll(telling handler: (LoopExceptionContext) -> Void) {
        guard !isClosed else { return }
        guard !isInherited else { return tearDown() }
        for task in tasks { handler(task.pendingReport) }
        tearDown()
        for report in handle.takeReports(isLast: true) { handler(report) }
    }

    private func tearDown() {
        // What callbacks held is released at the end, outside the access.
        let dropped = state.pointee.close()
        handle.close()
        signals?.removeAll(restores: !isInherited)
        signals = nil
        if isInherited {
            abandon()
        } else {
            backend.close()
            for resource in resources.removeAll() { resource?.loopDidClose() }
        }
        operations.removeAll()
        // Exchanged, not overwritten: what they held is released at the end, too.
        var watched = Watchers()
        swap(&watchers, &watched)
        var waiting = ParkedCallbacks()
        swap(&parked, &waiting)
        _ = consume dropped
    }

    /// Lets go of what belongs to the parent of this process.
    private func abandon() {
        backend.abandon()
        for (fd, isClaimed) in claimedDescriptors.enumerated() where isClaimed {
            Glibc.close(CInt(fd))
        }
        var shared = ResourceList()
        swap(&resources, &shared)
    }

    // MARK: Where and what

    // SAFETY: the address is stored in the thread's slot only while the loop runs, and the run
    // itself keeps the loop alive.

    /// The loop that runs on this thread, or nil outside a run.
    public static var current: Loop? {
        guard let pointer = gyre_current_loop() else { return nil }
        return Unmanaged<Loop>.fromOpaque(pointer).takeUnretainedValue()
    }

    /// The loop that runs on this thread.
    ///
    /// Traps outside a run.
    public static var running: Loop {
        guard let loop = current else {
            trap("Loop.running: no loop runs on this thread; use Loop.current")
        }
        return loop
    }

    /// Calls `body` with the loop that runs on this thread when it is the one at `address`.
    ///
    /// False when it is not.
    @inline(__always)
    static func withRunning(at address: UInt, _ body: (Loop) -> Void) -> Bool {
        guard let pointer = gyre_current_loop(), UInt(bitPattern: pointer) == address else {
            return false
        }
        Unmanaged<Loop>.fromOpaque(pointer)._withUnsafeGuaranteedRef(body)
        return true
    }

    /// Whether the loop runs on the caller's thread.
    package var isCurrent: Bool { UInt(bitPattern: gyre_current_loop()) == address }

    /// Whether the caller is on the thread that the process began with.
    package static var isOnMainThread: Bool { gyre_is_main_thread() }

    var address: UInt {
        UInt(bitPattern: Unmanaged.passUnretained(self).toOpaque())
    }

    /// Traps when the loop runs on another thread than the caller's.
    @inline(__always)
    package func checkThread(_ operation: StaticString, instead: StaticString) {
        if isRunning, UInt(bitPattern: gyre_current_loop()) != address {
            Loop.failWrongThread(operation, instead)
        }
    }

    @inline(never)
    private static func failWrongThread(_ operation: StaticString, _ instead: StaticString) -> Never
    {
        trap(
            "\(operation) was called from another thread than the one the loop runs on; "
                + "use \(instead)")
    }

    /// What the loop has done so far.
    ///
    /// Cheap to read.
    public var statistics: LoopStatistics {
        let counts = handle.counts
        return LoopStatistics(
            ticks: ticks,
            submissions: operations.submitted,
            completions: operations.completed,
            threadSafeCalls: counts.received,
            wakeUpsSent: counts.wakeUps,
            wakeUpsElided: counts.received - counts.wakeUps,
            readyCount: ready.count,
            readyMaximum: max(state.pointee.readyMaximum, ready.count),
            timerCount: timers.count,
            timerStorage: timers.storedCount,
            operationCount: operations.active,
            longestCallback: inspection.longestCallback)
    }
}

@available(*, unavailable)
extension Loop: Sendable {}

/// How much of the loop one ``Loop/run(_:)`` runs.
public enum LoopRunMode: Sendable {
    /// Blocks until there is something to do, and does it.
    case once
    /// Does what there is to do now.
    case noWait
}
