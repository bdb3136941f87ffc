// SPDX-License-Identifier: Apache-2.0

/// The smallest executor that can be written by hand: an array of jobs, and a thread that runs
/// them.
///
/// It has no timers, no I/O, no other threads and no safety: what it costs is the runtime's share,
/// the limit for any loop.
final class SmallestExecutor: TaskExecutor, @unchecked Sendable {
    // SAFETY: used by one thread, which is that of the measurement.
    private var jobs: [UnownedJob] = []
    private var next: [UnownedJob] = []

    func enqueue(_ job: consuming ExecutorJob) { jobs.append(UnownedJob(job)) }

    /// Runs jobs until there is none.
    func run() {
        while !jobs.isEmpty {
            swap(&jobs, &next)
            for job in next { job.runSynchronously(on: asUnownedTaskExecutor()) }
            next.removeAll(keepingCapacity: true)
        }
    }
}
