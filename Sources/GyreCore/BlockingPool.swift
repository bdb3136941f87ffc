// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
import Synchronization

/// A bounded number of threads for calls that block.
///
/// A thread is started when there is work and fewer than the limit run, and ends when there is no
/// work left: starting one costs some ten microseconds, against calls that take milliseconds, and
/// an idle program has no threads of ours.
package final class BlockingPool: Sendable {
    package typealias Job = @Sendable () -> Void

    private struct State: ~Copyable {
        var running = 0
        var waiting = RingBuffer<Job>()
        /// The threads are not those of a child that was forked since.
        var generation = gyre_fork_generation()
    }

    private let threadsMax: Int
    private let state = Mutex(State())

    package init(threadsMax: Int) {
        self.threadsMax = threadsMax
    }

    /// Runs `job` on a thread of the pool, after those that were given before.
    ///
    /// - Throws: ``LoopError`` when there is no thread to run it and none can be started.
    package func run(_ job: @escaping Job) throws(LoopError) {
        let error = state.withCheckedLock { state -> CInt in
            if state.generation != gyre_fork_generation() { state = State() }
            var error: CInt = 0
            if state.running < threadsMax {
                // Under the lock, so that nobody counts on a thread that does not come.
                error = startThread()
                if error == 0 { state.running += 1 }
            }
            guard state.running > 0 else { return error }
            state.waiting.append(job)
            return 0
        }
        if error != 0 { throw LoopError(errno: error, operation: "pthread_create") }
    }

    private func startThread() -> CInt {
        // Signals are for the threads that expect them.
        var all = sigset_t()
        var before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
        defer { pthread_attr_destroy(&attributes) }
        // SAFETY: the reference that is passed is taken over by the new thread, or taken back here
        // when there is none.
        let reference = Unmanaged.passRetained(self)
        var thread: pthread_t = 0
        let error = pthread_create(
            &thread, &attributes,
            { argument in
                if let argument {
                    Unmanaged<BlockingPool>.fromOpaque(argument).takeRetainedValue().work()
                }
                return nil
            }, reference.toOpaque())
        if error != 0 { reference.release() }
        return error
    }

    private func work() {
        while let job = nextJob() { job() }
    }

    private func nextJob() -> Job? {
        state.withCheckedLock { state in
            if !state.waiting.isEmpty { return state.waiting.removeFirst() }
            state.running -= 1
            return nil
        }
    }
}

/// What waits on a loop for results of other threads.
///
/// The threads know a number only, so what waits need not be `Sendable`.
struct ParkedCallbacks {
    /// What the thread asks before it begins.
    final class Job: Sendable {
        let isForgotten = Atomic(false)
    }

    private struct Parked {
        let callback: (any Sendable) -> Void
        let job: Job
    }

    private var parked: [UInt64: Parked] = [:]
    private var next: UInt64 = 1

    mutating func insert(
        _ job: Job, _ callback: @escaping (any Sendable) -> Void
    ) -> UInt64 {
        parked[next] = Parked(callback: callback, job: job)
        next += 1
        return next - 1
    }

    mutating func take(_ token: UInt64) -> ((any Sendable) -> Void)? {
        parked.removeValue(forKey: token)?.callback
    }

    /// Hands the callback back, so that the caller releases it after the access.
    mutating func forget(_ token: UInt64) -> ((any Sendable) -> Void)? {
        let found = parked.removeValue(forKey: token)
        found?.job.isForgotten.store(true, ordering: .relaxed)
        return found?.callback
    }
}

extension Loop {
    /// Runs `work` on a thread of `pool` and hands its result to `then` on this loop's thread.
    ///
    /// - Returns: A token for ``forget(_:)``.
    package func runBlocking<Value: Sendable>(
        on pool: BlockingPool, _ work: @escaping @Sendable () -> Value,
        then: @escaping (Value) -> Void
    ) throws(LoopError) -> UInt64 {
        let job = ParkedCallbacks.Job()
        let token = parked.insert(job) { value in
            if let value = value as? Value { then(value) }
        }
        let handle = handle
        do throws(LoopError) {
            try pool.run {
                guard !job.isForgotten.load(ordering: .relaxed), !handle.isClosed else { return }
                let value = work()
                // A loop that was closed meanwhile wants no result.
                try? handle.callSoonThreadSafe { loop in loop.parked.take(token)?(value) }
            }
        } catch {
            _ = parked.take(token)
            throw error
        }
        return token
    }

    /// Drops the result of a blocking call; its `then` is released now.
    ///
    /// One that waits for a thread is never begun.
    package func forget(_ token: UInt64) { _ = parked.forget(token) }
}
