// SPDX-License-Identifier: Apache-2.0

import GyreCore
import Synchronization

/// A thread of a test: runs a closure, and hands its error to who joins.
///
/// - Important: Usable from any thread.
public final class TestThread: Sendable {
    private let end = Latch()
    private let error = Mutex<(any Error)?>(nil)

    /// Starts a thread that runs `body`.
    ///
    /// Signals are blocked on it.
    public init(_ body: @escaping @Sendable () throws -> Void) throws {
        // A pool of its own, so that it is a new thread.
        try BlockingPool(threadsMax: 1).run { [self] in
            do {
                try body()
            } catch let thrown {
                error.withCheckedLock { $0 = thrown }
            }
            end.open()
        }
    }

    /// Waits for the end of the closure and throws what it threw, or a ``ConformanceFailure`` when
    /// it has not ended after `duration`.
    public func join(within duration: Duration = .seconds(20)) throws {
        try expect(end.wait(for: duration), "a thread of the test did not end")
        if let error = error.withCheckedLock({ $0 }) { throw error }
    }
}
