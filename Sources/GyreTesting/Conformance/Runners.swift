// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// The runner, and what the loop tells of its tasks.
enum Runners {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "theRunnerCancelsWhatIsLeftAndWaits", [11], .runners, theRunnerCancelsWhatIsLeftAndWaits
        ),
        Behaviour(
            "anErrorWhileTheRunnerEndsIsReported", [11], .runners,
            anErrorWhileTheRunnerEndsIsReported),
        Behaviour(
            "anErrorOfTheLastTurnIsReported", [11], .runners, anErrorOfTheLastTurnIsReported),
        Behaviour(
            "theRunnerNamesWhatHoldsItUp", [], .runners, theRunnerNamesWhatHoldsItUp),
        Behaviour(
            "tasksMadeWhileTheRunnerEndsAreCancelled", [11], .runners,
            tasksMadeWhileTheRunnerEndsAreCancelled),
        Behaviour("aTaskThatComesBackIsGivenUp", [], .runners, aTaskThatComesBackIsGivenUp),
        Behaviour("aRunnerRunsSeveralTimes", [], .runners, aRunnerRunsSeveralTimes),
        Behaviour("theRunnerThrowsWhatMainThrows", [6], .runners, theRunnerThrowsWhatMainThrows),
        Behaviour("aRunnerInsideALoopIsRefused", [7], .runners, aRunnerInsideALoopIsRefused),
        Behaviour("aStoppedMainIsAnError", [], .runners, aStoppedMainIsAnError),
        Behaviour("theRunnerWaitsForTheExecutor", [31], .runners, theRunnerWaitsForTheExecutor),
        Behaviour("theTaskTreeSaysWhoWaits", [], .runners, theTaskTreeSaysWhoWaits),
        Behaviour("aSlowStepNamesItsTask", [32], .runners, aSlowStepNamesItsTask),
    ]

    private struct Failure: Error {}

    static func theRunnerCancelsWhatIsLeftAndWaits(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner(clock: ManualClock())
        let events = SharedValue<[String]>([])
        let value = try kit.run(runner) {
            Loop.running.createTask {
                do {
                    try await sleep(.seconds(1000))
                } catch {
                    try await sleep(.seconds(1))
                    events.update { $0.append("cleaned up") }
                    throw error
                }
            }
            try await sleep(.zero)
            events.update { $0.append("main ends") }
            return 5
        }
        try expect(value, equals: 5)
        let loop = try runner.loop
        try expect(loop.allTasks.count, equals: 1, "tasks left")
        try kit.close(runner)
        try expect(events.value, equals: ["main ends", "cleaned up"])
        try expect(loop.isClosed, "the loop is closed")
        try expect(loop.allTasks.count, equals: 0, "tasks left after closing")
        try runner.close()
        try expectError(.closed) { try runner.run {} }
        try expectError(.closed) { _ = try runner.loop }
    }

    static func anErrorWhileTheRunnerEndsIsReported(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        var reports: [LoopExceptionContext] = []
        try runner.loop.exceptionHandler = { reports.append($1) }
        try kit.run(runner) {
            Loop.running.createTask(name: "fails late") {
                do { try await sleep(.seconds(1000)) } catch { throw Failure() }
            }
            try await sleep(.zero)
        }
        try kit.close(runner)
        try expect(reports.count, equals: 1, "reports: \(reports)")
        try expect(reports[0].error is Failure, "it is the task's error")
        try expect(reports[0].message.contains("fails late"), "its task: \(reports[0].message)")
        let place = reports[0].site?.description ?? ""
        try expect(place.contains("Runners.swift:"), "its place: \(place)")
    }

    static func anErrorOfTheLastTurnIsReported(_ kit: ConformanceKit) throws {
        for steps in 0...5 {
            let runner = kit.makeRunner(clock: ManualClock())
            let thrown = SharedValue(0)
            var reported = 0
            try runner.loop.exceptionHandler = { _, context in
                if context.error is Failure { reported += 1 }
            }
            try kit.run(runner) {
                _ = Loop.running.createTask {
                    for _ in 0..<steps { try await sleep(.zero) }
                    thrown.update { $0 += 1 }
                    throw Failure()
                }
            }
            try kit.close(runner)
            try expect(reported, equals: thrown.value, "after \(steps) steps")
        }
    }

    static func theRunnerNamesWhatHoldsItUp(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner(clock: ManualClock())
        var reports: [LoopExceptionContext] = []
        let loop = try runner.loop
        loop.exceptionHandler = { reports.append($1) }
        try kit.run(runner) {
            Loop.running.createTask(name: "stubborn") {
                // What has to be done before it ends takes longer than the runner has patience.
                do { try await sleep(.seconds(1000)) } catch { try await sleep(.seconds(60)) }
            }
            Loop.running.createTask(name: "quick") { try await sleep(.seconds(1000)) }
            try await sleep(.zero)
        }
        let start = loop.now
        try kit.close(runner)
        try expect(start.duration(to: loop.now), equals: .seconds(60), "it waited")
        try expect(reports.count, equals: 1, "reports: \(reports)")
        let message = reports[0].message
        try expect(message.contains("stubborn"), "the task is named: \(message)")
        try expect(message.contains("waits for sleep at"), "and its wait: \(message)")
    }

    static func tasksMadeWhileTheRunnerEndsAreCancelled(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner(clock: ManualClock())
        let events = SharedValue<[String]>([])
        try kit.run(runner) {
            Loop.running.createTask {
                do { try await sleep(.seconds(1000)) } catch {
                    Loop.running.createTask {
                        do { try await sleep(.seconds(1000)) } catch {
                            events.update { $0.append("second") }
                        }
                    }
                    try await sleep(.zero)
                    events.update { $0.append("first") }
                }
            }
            try await sleep(.zero)
        }
        // From another thread, in time to be seen.
        let handle = try runner.loop.handle
        let thread = try TestThread {
            try handle.createTaskThreadSafe {
                do { try await sleep(.seconds(1000)) } catch {
                    events.update { $0.append("thread") }
                }
            }
        }
        try thread.join()
        try kit.close(runner)
        try expect(Set(events.value), equals: ["first", "second", "thread"])
    }

    private static func comeBack() async throws {
        do { try await sleep(.seconds(1000)) } catch {
            Loop.running.createTask(name: "comes back") { try await comeBack() }
            // It waits before the runner cancels it: cancelled earlier it would never begin.
            try await sleep(.zero)
            try await sleep(.zero)
        }
    }

    static func aTaskThatComesBackIsGivenUp(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner(clock: ManualClock())
        var reports: [String] = []
        try runner.loop.exceptionHandler = { reports.append($1.message) }
        try kit.run(runner) {
            Loop.running.createTask { try await comeBack() }
            try await sleep(.zero)
        }
        try kit.close(runner)
        try expect(reports, equals: ["The task comes back was pending when its loop was closed"])
    }

    static func aRunnerRunsSeveralTimes(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        let handle = try runner.loop.handle
        let count = SharedValue(0)
        try kit.run(runner) {
            try expect(handle.isOnLoop, "it runs on the runner's loop")
            Loop.running.createTask {
                while true {
                    count.update { $0 += 1 }
                    try await sleep(.zero)
                }
            }
            try await sleep(.zero)
        }
        let before = count.value
        try kit.run(runner) { for _ in 0..<3 { try await sleep(.zero) } }
        try expect(count.value > before, "a task of the first run goes on in the second")
        try kit.close(runner)
    }

    static func theRunnerThrowsWhatMainThrows(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        try expectError(Failure.self) { try kit.run(runner) { throw Failure() } }
        try expectError(CancellationError.self) {
            try kit.run(runner) {
                Loop.running.currentTask?.cancel(nil)
                try await sleep(.zero)
            }
        }
        try expectError(LoopInterrupt.self) { try kit.run(runner) { throw LoopInterrupt() } }
        try kit.run(runner) {}
        try kit.close(runner)
    }

    static func aRunnerInsideALoopIsRefused(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        let other = kit.makeRunner()
        try kit.run(runner) {
            try expectError(.alreadyRunning) { try kit.makeRunner().run {} }
            try await sleep(.zero)
        }
        let loop = try runner.loop
        loop.callSoon {
            try expectError(.alreadyRunning) { try runner.close() }
            try expectError(.alreadyRunning) { try other.run {} }
            loop.stop()
        }
        try kit.run(loop)
        try kit.close(runner)
    }

    static func aStoppedMainIsAnError(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        let cancelled = SharedValue(false)
        try expectError(.invalidState) {
            try kit.run(runner) {
                Loop.running.stop()
                do { try await sleep(.seconds(1000)) } catch { cancelled.value = true }
            }
        }
        try kit.close(runner)
        try expect(cancelled.value, "closing cancels it")
    }

    static func theRunnerWaitsForTheExecutor(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        let latch = Latch()
        let began = Latch()
        let ended = SharedValue(false)
        try kit.run(runner) {
            _ = Loop.running.runInExecutor {
                began.open()
                try expect(latch.wait(), "the latch was opened")
                ended.value = true
            }
        }
        try expect(began.wait(), "the call began")
        // Opened by the loop, when that waits for the call.
        try runner.loop.callLater(.milliseconds(5)) { latch.open() }
        try kit.close(runner)
        try expect(ended.value, "the call ended before the loop was closed")

        let second = kit.makeRunner()
        let stuck = Latch()
        var warnings: [String] = []
        try second.loop.diagnosticSink = { warnings.append($0) }
        second.executorPatience = .milliseconds(5)
        try kit.run(second) { _ = Loop.running.runInExecutor { stuck.wait() } }
        try kit.close(second)
        stuck.open()
        try expect(warnings.count, equals: 1, "warnings: \(warnings)")
        try expect(warnings[0].contains("1 call left"), "it says so: \(warnings[0])")
    }

    static func theTaskTreeSaysWhoWaits(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let gate = LoopFuture<Void>(on: loop)
        let parent = loop.createTask(name: "parent") {
            let child = Loop.running.createTask(name: "child") {
                let grandchild = Loop.running.createTask(name: "grandchild") {
                    try await gate.value
                }
                Loop.running.createTask(name: "sleeper") { try await sleep(.seconds(1000)) }
                try await grandchild.value
            }
            try await child.value
        }
        try kit.drain(loop)
        let lines = loop.taskTree.split(separator: "\n").map(String.init)
        try expect(lines.count, equals: 5, "lines: \(lines)")
        try expect(lines[0].hasPrefix("4 tasks on "), "the head: \(lines[0])")
        let expected = [
            ("- task parent made at ", ", waits for task child"),
            ("  - task child made at ", ", waits for task grandchild"),
            ("    - task grandchild made at ", ", waits for the future made at "),
            ("    - task sleeper made at ", ", waits for sleep at "),
        ]
        for (line, (start, rest)) in zip(lines.dropFirst(), expected) {
            try expect(line.hasPrefix(start), "\(line) begins with \(start)")
            try expect(line.contains("/Runners.swift:"), "\(line) says where it was made")
            try expect(line.contains(rest), "\(line) contains \(rest)")
        }
        // Whose maker ended stands at the top.
        parent.cancel("enough")
        try expect(loop.taskTree.contains("cancelled (enough)"), "it says so: \(loop.taskTree)")
        try kit.drain(loop)
        try expect(loop.taskTree.contains("\n- task sleeper"), "the tree: \(loop.taskTree)")
        for task in loop.allTasks { task.cancel(nil) }
        try kit.drain(loop)
        try expect(loop.taskTree.hasPrefix("0 tasks on "), "the tree: \(loop.taskTree)")
    }

    static func aSlowStepNamesItsTask(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var reports: [String] = []
        loop.diagnosticSink = { reports.append($0) }
        loop.isDebug = true
        loop.slowCallbackDuration = .milliseconds(20)
        func work() {
            let end = LoopClock.monotonic.now.advanced(by: .milliseconds(30))
            while LoopClock.monotonic.now < end {}
        }
        let task = loop.createTask(name: "slow starter") {
            work()
            try await sleep(.milliseconds(1))
            Loop.running.createTask(name: "eager", eager: true) {}
            work()
            try await sleep(.milliseconds(1))
        }
        try kit.complete(task, on: loop)
        // A busy machine makes others slow as well.
        let named = reports.filter { $0.contains("task slow starter") }
        try expect(named.count >= 2, "reports: \(reports)")
    }
}

extension ConformanceKit {
    /// A runner of loops like those of ``makeLoop(clock:)``.
    func makeRunner(clock: ManualClock? = nil) -> LoopRunner {
        LoopRunner { try makeLoop(clock: clock?.loopClock ?? .monotonic) }
    }

    /// Runs `body` on `runner`, under the eyes of the watchdog.
    func run<Value: Sendable>(
        _ runner: LoopRunner, file: StaticString = #fileID, line: UInt = #line,
        _ body: @escaping @Sendable () async throws -> Value
    ) throws -> Value {
        try watched(runner.loop, "\(file):\(line)") { try runner.run(file: file, line: line, body) }
    }

    /// Closes `runner`, under the eyes of the watchdog.
    func close(
        _ runner: LoopRunner, file: StaticString = #fileID, line: UInt = #line
    ) throws {
        try watched(runner.loop, "\(file):\(line)") { try runner.close() }
    }
}
