// SPDX-License-Identifier: Apache-2.0

/// What changes at every turn of a loop: what it has to run, and where it stands.
struct LoopState: ~Copyable {
    var isRunning = false
    var isClosed = false
    var isStopping = false
    var isDebug = false
    /// The next job is not queued but kept, for who asked for it to run it.
    var keepsNextJob = false
    /// A step of a task runs, whose task-locals are those of what it schedules.
    var isInStep = false
    var keptJob: Job?
    var ticks: UInt64 = 0
    /// The most callbacks that were ever ready at once.
    var readyMaximum = 0

    var ready = ReadyQueue()
    var timers = TimerHeap()
    /// The tasks whose bodies have not ended.
    var tasks = TaskTable()
    /// The inbox's other half: exchanged with it, so that taking mail moves nothing.
    var mail = RingBuffer<LoopHandle.Mail>()
    /// Timers of this iteration, earliest first, and how many of them had their turn.
    private var due: [DueTimer] = []
    private var dueTaken = 0

    init() {}

    /// Timers came due and wait for their turn.
    var hasDue: Bool { dueTaken < due.count }

    /// Takes every timer that is due out of the heap.
    ///
    /// They leave together, so that a timer made by one of them waits for the next iteration; each
    /// can be cancelled until its turn comes.
    mutating func collectDue(now: Int64) {
        timers.popDue(now: now, into: &due)
    }

    /// The next due timer that was not cancelled meanwhile.
    @inline(__always)
    mutating func nextDue() -> (body: () throws -> Void, site: CallSite)? {
        while dueTaken < due.count {
            let timer = due[dueTaken]
            dueTaken += 1
            if dueTaken + 8 < due.count { timers.prefetch(due[dueTaken + 8]) }
            if let found = timers.remove(timer) { return found }
        }
        if dueTaken > 0 {
            due.removeAll(keepingCapacity: dueTaken <= 1024)
            dueTaken = 0
        }
        return nil
    }

    /// Puts the mail behind what is ready.
    mutating func sortMail() {
        while !mail.isEmpty {
            let item = mail.removeFirst()
            switch item.content {
            case .callback(let body): _ = ready.append(.remote(body), site: item.site)
            case .job(let job): _ = ready.append(.job(job), site: item.site)
            }
        }
    }

    /// Closes the loop's state: nothing is scheduled any more.
    ///
    /// Hands back what was, so that the caller releases it after the access.
    mutating func close() -> LoopState {
        var dropped = LoopState()
        swap(&self, &dropped)
        isClosed = true
        ticks = dropped.ticks
        readyMaximum = dropped.readyMaximum
        return dropped
    }
}
