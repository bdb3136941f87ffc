// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore

/// Makes a loop, runs async code on it as the main function of a program, and cleans up.
///
/// ``run(name:file:line:_:)`` may be called several times: the loop stays. ``close()`` cancels the
/// tasks that are left, waits until they ended, and closes the loop. `Gyre.run` does both for
/// programs that need it once.
///
/// While it runs, the first interrupt (SIGINT, Ctrl-C) cancels the main task, so that it can clean
/// up; the second leaves the loop at once. Both end in ``LoopInterrupt``, unless the main task
/// catches its cancellation and returns a value. Code that never gives way cannot be interrupted.
/// A signal that the program handles itself, or was started with as ignored, stays with it.
///
/// - Important: Used on one thread. Not inside a loop that runs: await the code there.
public final class LoopRunner {
    private enum State {
        case new
        case open(Loop)
        case closed
    }

    private let makeLoop: () throws -> Loop
    private var state = State.new
    /// How long ``close()`` waits for a cancelled task before it says which one it waits for.
    ///
    /// Five seconds unless set. It waits on after that.
    public var patience = Duration.seconds(5)
    /// How long ``close()`` waits for calls of `runInExecutor` that do not end.
    ///
    /// Five minutes unless set. It says so when it gives up.
    public var executorPatience = Duration.seconds(300)
    /// Whether the first SIGINT cancels the main task, and the second leaves the loop.
    public var handlesInterrupts = true
    /// Whether signals may be handled at all: those are for one loop of a program.
    package var handlesSignals = true

    /// A runner whose loop `makeLoop` makes.
    public init(makeLoop: @escaping () throws -> Loop) {
        self.makeLoop = makeLoop
    }

    /// The runner's loop, which is made when it is first asked for.
    ///
    /// - Throws: ``LoopError/Code/closed`` after ``close()``; what making the loop throws.
    public var loop: Loop {
        get throws {
            switch state {
            case .open(let loop): return loop
            case .closed: throw LoopError(.closed, operation: "LoopRunner")
            case .new:
                let loop = try makeLoop()
                state = .open(loop)
                if handlesSignals { try loop.printTasksAsTheOperatorWants() }
                return loop
            }
        }
    }

    /// Runs `body` as a task of the loop until it ends, and returns its value.
    ///
    /// Other tasks go on in the next call, or are cancelled by ``close()``. Reports call the task
    /// `name`, or `main`.
    ///
    /// - Throws: The error that `body` threw; ``LoopInterrupt`` after an interrupt; otherwise as
    ///   ``Loop/runForever()``.
    public func run<Value: Sendable>(
        name: String = "main", file: StaticString = #fileID, line: UInt = #line,
        _ body: sending @escaping () async throws -> Value
    ) throws -> Value {
        let loop = try checkedLoop("run")
        let main = loop.createTask(name: name, file: file, line: line, body)
        let interrupts = Interrupts(main, on: loop, isWanted: handlesSignals && handlesInterrupts)
        defer { interrupts.end() }
        do {
            return try loop.runUntilComplete(main)
        } catch let error as CancellationError {
            guard interrupts.count > 0, main.isDone, main.uncancel() == 0 else { throw error }
            throw LoopInterrupt()
        }
    }

    private func checkedLoop(_ operation: String) throws -> Loop {
        guard Loop.current == nil else {
            throw LoopError(
                .alreadyRunning, operation: operation,
                detail: "a loop runs on this thread; await the code on it")
        }
        return try loop
    }

    /// Cancels the tasks of the loop that did not end, waits until they have, shuts the loop's
    /// executor down, and closes the loop.
    ///
    /// An error of such a task goes to the exception handler. So does a report of each task that is
    /// still there after ``patience``; the runner waits for it all the same. Closing twice does
    /// nothing.
    ///
    /// - Throws: ``LoopError/Code/alreadyRunning`` inside the loop; the ``LoopFatalError`` that
    ///   ended the waiting. The loop is closed all the same.
    public func close() throws {
        guard case .open = state else {
            state = .closed
            return
        }
        let loop = try checkedLoop("close")
        state = .closed
        let outcome = Result {
            try endTasks(of: loop)
            try shutDownExecutor(of: loop)
        }
        try loop.close()
        try outcome.get()
    }

    // MARK: The tasks that are left

    /// What tasks make while they clean up is cancelled too, but not for ever: what is there after
    /// that is reported as pending by the loop.
    private static let roundsMax = 10

    private func endTasks(of loop: Loop) throws {
        for _ in 0..<Self.roundsMax {
            // Takes in the tasks that other threads made.
            try loop.run(.noWait)
            let tasks = loop.allTasks.compactMap { $0 as? any EndingTask }
            guard !tasks.isEmpty else { return }
            for task in tasks { task.cancel("the runner ends") }
            try wait(for: tasks, on: loop)
            for task in tasks { task.reportError(to: loop) }
        }
    }

    private func shutDownExecutor(of loop: Loop) throws {
        guard loop.executor.pool != nil else { return }
        let patience = executorPatience
        try loop.runUntilComplete(name: "shut down the executor") {
            try await Loop.running.shutdownDefaultExecutor(timeout: patience)
        }
    }

    private func wait(for tasks: [any EndingTask], on loop: Loop) throws {
        var remaining = tasks.count
        for task in tasks {
            task.whenDone {
                remaining -= 1
                if remaining == 0 { loop.stop() }
            }
        }
        let patience = patience
        let timer = loop.callLaterPlainly(patience) {
            for task in tasks where !task.isDone {
                loop.callExceptionHandler(
                    LoopExceptionContext(
                        message: "The runner waits for the task \(task.name), which was cancelled "
                            + "\(patience) ago and waits for \(task.waitsFor ?? "nothing")",
                        site: task.site))
            }
        }
        defer { timer.cancel() }
        while remaining > 0 { try loop.runForever() }
    }
}

@available(*, unavailable)
extension LoopRunner: Sendable {}

/// What the runner has to know of a task, whatever it returns.
private protocol EndingTask: AnyLoopTask {
    func whenDone(_ body: @escaping () -> Void)
    func reportError(to loop: Loop)
}

extension LoopTask: EndingTask {
    fileprivate func whenDone(_ body: @escaping () -> Void) {
        addCallback { _ in body() }
    }

    fileprivate func reportError(to loop: Loop) {
        guard case .failure(let error) = outcome else { return }
        markErrorAsSeen()
        loop.callExceptionHandler(
            LoopExceptionContext(
                message: "The task \(name) failed after the runner had cancelled it",
                error: error, site: site))
    }
}

/// What the interrupts of the program do while a main task runs.
private final class Interrupts {
    private let loop: Loop
    private var claim: SignalClaim?
    private(set) var count = 0

    init(_ main: any AnyLoopTask, on loop: Loop, isWanted: Bool) {
        self.loop = loop
        guard isWanted else { return }
        claim = loop.claimSignal(SIGINT, site: main.site) { [unowned self] in
            count += 1
            guard count == 1, main.cancel("interrupted") else { throw LoopInterrupt() }
        }
    }

    func end() {
        if let claim { loop.release(claim) }
    }
}
