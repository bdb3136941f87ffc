// SPDX-License-Identifier: Apache-2.0

import Synchronization

// A callback that is scheduled by a step of a task sees the task-locals of that place. Swift copies
// task-locals for a new task only, and for nothing else. So the callback is made the body of a
// task, whose only step is kept until the callback's turn comes. That costs about half a
// microsecond, so it is done inside of steps only, and not for what the library schedules itself.

/// A callback with the task-locals of the place where it was made.
///
/// Made, called and released on the loop's thread; released as late as the loop is, on any.
final class CarriedCallback {
    // SAFETY: what changes is used by the owner, and by the step of the task, which only the owner
    // runs, inside its own calls.
    private final class Content: @unchecked Sendable {
        var body: (() throws -> Void)?
        var error: (any Error)?

        init(_ body: @escaping () throws -> Void) {
            self.body = body
        }

        func run() {
            do { try body.take()?() } catch { self.error = error }
        }
    }

    private let content: Content
    private let handle: LoopHandle
    private var job: UnownedJob?

    init(_ body: @escaping () throws -> Void, on loop: Loop) {
        let content = Content(body)
        self.content = content
        handle = loop.handle
        loop.keepNextJob()
        _ = Task(executorPreference: handle) { content.run() }
        job = loop.takeKeptJob()
    }

    deinit {
        // A step that never runs is never freed.
        content.body = nil
        job?.runSynchronously(on: handle.asUnownedTaskExecutor())
    }

    func run(on loop: Loop) throws {
        guard let job = job.take() else { return }
        loop.runStep { job.runSynchronously(on: handle.asUnownedTaskExecutor()) }
        if let error = content.error.take() { throw error }
    }
}

/// What a carried callback is handed when it is called.
private final class Argument<Value> {
    var value: Value?
}

extension Loop {
    /// A callback that is handed something, once, and runs `body` with the task-locals of this
    /// place, which is a step of a task.
    package func carrying<Value>(
        _ body: @escaping (Value) throws -> Void
    ) -> (Value) throws -> Void {
        let argument = Argument<Value>()
        let run = carrying { if let value = argument.value.take() { try body(value) } }
        return { value in
            argument.value = value
            try run()
        }
    }

    /// Schedules a call of the thread-safe kind that was made on the loop's thread.
    func enqueue(_ body: @escaping @Sendable (Loop) throws -> Void, site: CallSite) {
        guard state.pointee.isInStep else { return enqueue(.remote(body), site: site) }
        let run: (Loop) throws -> Void = carrying(body)
        enqueue(.callback({ [unowned self] in try run(self) }), site: site)
    }

    /// A callback that runs `body` with the task-locals of this place, which is a step of a task.
    @inline(never)
    func carrying(_ body: @escaping () throws -> Void) -> () throws -> Void {
        let carried = CarriedCallback(body, on: self)
        return { [unowned self] in try carried.run(on: self) }
    }

    /// Schedules a callback of the library itself, which needs nobody's task-locals, for the next
    /// iteration.
    package func callSoonPlainly(
        file: StaticString = #fileID, line: UInt = #line, _ body: @escaping () throws -> Void
    ) {
        enqueue(.callback(body), site: CallSite(file: file, line: line))
    }

    /// As ``callSoonPlainly(file:line:_:)``, after `delay`.
    package func callLaterPlainly(
        _ delay: Duration, file: StaticString = #fileID, line: UInt = #line,
        _ body: @escaping () throws -> Void
    ) -> LoopTimer {
        callAtPlainly(now.advanced(by: delay), file: file, line: line, body)
    }

    /// As ``callSoonPlainly(file:line:_:)``, at `deadline`.
    package func callAtPlainly(
        _ deadline: LoopClock.Instant, file: StaticString = #fileID, line: UInt = #line,
        _ body: @escaping () throws -> Void
    ) -> LoopTimer {
        let nanoseconds = deadline.nanoseconds
        guard !isClosed else {
            return TimerName(slot: .max, sequence: 0, deadline: nanoseconds).handle(on: self)
        }
        let site = CallSite(file: file, line: line)
        return timers.insert(deadline: nanoseconds, site: site, body: body).handle(on: self)
    }
}

extension LoopHandle {
    /// Whether the caller is a step of a task on this loop.
    package var isInStep: Bool {
        var isInStep = false
        _ = Loop.withRunning(at: loopAddress.load(ordering: .relaxed)) {
            isInStep = $0.state.pointee.isInStep
        }
        return isInStep
    }
}
