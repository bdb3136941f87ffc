// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreTasks

/// Tasks and signals.
///
/// All of these change what the process shares.
enum Interrupts {
    static let behaviours: [Behaviour] = [
        interrupt("aSignalCompletesWhatMainAwaits", [110], aSignalCompletesWhatMainAwaits),
        interrupt("theFirstInterruptCancelsMain", [115], theFirstInterruptCancelsMain),
        interrupt("mainMaySwallowTheInterrupt", [115], mainMaySwallowTheInterrupt),
        interrupt("theSecondInterruptLeavesAtOnce", [115], theSecondInterruptLeavesAtOnce),
        interrupt("anInterruptAtTheEndIsForTheNextRun", [], anInterruptAtTheEndIsForTheNextRun),
        interrupt("theRunnerLeavesSignalsOfOthersAlone", [], theRunnerLeavesSignalsOfOthersAlone),
        interrupt("tasksArePrintedOnASignal", [], tasksArePrintedOnASignal),
    ]

    private static func interrupt(
        _ name: String, _ numbers: [Int],
        _ body: @escaping @Sendable (ConformanceKit) throws -> Void
    ) -> Behaviour {
        Behaviour(name, numbers, .runners, isProcessWide: true) { kit in
            // Whoever started the tests may have had it ignored.
            Glibc.signal(SIGINT, SIG_DFL)
            try body(kit)
        }
    }

    private static func raiseForProcess(_ signal: CInt) throws {
        try expect(kill(getpid(), signal), equals: 0, "kill")
    }

    private static var isInterruptHandled: Bool {
        var action = sigaction()
        sigaction(SIGINT, nil, &action)
        return action.__sigaction_handler.sa_handler != nil
    }

    static func aSignalCompletesWhatMainAwaits(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        let loop = try runner.loop
        let stop = LoopFuture<Int>(on: loop)
        try loop.addSignalHandler(SIGTERM) {
            try expect(Loop.current === loop, "the handler runs on the loop")
            try stop.setResult(15)
        }
        loop.callSoon { try raiseForProcess(SIGTERM) }
        try expect(try kit.run(runner) { try await stop.value }, equals: 15)
        try kit.close(runner)
    }

    static func theFirstInterruptCancelsMain(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        let events = SharedValue<[String]>([])
        try expectError(LoopInterrupt.self) {
            try kit.run(runner) {
                try raiseForProcess(SIGINT)
                Loop.running.createTask {
                    do { try await sleep(.seconds(1000)) } catch {
                        events.update { $0.append("other cancelled") }
                    }
                }
                do { try await sleep(.seconds(1000)) } catch {
                    let reason = Loop.running.currentTask?.cancellationReason ?? "nothing"
                    events.update { $0.append("main cancelled: \(reason)") }
                    try await sleep(.milliseconds(1))
                    events.update { $0.append("main cleaned up") }
                    throw error
                }
            }
        }
        try expect(events.value, equals: ["main cancelled: interrupted", "main cleaned up"])
        try expect(!isInterruptHandled, "the signal has its default disposition again")
        try kit.close(runner)
        try expect(events.value.last, equals: "other cancelled")
    }

    static func mainMaySwallowTheInterrupt(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        let value = try kit.run(runner) {
            try raiseForProcess(SIGINT)
            do { try await sleep(.seconds(1000)) } catch { return 1 }
            return 0
        }
        try expect(value, equals: 1)
        // The next run has its own two.
        try expectError(LoopInterrupt.self) {
            try kit.run(runner) {
                try raiseForProcess(SIGINT)
                try await sleep(.seconds(9))
            }
        }
        try kit.close(runner)
    }

    static func theSecondInterruptLeavesAtOnce(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        let loop = try runner.loop
        let isCleaningUp = LoopFuture<Void>(on: loop)
        let waits = SharedValue(0)
        isCleaningUp.addDoneCallback { _ in try raiseForProcess(SIGINT) }
        try expectError(LoopInterrupt.self) {
            try kit.run(runner) {
                try raiseForProcess(SIGINT)
                while waits.value < 3 {
                    do { try await sleep(.seconds(1000)) } catch {
                        waits.update { $0 += 1 }
                        if waits.value == 1 { try isCleaningUp.setResult(()) }
                        // Closing cancels it once, which it swallows; this ends it.
                        if waits.value == 2 {
                            let loop = Loop.running
                            loop.callSoon { loop.allTasks.first?.cancel(nil) }
                        }
                    }
                }
            }
        }
        try expect(waits.value, equals: 1, "the second interrupt did not wait for main")
        try expect(loop.allTasks.count, equals: 1, "main is there still")
        try kit.close(runner)
        try expect(waits.value, equals: 3, "closing waited for main")
    }

    /// It arrives when main has ended and the loop is about to stop.
    static func anInterruptAtTheEndIsForTheNextRun(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        let value = try kit.run(runner) {
            Loop.running.callSoon { raiseHere(SIGINT) }
            return 7
        }
        try expect(value, equals: 7)
        try expectError(LoopInterrupt.self) { try kit.run(runner) { try await sleep(.seconds(9)) } }
        try expect(try kit.run(runner) { 8 }, equals: 8)
        // And without a next one, for nobody.
        _ = try kit.run(runner) {
            Loop.running.callSoon { raiseHere(SIGINT) }
            return 9
        }
        try kit.close(runner)
    }

    static func theRunnerLeavesSignalsOfOthersAlone(_ kit: ConformanceKit) throws {
        let runner = kit.makeRunner()
        let loop = try runner.loop
        let own = SharedValue(0)
        // The loop's own handler, and one that main sets.
        try loop.addSignalHandler(SIGINT) { own.update { $0 += 1 } }
        loop.callSoon { try raiseForProcess(SIGINT) }
        try kit.run(runner) { while own.value == 0 { try await sleep(.milliseconds(1)) } }
        try loop.removeSignalHandler(SIGINT)
        try kit.run(runner) {
            try Loop.running.addSignalHandler(SIGINT) { own.update { $0 += 1 } }
        }
        try expect(isInterruptHandled, "the handler that main set is there still")
        loop.callSoon { try raiseForProcess(SIGINT) }
        try kit.run(runner) { while own.value == 1 { try await sleep(.milliseconds(1)) } }
        try kit.close(runner)
        // One that is ignored stays so.
        Glibc.signal(SIGINT, SIG_IGN)
        let second = kit.makeRunner()
        try second.loop.callSoon { try raiseForProcess(SIGINT) }
        try kit.run(second) { try await sleep(.milliseconds(1)) }
        // And one that wants none.
        Glibc.signal(SIGINT, SIG_DFL)
        second.handlesInterrupts = false
        try kit.run(second) { try expect(!isInterruptHandled, "nobody asked for it") }
        try kit.close(second)
    }

    static func tasksArePrintedOnASignal(_ kit: ConformanceKit) throws {
        setenv("GYRE_TASKS_SIGNAL", "USR1", 1)
        let runner = kit.makeRunner()
        let loop = try runner.loop
        let printed = SharedValue<[String]>([])
        let stop = LoopFuture<Void>(on: loop)
        loop.diagnosticSink = { text in
            printed.update { $0.append(text) }
            if printed.value.count == 2 { _ = stop.cancel() }
        }
        try loop.printTasks(on: SIGUSR2)
        loop.callSoon { for signal in [SIGUSR1, SIGUSR2] { try raiseForProcess(signal) } }
        _ = try? kit.run(runner) { try await stop.value }
        try expect(printed.value.count, equals: 2, "prints: \(printed.value)")
        for text in printed.value {
            try expect(text.hasPrefix("1 task on "), "it is the tree: \(text)")
            try expect(text.contains("task main made at "), "with the task: \(text)")
        }
        try kit.close(runner)
        setenv("GYRE_TASKS_SIGNAL", "WINCH", 1)
        let other = kit.makeRunner()
        try expectError(.invalidSignal) { try other.run {} }
        try other.close()
    }
}
