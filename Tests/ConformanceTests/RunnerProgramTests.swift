// SPDX-License-Identifier: Apache-2.0

import Glibc
import Gyre
import TestPrograms
import Testing

/// The runner where programs call it: on the main thread, with the main actor beside it.
///
/// The loop blocks the main thread, and the main actor's jobs must run all the same.
@Suite("The runner in programs")
struct RunnerProgramTests {
    private static let expected = [
        "main: on the loop",
        "a task of the main actor from before: on the loop",
        "and its second step: on the loop",
        "the main actor: on the loop",
        "main after Task.sleep: on the loop",
        "behind the loop: off the loop",
    ]

    private func run(_ name: String, _ policy: PolicyUnderTest) throws -> [String] {
        let loop = try policy.policy.rawValue
        let command = try Command("gyre-run-\(name)", [], environment: ["GYRE_LOOP": loop])
        #expect(command.status == 0, "\(command.output)")
        return command.lines
    }

    @Test("Top-level code", arguments: PolicyUnderTest.usable)
    func topLevel(_ policy: PolicyUnderTest) throws {
        #expect(Set(try run("top-level", policy)) == Set(Self.expected))
    }

    @Test("A synchronous main function", arguments: PolicyUnderTest.usable)
    func main(_ policy: PolicyUnderTest) throws {
        #expect(Set(try run("main", policy)) == Set(Self.expected))
    }

    @Test("An asynchronous main function", arguments: PolicyUnderTest.usable)
    func asyncMain(_ policy: PolicyUnderTest) throws {
        let lines = try run("async-main", policy)
        #expect(Set(lines.dropLast()) == Set(Self.expected))
        #expect(lines.last == "after the first await: wrongThread")
    }

    @Test("An operator asks for the tasks of a program", arguments: PolicyUnderTest.usable)
    func tasksOnASignal(_ policy: PolicyUnderTest) throws {
        let program = try Program(
            Program.path("gyre-run-tasks"), [],
            environment: ["GYRE_LOOP": policy.policy.rawValue, "GYRE_TASKS_SIGNAL": "USR1"],
            mergesErrors: true)
        #expect(program.readLine() == "ready")
        program.send(SIGUSR1)
        #expect(program.readLine() == "2 tasks on \(try policy.policy.rawValue)")
        let main = try #require(program.readLine())
        #expect(main.hasPrefix("- task main made at gyre_run_tasks/main.swift:"), "\(main)")
        #expect(main.hasSuffix(", waits for task worker"))
        let worker = try #require(program.readLine())
        #expect(worker.hasPrefix("  - task worker made at gyre_run_tasks/main.swift:"), "\(worker)")
        #expect(worker.contains(", waits for sleep at gyre_run_tasks/main.swift:"))
        // The first interrupt lets main clean up, the second does not wait for that.
        program.send(SIGINT)
        #expect(program.readLine() == "main is cancelled")
        program.send(SIGINT)
        #expect(program.readToEnd() == ["interrupted"])
        #expect(program.wait() == 0)
    }
}
