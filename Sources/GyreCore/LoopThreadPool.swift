// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization

/// A bounded number of threads for code that blocks: what `runInExecutor` uses.
///
/// A thread is started when there is work and fewer than the limit run, and ends when there is no
/// work left.
///
/// - Important: Usable from any thread, and by several loops.
public final class LoopThreadPool: Sendable {
    private struct State {
        var unfinished = 0
        var isShutDown = false
        /// Called when the last job ended.
        var whenFinished: [@Sendable () -> Void] = []
    }

    /// How many threads run at most.
    public let threadsMax: Int
    private let pool: BlockingPool
    private let state = Mutex(State())

    /// Makes a pool of at most `threadsMax` threads, one at least.
    ///
    /// Without a number it is four more than there are processors, up to 32: enough to wait for
    /// disks and the like, without a crowd.
    public init(threadsMax: Int? = nil) {
        let processors = sysconf(CInt(_SC_NPROCESSORS_ONLN))
        let limit = max(1, threadsMax ?? min(32, processors + 4))
        self.threadsMax = limit
        pool = BlockingPool(threadsMax: limit)
    }

    /// How many jobs wait for a thread or run.
    public var jobCount: Int { state.withCheckedLock { $0.unfinished } }

    /// Runs `job` on a thread, after those that were given before.
    ///
    /// - Throws: ``LoopError/Code/closed`` after ``shutDown()``, and an error of the system when
    ///   there is no thread to run it and none can be started.
    package func run(_ job: @escaping @Sendable () -> Void) throws(LoopError) {
        let isOpen = state.withCheckedLock { state in
            if !state.isShutDown { state.unfinished += 1 }
            return !state.isShutDown
        }
        guard isOpen else {
            throw LoopError(.closed, operation: "runInExecutor", detail: "it was shut down")
        }
        do throws(LoopError) {
            try pool.run { [self] in
                job()
                finishJob()
            }
        } catch {
            finishJob()
            throw error
        }
    }

    private func finishJob() {
        let callbacks = state.withCheckedLock { state in
            state.unfinished -= 1
            guard state.unfinished == 0 else { return [@Sendable () -> Void]() }
            defer { state.whenFinished = [] }
            return state.whenFinished
        }
        for callback in callbacks { callback() }
    }

    /// Takes no more jobs; those that were given before still run.
    public func shutDown() {
        state.withCheckedLock { $0.isShutDown = true }
    }

    /// Calls `body` when no job is left, on whatever thread that is; now, if there is none.
    package func whenFinished(_ body: @escaping @Sendable () -> Void) {
        let isFinished = state.withCheckedLock { state in
            if state.unfinished > 0 { state.whenFinished.append(body) }
            return state.unfinished == 0
        }
        if isFinished { body() }
    }
}

/// The pool of a loop.
package struct LoopExecutor {
    /// Chosen, or made when it was first needed.
    package var pool: LoopThreadPool?
    package var isShutDown = false
}
