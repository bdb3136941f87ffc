// SPDX-License-Identifier: Apache-2.0

import Gyre
import Testing

/// A loop as the executor of a whole program, which is installed once in a process.
@Suite("The global executor")
struct GlobalExecutorTests {
    private func run(
        _ name: String, _ policy: PolicyUnderTest, _ arguments: [String] = []
    ) throws -> [String] {
        let loop = try policy.policy.rawValue
        let command = try Command(
            "gyre-global-\(name)", arguments, environment: ["GYRE_LOOP": loop])
        #expect(command.status == 0, "\(command.output)")
        return command.lines
    }

    @Test(
        "Everything in a program with an async main runs on the loop, timers included",
        arguments: PolicyUnderTest.usable)
    func asyncMain(_ policy: PolicyUnderTest) throws {
        let lines = try run("async-main", policy)
        let expected = [
            "twice: inUse", "a task from before: on the loop", "a task: on the loop",
            "a detached task: on the loop", "the main actor: on the loop",
            "an actor: on the loop", "a child task: on the loop", "a group's task: on the loop",
            "behind Task.sleep: on the loop", "not early",
            "a cancelled sleep: CancellationError", "behind a task of the loop: on the loop",
        ]
        #expect(Set(lines) == Set(expected))
        #expect(lines.count == expected.count)
    }

    @Test(
        "Everything in top-level code runs on the runner's loop",
        arguments: PolicyUnderTest.usable)
    func topLevel(_ policy: PolicyUnderTest) throws {
        let expected = [
            "a task of the main actor from before: on the loop",
            "a task of the main actor: on the loop", "behind Task.sleep: on the loop",
            "a detached task: on the loop", "a block of the main queue: on the loop",
        ]
        #expect(Set(try run("top-level", policy)) == Set(expected))
    }

    @Test("Too late, or from another thread, it is refused", arguments: PolicyUnderTest.usable)
    func refusals(_ policy: PolicyUnderTest) throws {
        let lines = try run("top-level", policy, ["late"])
        #expect(lines == ["inside: alreadyRunning", "on another thread: wrongThread"])
    }
}
