// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// Runs tasks on a thread of their own: those of the Swift runtime may all be busy with tests.
final class ThreadExecutor: TaskExecutor {
    private let pool = BlockingPool(threadsMax: 1)

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        // Without a thread the test does not end, which its watchdog notices.
        try? pool.run { [self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
    }
}
