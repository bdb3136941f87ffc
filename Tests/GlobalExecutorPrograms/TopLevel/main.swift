// SPDX-License-Identifier: Apache-2.0
//
// A loop that is the executor of a whole program, run by a runner in top-level code.

import Dispatch
import Gyre
import GyreGlobalExecutor

func whereItRuns() -> String { Loop.current == nil ? "off the loop" : "on the loop" }

func code(_ error: any Error) -> String {
    (error as? LoopError)?.code.description ?? "\(error)"
}

let runner = LoopRunner()
if CommandLine.arguments.contains("late") {
    try runner.run {
        do { try Loop.running.installAsGlobalExecutor() } catch { print("inside: \(code(error))") }
    }
    let other = DispatchSemaphore(value: 0)
    DispatchQueue.global().async {
        do {
            let loop = try makeLoop()
            try loop.installAsGlobalExecutor()
        } catch {
            print("on another thread: \(code(error))")
        }
        other.signal()
    }
    other.wait()
    try runner.close()
} else {
    let before = Task { print("a task of the main actor from before: \(whereItRuns())") }
    try runner.loop.installAsGlobalExecutor()
    let after = Task { print("a task of the main actor: \(whereItRuns())") }
    try runner.run {
        await before.value
        await after.value
        try await Task.sleep(for: .milliseconds(1))
        print("behind Task.sleep: \(whereItRuns())")
        await Task.detached { print("a detached task: \(whereItRuns())") }.value
    }
    DispatchQueue.main.async { print("a block of the main queue: \(whereItRuns())") }
    try runner.run { try await Task.sleep(for: .milliseconds(20)) }
    try runner.close()
}
