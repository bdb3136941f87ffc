// SPDX-License-Identifier: Apache-2.0

import CGyre
package import Synchronization

extension Mutex where Value: ~Copyable {
    /// As `withLock`, seen by the thread sanitizer.
    ///
    /// Use it wherever threads may contend for the lock: see `CGyreSanitizer.h`.
    @inline(__always)
    package borrowing func withCheckedLock<Result, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        // SAFETY: the address is a name for the lock, never followed. A mutex does not move.
        let address = withUnsafePointer(to: self) { UInt(bitPattern: $0) }
        return try withLock { value throws(Failure) in
            gyre_lock_acquired(address)
            defer { gyre_lock_releasing(address) }
            return try body(&value)
        }
    }
}
