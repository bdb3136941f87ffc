// SPDX-License-Identifier: Apache-2.0
//
// The runner in an asynchronous main function: before its first suspension, and after.

import Gyre

@main
struct Program {
    static func main() async throws {
        let before = Task { @MainActor in
            print("a task of the main actor from before: \(whereItRuns())")
            await Task.yield()
            print("and its second step: \(whereItRuns())")
        }
        let text = try Gyre.run {
            print("main: \(whereItRuns())")
            await before.value
            await MainActor.run { print("the main actor: \(whereItRuns())") }
            try await Task.sleep(for: .milliseconds(1))
            return "main after Task.sleep: \(whereItRuns())"
        }
        print(text)
        print("behind the loop: \(whereItRuns())")
        await MainActor.run {
            do {
                try Gyre.run {}
                print("a second loop ran")
            } catch let error as LoopError {
                print("after the first await: \(error.code)")
            } catch {
                print(error)
            }
        }
    }
}

func whereItRuns() -> String { Loop.current == nil ? "off the loop" : "on the loop" }
