// SPDX-License-Identifier: Apache-2.0
//
// A program that waits, and that two interrupts end.

import Gyre

do {
    try Gyre.run {
        let worker = Loop.running.createTask(name: "worker") { try await sleep(.seconds(1000)) }
        Loop.running.callSoon { print("ready") }
        do {
            try await worker.value
        } catch is CancellationError {
            print("main is cancelled")
            try await sleep(.seconds(1000))
        }
    }
} catch is LoopInterrupt {
    print("interrupted")
}
