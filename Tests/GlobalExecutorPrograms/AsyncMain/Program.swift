// SPDX-License-Identifier: Apache-2.0
//
// A loop that is the executor of a whole program, driven by an asynchronous main function.

import Gyre
import GyreGlobalExecutor

actor Counter {
    private var value = 0
    func increment() -> String {
        value += 1
        return whereItRuns()
    }
}

func whereItRuns() -> String { Loop.current == nil ? "off the loop" : "on the loop" }

@main
struct Program {
    static func main() async throws {
        Task { print("a task from before: \(whereItRuns())") }
        let loop = try makeLoop()
        try loop.installAsGlobalExecutor()
        do { try loop.installAsGlobalExecutor() } catch { print("twice: \(error.code)") }
        await Task { print("a task: \(whereItRuns())") }.value
        await Task.detached {
            print("a detached task: \(whereItRuns())")
            await MainActor.run {
                MainActor.assertIsolated()
                print("the main actor: \(whereItRuns())")
            }
        }.value
        print("an actor: \(await Counter().increment())")
        async let child = whereItRuns()
        print("a child task: \(await child)")
        await withTaskGroup { group in
            group.addTask { print("a group's task: \(whereItRuns())") }
        }
        let clock = ContinuousClock()
        let start = clock.now
        try await Task.sleep(for: .milliseconds(20))
        print("behind Task.sleep: \(whereItRuns())")
        try await Task.sleep(nanoseconds: 1_000_000)
        try await SuspendingClock().sleep(for: .milliseconds(1))
        print(start.duration(to: clock.now) >= .milliseconds(22) ? "not early" : "early")
        let sleeper = Task { try await Task.sleep(for: .seconds(1000)) }
        sleeper.cancel()
        do { try await sleeper.value } catch { print("a cancelled sleep: \(type(of: error))") }
        try await loop.createTask { try await Gyre.sleep(.milliseconds(1)) }.value
        print("behind a task of the loop: \(whereItRuns())")
    }
}
