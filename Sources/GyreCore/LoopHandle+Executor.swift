// SPDX-License-Identifier: Apache-2.0

import Synchronization

// The loop as an executor of Swift Concurrency. Jobs are entries of the ready queue like callbacks
// are, so tasks and callbacks take turns in the order in which they became ready, and a task that
// resumes itself for ever cannot keep I/O waiting.

extension LoopHandle: SerialExecutor, TaskExecutor {
    /// Queues a step of a task or actor for the next iteration of the loop.
    ///
    /// Allocates nothing. On a closed loop the step never runs: close a loop only when its tasks
    /// have ended.
    ///
    /// - Important: Callable from any thread; this is for the Swift runtime.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let address = loopAddress.load(ordering: .relaxed)
        if Loop.withRunning(at: address, { $0.enqueue(.job(job), site: Self.jobSite) }) { return }
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

    private static var jobSite: CallSite { CallSite(file: "Swift task", line: 0) }
}

extension Loop {
    /// Runs a step of a task or actor.
    ///
    /// The loop is both executors, so that a task that moves
    /// between an actor of the loop and code without isolation never leaves.
    @inline(__always)
    func run(_ job: UnownedJob) {
        measure("a step of a Swift task") {
            job.runSynchronously(
                isolatedTo: handle.asUnownedSerialExecutor(),
                taskExecutor: handle.asUnownedTaskExecutor())
        }
    }
}
