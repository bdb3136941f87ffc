// SPDX-License-Identifier: Apache-2.0

public import GyreCore

extension Loop {
    /// Makes a task of `body`.
    ///
    /// The loop holds it until it ends. An error that it throws and nobody looks at is reported to
    /// the exception handler; a ``LoopFatalError`` ends the run of the loop, too.
    ///
    /// Reports call it `name`, or `Task-1` and so on. An `eager` task begins inside this call and
    /// runs to its first suspension, unless the loop does not run; others begin in a later
    /// iteration.
    ///
    /// - Returns: The task, which is the future of what `body` returns.
    /// - Important: On the loop's thread only; from others use
    ///   ``LoopHandle/createTaskThreadSafe(name:file:line:_:)``.
    @discardableResult
    @inlinable
    public func createTask<Value: Sendable>(
        name: String? = nil, eager: Bool = false,
        file: StaticString = #fileID, line: UInt = #line,
        _ body: sending @escaping () async throws -> Value
    ) -> LoopTask<Value> {
        checkMayCreateTask()
        let task = LoopTask<Value>(on: handle, name: name, file: file, line: line)
        // A closed loop runs nothing any more.
        guard !isClosed else {
            task.become(.cancelled)
            return task
        }
        if eager { keepNextJob() }
        task.state.identity = task.start(body, name: name)
        addTask(task, identity: task.state.identity)
        if eager { runKeptJob() }
        return task
    }

    /// Makes a task that begins at once, and whose task of Swift `start` makes.
    ///
    /// That one calls ``LoopTask/begin()``, and ``LoopTask/end(_:)`` with what it ended with. A
    /// body around another costs memory for as long as that runs; this way it is one.
    package func createTask(
        file: StaticString = #fileID, line: UInt = #line,
        start: (LoopTask<Void>) -> Task<Void, any Error>
    ) -> LoopTask<Void> {
        checkMayCreateTask()
        let task = LoopTask<Void>(on: handle, name: nil, file: file, line: line)
        keepNextJob()
        task.state.identity = LoopTask<Void>.identity(of: start(task))
        addTask(task, identity: task.state.identity)
        runKeptJob()
        return task
    }

    @usableFromInline
    func checkMayCreateTask() {
        checkThread("createTask", instead: "handle.createTaskThreadSafe")
    }

    /// The task whose body runs; nil in callbacks, and in child tasks that Swift made.
    public var currentTask: (any AnyLoopTask)? {
        guard handle.isOnLoop else { return nil }
        return CurrentTask.body as? any AnyLoopTask
    }

    /// The tasks that did not end yet, in the order they were made.
    public var allTasks: [any AnyLoopTask] {
        checkThread("allTasks", instead: "handle.callSoonThreadSafe")
        return tasks.compactMap { $0 as? any AnyLoopTask }.sorted { $0.number < $1.number }
    }

    // MARK: Running until something is done

    /// Runs the loop until `future` is done, and returns its value.
    ///
    /// - Throws: The error that the future ended with; `CancellationError` when it was cancelled;
    ///   ``LoopError/Code/invalidState`` when the loop was stopped before; what
    ///   ``Loop/runForever()`` throws.
    public func runUntilComplete<Value: Sendable>(_ future: LoopFuture<Value>) throws -> Value {
        guard future.handle == handle else {
            throw LoopError(
                .loopMismatch, operation: "runUntilComplete",
                detail: "the future is another loop's")
        }
        let ends = LoopDoneCallback<Value> { [self] _ in stop() }
        future.addDoneCallback(ends)
        defer { future.removeDoneCallback(ends) }
        try runForever()
        guard future.isDone else {
            throw LoopError(
                .invalidState, operation: "runUntilComplete",
                detail: "the loop was stopped before the future was done")
        }
        return try future.result()
    }

    /// Runs async code on the loop until it ends, and returns its value.
    ///
    /// - Throws: The error that `body` threw; otherwise as ``runUntilComplete(_:)``.
    public func runUntilComplete<Value: Sendable>(
        name: String? = nil, file: StaticString = #fileID, line: UInt = #line,
        _ body: sending @escaping () async throws -> Value
    ) throws -> Value {
        // Otherwise it would run later, in the run that stands in the way.
        try checkMayRun()
        return try runUntilComplete(createTask(name: name, file: file, line: line, body))
    }
}

extension LoopHandle {
    /// Makes a task of `body` from any thread.
    ///
    /// It begins in a later iteration of the loop, which is woken if it is blocked.
    ///
    /// - Throws: ``LoopError/Code/closed`` when the loop is closed.
    /// - Important: Callable from any thread.
    @discardableResult
    public func createTaskThreadSafe<Value: Sendable>(
        name: String? = nil, file: StaticString = #fileID, line: UInt = #line,
        _ body: sending @escaping () async throws -> Value
    ) throws(LoopError) -> LoopTask<Value> {
        guard !isClosed else { throw LoopError(.closed, operation: "createTaskThreadSafe") }
        let task = LoopTask<Value>(on: self, name: name, file: file, line: line)
        // Its identity is noted on the loop's thread.
        _ = task.start(body, name: name)
        return task
    }
}
