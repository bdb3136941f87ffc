// SPDX-License-Identifier: Apache-2.0

public import GyreCore

#if compiler(>=6.3) && compiler(<6.4)
@_spi(ExperimentalCustomExecutors) @_spi(ExperimentalScheduling) import _Concurrency
#endif

// The runtime can be given executors of one's own at startup: one for the main actor, and one for
// everything that names none. The interface for that is not public yet, so this stands in a module
// of its own, and for the compilers whose interface is known.

extension Loop {
    /// Makes this loop the executor of the whole program: tasks that name no executor (`Task {}`,
    /// child tasks, `async` functions off any actor), the main actor and `Task.sleep` all run on
    /// it, timers included.
    ///
    /// Called once, on the main thread, before anything else: what is on its way to the thread pool
    /// by then still runs there. The loop runs when the program runs it, on the main thread; in an
    /// `async` main function it runs by itself from the first suspension on. Until it runs nothing
    /// does, and once it is closed nothing does any more: let it end with the program.
    ///
    /// There is one thread for all of it. Code that blocks, or computes for long, holds everything
    /// up and belongs on the pool of `runInExecutor`.
    ///
    /// - Throws: ``LoopError/Code/notSupported`` where the toolchain does not have the interface;
    ///   ``LoopError/Code/wrongThread`` off the main thread, which an `async` main function leaves
    ///   with its first suspension; ``LoopError/Code/inUse`` when a loop was installed already;
    ///   ``LoopError/Code/closed`` on a closed loop; ``LoopError/Code/alreadyRunning`` inside one.
    public func installAsGlobalExecutor() throws(LoopError) {
        let operation = "installAsGlobalExecutor"
        guard !isClosed else { throw LoopError(.closed, operation: operation) }
        guard Loop.current == nil else {
            throw LoopError(
                .alreadyRunning, operation: operation, detail: "it is called before a loop runs")
        }
        guard Loop.isOnMainThread else {
            throw LoopError(
                .wrongThread, operation: operation,
                detail: "it is called on the main thread, before the first await")
        }
        #if compiler(>=6.3) && compiler(<6.4)
        try Executors.install(self, operation)
        #else
        throw LoopError(
            .notSupported, operation: operation,
            detail: "this program was built with another compiler than Swift 6.3, "
                + "whose interface for executors is not known")
        #endif
    }
}

#if compiler(>=6.3) && compiler(<6.4)

/// The executors of the program, once they are installed.
private enum Executors: ExecutorFactory {
    // SAFETY: written once, on the main thread, before the runtime is told of this type; the
    // runtime reads it then and keeps what it got.
    nonisolated(unsafe) private static var installed: MainLoopExecutor?

    static var mainExecutor: any MainExecutor { executor }
    static var defaultExecutor: any TaskExecutor { executor.fallback }

    private static var executor: MainLoopExecutor {
        guard let installed else { preconditionFailure("the executors are installed by now") }
        return installed
    }

    static func install(_ loop: Loop, _ operation: String) throws(LoopError) {
        guard installed == nil else {
            throw LoopError(.inUse, operation: operation, detail: "a loop was installed already")
        }
        let executor = MainLoopExecutor(loop)
        installed = executor
        _createExecutors(factory: Executors.self)
        guard MainActor.executor === executor else {
            throw LoopError(
                .notSupported, operation: operation,
                detail: "the Swift runtime of this process does not take other executors")
        }
        loop.programExecutor = executor
    }
}

/// Runs the main actor on a loop.
private final class MainLoopExecutor: MainExecutor, SchedulingExecutor, @unchecked Sendable {
    // SAFETY: the loop is used on the main thread only, by `run`, which the runtime calls there.
    private let loop: Loop
    let fallback: FallbackExecutor

    init(_ loop: Loop) {
        self.loop = loop
        fallback = FallbackExecutor(loop.handle)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        fallback.handle.enqueue(UnownedJob(job), isOfMainActor: true)
    }

    func enqueue<C: Clock>(
        _ job: consuming ExecutorJob, at instant: C.Instant, tolerance: C.Duration?, clock: C
    ) {
        fallback.enqueue(UnownedJob(job), isOfMainActor: true, at: instant, clock: clock)
    }

    func enqueue<C: Clock>(
        _ job: consuming ExecutorJob, after delay: C.Duration, tolerance: C.Duration?, clock: C
    ) {
        let instant = clock.now.advanced(by: delay)
        fallback.enqueue(UnownedJob(job), isOfMainActor: true, at: instant, clock: clock)
    }

    /// Called by the runtime when the main function suspends.
    func run() throws { try loop.runForever() }

    func stop() { try? loop.handle.callSoonThreadSafe { $0.stop() } }

    var isMainExecutor: Bool { true }

    func checkIsolated() { loop.handle.checkIsolated() }

    func isIsolatingCurrentContext() -> Bool? { loop.handle.isOnLoop }
}

extension MainLoopExecutor: ProgramExecutor {
    func run(_ job: UnownedJob, isOfMainActor: Bool) {
        if isOfMainActor {
            job.runSynchronously(on: asUnownedSerialExecutor())
        } else {
            job.runSynchronously(on: fallback.asUnownedTaskExecutor())
        }
    }
}

/// Runs on a loop what names no executor.
private final class FallbackExecutor: TaskExecutor, SchedulingExecutor {
    let handle: LoopHandle

    init(_ handle: LoopHandle) {
        self.handle = handle
    }

    func enqueue(_ job: consuming ExecutorJob) {
        handle.enqueue(UnownedJob(job), isOfMainActor: false)
    }

    func enqueue<C: Clock>(
        _ job: consuming ExecutorJob, at instant: C.Instant, tolerance: C.Duration?, clock: C
    ) {
        enqueue(UnownedJob(job), isOfMainActor: false, at: instant, clock: clock)
    }

    func enqueue<C: Clock>(
        _ job: consuming ExecutorJob, after delay: C.Duration, tolerance: C.Duration?, clock: C
    ) {
        let instant = clock.now.advanced(by: delay)
        enqueue(UnownedJob(job), isOfMainActor: false, at: instant, clock: clock)
    }

    /// A timer of the loop for a sleep of the runtime.
    func enqueue<C: Clock>(
        _ job: UnownedJob, isOfMainActor: Bool, at instant: C.Instant, clock: C
    ) {
        let handle = handle
        guard let delay = clock.now.duration(to: instant) as? Duration else {
            // A clock that counts in units of its own sleeps by its own means.
            Task.detached {
                try? await clock.sleep(until: instant, tolerance: nil)
                handle.enqueue(job, isOfMainActor: isOfMainActor)
            }
            return
        }
        let wake: @Sendable (Loop) -> Void = { loop in
            _ = loop.callLaterPlainly(delay) { handle.enqueue(job, isOfMainActor: isOfMainActor) }
        }
        try? handle.schedule(wake, site: CallSite(file: "Task.sleep", line: 0))
    }
}

#endif
