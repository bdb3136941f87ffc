// SPDX-License-Identifier: Apache-2.0

// Chooses the loop when the program starts, and says which one runs and why.
//
//     gyre-example-policy-swap                    the first that is usable
//     gyre-example-policy-swap epoll              this one, or an error that says why not
//     GYRE_LOOP=dispatch gyre-example-policy-swap the operator's choice

import Glibc
import Gyre

func run() throws {
    // What the program itself prefers: once, before any loop is made.
    try LoopPolicy.setDefault(.automatic)
    let named = try CommandLine.arguments.dropFirst().first.map { try LoopPolicy(named: $0) }
    let loop = try makeLoop(policy: named)

    print("runs on \(loop.selection.policy), asked for by \(loop.selection.origin)")
    for rejection in loop.selection.rejected {
        print("not on \(rejection.policy): \(rejection.reason)")
    }

    // The same code on every loop.
    let start = loop.now
    loop.callLater(.milliseconds(20)) {
        let waited = start.duration(to: loop.now)
        print(waited >= .milliseconds(20) ? "the timer was on time" : "the timer was early")
        loop.stop()
    }
    try loop.runForever()
    try loop.close()
}

do {
    try run()
} catch {
    print("no loop: \(error)")
    exit(1)
}
