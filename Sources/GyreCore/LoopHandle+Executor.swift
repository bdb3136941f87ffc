// SPDX-License-Identifier: Apache-2.0

import Synchronization

// The loop as an executor of Swift Concurrency. Jobs are entries of the ready queue like callbacks
// are, so tasks and callbacks take turns in the order in which they became ready, and a task that
// resumes itself for ever cannot keep I/O waiting.

/// A step of a task or actor, and what it has to be isolated to.
struct Job: Sendable {
    enum Kind {
        /// A step of a task without isolation.
        case task
        /// A step of an actor that is pinned to the loop.
        case actor
        /// A step of a task that has no executor of its own, where the loop is that of the program.
        case global
        /// A step of the main actor, likewise.
        case mainActor
    }

    let job: UnownedJob
    /// Run as another it would at once be queued again, to change places.
    let kind: Kind
}

/// Runs the steps that come to the loop because it is the executor of the whole program.
package protocol ProgramExecutor: AnyObject {
    /// Runs a step of the main actor, or of a task that has no executor.
    func run(_ job: UnownedJob, isOfMainActor: Bool)
}

extension LoopHandle: SerialExecutor, TaskExecutor {
    /// Queues a step of a task for the next iteration of the loop.
    ///
    /// Allocates nothing. On a closed loop the step never runs: close a loop only when its tasks
    /// have ended.
    ///
    /// - Important: Callable from any thread; this is for the Swift runtime.
    public func enqueue(_ job: consuming ExecutorJob) {
        enqueue(Job(job: UnownedJob(job), kind: .task))
    }

    /// Queues a step of an actor that is pinned to the loop, as ``enqueue(_:)``.
    @_implements(SerialExecutor,enqueue(_:))
    public func enqueueStepOfActor(_ job: consuming ExecutorJob) {
        enqueue(Job(job: UnownedJob(job), kind: .actor))
    }

    /// Queues a step for the loop as the executor of the whole program, see ``ProgramExecutor``.
    package func enqueue(_ job: UnownedJob, isOfMainActor: Bool) {
        enqueue(Job(job: job, kind: isOfMainActor ? .mainActor : .global))
    }

    private func enqueue(_ job: Job) {
        let address = loopAddress.load(ordering: .relaxed)
        if Loop.withRunning(at: address, { $0.enqueue(job) }) { return }
        try? send(Mail(content: .job(job), site: Self.jobSite))
    }

    /// The loop as the executor of actors: `unownedExecutor` of an actor that is pinned to it.
    public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
        UnownedSerialExecutor(ordinary: self)
    }

    /// The loop as the preferred executor of tasks.
    public func asUnownedTaskExecutor() -> UnownedTaskExecutor {
        UnownedTaskExecutor(ordinary: self)
    }

    /// Traps outside the loop's thread: what `assumeIsolated` of a pinned actor asks.
    public func checkIsolated() {
        if !isOnLoop { trap("not on the thread of the loop that this code is isolated to") }
    }

    /// Whether the caller is on the loop's thread.
    public func isIsolatingCurrentContext() -> Bool? { isOnLoop }

    static var jobSite: CallSite { CallSite(file: "Swift task", line: 0) }
}

extension Loop {
    @inline(__always)
    func enqueue(_ job: Job) {
        guard !state.pointee.keepsNextJob else {
            state.pointee.keepsNextJob = false
            state.pointee.keptJob = job
            return
        }
        enqueue(.job(job), site: LoopHandle.jobSite)
    }

    /// Keeps the next job of this loop for ``runKeptJob()`` instead of queueing it: what starts a
    /// task inside a call.
    @usableFromInline
    package func keepNextJob() {
        // On a loop that does not run here, a task is mail like any other.
        state.pointee.keepsNextJob = handle.isOnLoop
    }

    /// Runs the kept job, up to the first suspension of its task.
    ///
    /// Who calls this, a task perhaps, goes on then.
    @usableFromInline
    package func runKeptJob() {
        state.pointee.keepsNextJob = false
        if let job = state.pointee.keptJob.take() { run(job) }
    }

    /// The kept job, which the caller runs, once.
    func takeKeptJob() -> UnownedJob? {
        state.pointee.keepsNextJob = false
        return state.pointee.keptJob.take()?.job
    }

    /// Lets a task go on now, up to its next suspension, instead of queueing that.
    package func resumeNow(_ continuation: UnsafeContinuation<Void, Never>) {
        keepNextJob()
        continuation.resume()
        runKeptJob()
    }

    /// Lets the task that waits for `continuation` go on in the next iteration.
    package func resumeSoon(_ continuation: UnsafeContinuation<Void, Never>) {
        enqueue(.continuation(continuation), site: LoopHandle.jobSite)
    }

    /// Runs a step of a task or actor.
    @inline(__always)
    func run(_ job: Job) {
        guard !isDebug else { return runMeasured(job) }
        runUnmeasured(job)
    }

    @inline(__always)
    private func runUnmeasured(_ job: Job) {
        runStep {
            let executor = handle.asUnownedTaskExecutor()
            switch job.kind {
            case .task: job.job.runSynchronously(on: executor)
            case .actor:
                job.job.runSynchronously(
                    isolatedTo: handle.asUnownedSerialExecutor(), taskExecutor: executor)
            case .global, .mainActor: runOfProgram(job)
            }
        }
    }

    // Apart, since inlined its look at a property would be made at every turn, job or not.
    @inline(never)
    private func runOfProgram(_ job: Job) {
        programExecutor?.run(job.job, isOfMainActor: job.kind == .mainActor)
    }

    /// Runs `body`, which is a step of a task, maybe inside another.
    @inline(__always)
    func runStep(_ body: () -> Void) {
        let outer = state.pointee.isInStep
        state.pointee.isInStep = true
        body()
        state.pointee.isInStep = outer
    }

    @inline(never)
    private func runMeasured(_ job: Job) {
        // A step may run others inside, of eager tasks.
        let outer = inspection.taskOfStep
        defer { inspection.taskOfStep = outer }
        // SAFETY: the number tells jobs apart and is never followed. That of a task's step is the
        // task's.
        inspection.taskOfStep = taskName(unsafeBitCast(job.job, to: UInt.self))
        measure("a step of \(inspection.taskOfStep.map { "the task \($0)" } ?? "a Swift task")") {
            runUnmeasured(job)
        }
    }
}
