// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore
import Synchronization

/// A run of a loop took too long: the behaviour it was run for never came.
public struct WatchdogExpired: LoopFatalError, CustomStringConvertible {
    /// How long it was given.
    public let limit: Duration
    /// What it was waiting for.
    public let purpose: String

    /// What did not happen, and in which time.
    public var description: String { "\(purpose): nothing came within \(limit)" }
}

/// Ends the run of a loop that would hang a test, from another thread.
///
/// First it asks the loop, with a fatal error; a loop that does not even take that after the same
/// time again is stuck inside an iteration, and the process is aborted, with a message.
final class Watchdog: Sendable {
    private let ended = Latch()
    private let thread: TestThread

    init(on handle: LoopHandle, limit: Duration, purpose: String) throws {
        let ended = ended
        let watching = Latch()
        thread = try TestThread {
            // A behaviour may fork, and a lock that a thread holds then stays locked in the child:
            // what waiting takes of the Swift runtime, behind locks of its own, it has by now.
            _ = ended.wait(for: .zero)
            watching.open()
            guard !ended.wait(for: limit) else { return }
            let expired = WatchdogExpired(limit: limit, purpose: purpose)
            try? handle.callSoonThreadSafe { _ in throw expired }
            guard !ended.wait(for: limit) else { return }
            preconditionFailure("\(expired), and the loop is stuck in an iteration")
        }
        try expect(watching.wait(for: limit), "the watchdog's thread runs")
    }

    func end() throws {
        ended.open()
        try thread.join()
    }
}
