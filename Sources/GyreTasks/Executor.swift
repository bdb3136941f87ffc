// SPDX-License-Identifier: Apache-2.0

public import GyreCore
import Synchronization

/// Code that blocks, off the loop's thread.
extension Loop {
    /// Runs `work` on a thread of a pool, and gives what it returns or throws.
    ///
    /// This is the way to run code that blocks (file systems, databases, long calculations) without
    /// holding up the loop. Without a `pool` it is the loop's own, see ``setDefaultExecutor(_:)``,
    /// which shares no thread with look-ups of names.
    ///
    ///     let text = try await Loop.running.runInExecutor { try readConfiguration() }.value
    ///
    /// A call that was begun cannot be interrupted: cancelling the future cancels it at once, and
    /// what the call ends with is dropped. One that still waits for a thread is then never begun.
    ///
    /// - Returns: A future. It fails with ``LoopError/Code/closed`` when the executor was shut
    ///   down, and with an error of the system when no thread can be started.
    /// - Important: On the loop's thread only.
    public func runInExecutor<Value: Sendable>(
        _ pool: LoopThreadPool? = nil, file: StaticString = #fileID, line: UInt = #line,
        _ work: @escaping @Sendable () throws -> Value
    ) -> LoopFuture<Value> {
        checkThread("runInExecutor", instead: "handle.callSoonThreadSafe")
        let future = DelegatingFuture<Value>(
            "executor", on: handle, site: CallSite(file: file, line: line))
        let job = ExecutorJob()
        future.canceller = { future in
            job.isCancelled.store(true, ordering: .relaxed)
            return future.end(.cancelled)
        }
        do throws(LoopError) {
            let pool = if let pool { pool } else { try defaultPool() }
            try pool.run {
                guard !job.isCancelled.load(ordering: .relaxed) else { return }
                let result = Result { try work() }
                // A loop that was closed meanwhile wants no result.
                try? future.completeThreadSafe(with: result)
            }
        } catch {
            future.end(.failure(error))
        }
        return future
    }

    private func defaultPool() throws(LoopError) -> LoopThreadPool {
        guard !executor.isShutDown else {
            throw LoopError(
                .closed, operation: "runInExecutor", detail: "the executor was shut down")
        }
        if let pool = executor.pool { return pool }
        let pool = LoopThreadPool()
        executor.pool = pool
        return pool
    }

    /// Chooses the pool of ``runInExecutor(_:file:line:_:)``.
    ///
    /// Unless set, the loop makes one for itself when it is first needed, with as many threads as
    /// ``LoopThreadPool/init(threadsMax:)`` says.
    public func setDefaultExecutor(_ pool: LoopThreadPool) {
        checkThread("setDefaultExecutor", instead: "handle.callSoonThreadSafe")
        executor.pool = pool
    }

    /// Takes no more calls for the loop's executor, and waits for those that were made.
    ///
    /// When that takes longer than `timeout` (nil is no limit), it says so through
    /// ``Loop/diagnosticSink`` and returns; the calls go on. The pool is shut down for
    /// others that use it, too.
    ///
    /// - Throws: `CancellationError` when the task that waits is cancelled, which undoes nothing;
    ///   ``LoopError/Code/loopMismatch`` on another loop.
    public func shutdownDefaultExecutor(timeout: Duration? = nil) async throws {
        checkThread("shutdownDefaultExecutor", instead: "handle.createTaskThreadSafe")
        executor.isShutDown = true
        guard let pool = executor.pool else { return }
        pool.shutDown()
        let finished = LoopFuture<Void>(on: self)
        pool.whenFinished { try? finished.completeThreadSafe(with: .success(())) }
        let pending = try await wait([finished], timeout: timeout).pending
        if !pending.isEmpty, let timeout {
            let calls = pool.jobCount == 1 ? "1 call" : "\(pool.jobCount) calls"
            diagnosticSink("the executor was shut down, with \(calls) left after \(timeout)")
        }
    }
}

/// A call that may be cancelled until it begins.
private final class ExecutorJob: Sendable {
    let isCancelled = Atomic(false)
}
