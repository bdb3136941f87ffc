// SPDX-License-Identifier: Apache-2.0

import Foundation
import Gyre
import GyreCore
import GyreTesting
import Testing

/// Line 26: calls that belong to the loop's thread, made from another while the loop runs.
///
/// The compiler refuses them; what slips through ends the process with a message, so each of these
/// is tried in a process of its own.
@Suite("Calls from a foreign thread")
struct ForeignThreadTests {
    private static let calls = [
        "callSoon", "callLater", "callAt", "stop", "addReader", "addWriter", "removeReader",
        "removeWriter", "addSignalHandler", "removeSignalHandler", "cancel a callback",
        "cancel a timer",
    ]

    @Test("A call from a foreign thread traps and says what to do", arguments: calls)
    func foreignCallTraps(_ call: String) async throws {
        let result = await #expect(
            processExitsWith: .failure, observing: [\.standardErrorContent]
        ) { [call = call as String] in
            let loop = try LoopPolicy.epoll.makeLoop()
            let timer = loop.callLater(.seconds(3600)) {}
            let callback = loop.callSoon {}
            nonisolated(unsafe) let smuggled = (loop, timer, callback)
            loop.callSoon {
                let thread = try TestThread {
                    let (loop, timer, callback) = smuggled
                    switch call {
                    case "callSoon": loop.callSoon {}
                    case "callLater": loop.callLater(.zero) {}
                    case "callAt": loop.callAt(loop.now) {}
                    case "stop": loop.stop()
                    case "addReader": try loop.addReader(0) {}
                    case "addWriter": try loop.addWriter(0) {}
                    case "removeReader": loop.removeReader(0)
                    case "removeWriter": loop.removeWriter(0)
                    case "addSignalHandler": try loop.addSignalHandler(SIGUSR1) {}
                    case "removeSignalHandler": try loop.removeSignalHandler(SIGUSR1)
                    case "cancel a callback": callback.cancel()
                    case "cancel a timer": timer.cancel()
                    default: break
                    }
                }
                // It ends with the process. Getting here is the failure: an exit with success.
                try thread.join()
                exit(EXIT_SUCCESS)
            }
            try loop.runForever()
        }
        let text = String(decoding: try #require(result).standardErrorContent, as: UTF8.self)
        #expect(text.contains("was called from another thread"), "\(text)")
        #expect(text.contains("handle.callSoonThreadSafe"), "\(text)")
    }

    @Test("Loop.running traps outside a run and says what to use")
    func runningTrapsOutside() async throws {
        let result = await #expect(
            processExitsWith: .failure, observing: [\.standardErrorContent]
        ) {
            Loop.running.stop()
        }
        let text = String(decoding: try #require(result).standardErrorContent, as: UTF8.self)
        #expect(text.contains("no loop runs on this thread"), "\(text)")
    }

    @Test("A ring runs on the thread of its first run", arguments: PolicyUnderTest.usable)
    func runsOnOneThread(_ policy: PolicyUnderTest) throws {
        let loop = try policy.kit.makeLoop()
        loop.callSoon { Loop.running.stop() }
        nonisolated(unsafe) let moved = loop
        let first = try TestThread { try moved.runForever() }
        try first.join()
        loop.callSoon { Loop.running.stop() }
        if try policy.policy == .ioUring {
            let error = #expect(throws: LoopError.self) { try loop.runForever() }
            #expect(error?.code == .wrongThread)
        } else {
            try policy.kit.run(loop)
        }
        #expect(!loop.isRunning)
        try loop.close()
    }

    @Test("callSoonThreadSafe is no such call", arguments: PolicyUnderTest.usable)
    func threadSafeCallIsAllowed(_ policy: PolicyUnderTest) throws {
        let loop = try policy.kit.makeLoop()
        let handle = loop.handle
        loop.callSoon {
            let thread = try TestThread { try handle.callSoonThreadSafe { $0.stop() } }
            try thread.join()
        }
        try policy.kit.run(loop)
    }
}
