// SPDX-License-Identifier: Apache-2.0
//
// The runner in top-level code, which is the main actor's.

import Gyre

func whereItRuns() -> String { Loop.current == nil ? "off the loop" : "on the loop" }

let before = Task {
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
