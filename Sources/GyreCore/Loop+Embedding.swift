// SPDX-License-Identifier: Apache-2.0

extension Loop {
    /// For another event loop that sleeps in this one's stead, and calls ``run(_:)`` without
    /// waiting when that has something to do.
    ///
    /// Announces the sleep: from now on calls from other threads wake the backend's waker.
    ///
    /// Returns how long it may last, in nanoseconds: 0 not at all, negative until the backend has
    /// something.
    package func prepareToSleepOutside() -> Int64 {
        guard !backend.hasUndelivered else { return 0 }
        let limit = waitLimit(mayBlock: true)
        return limit != 0 && handle.prepareToSleep() ? limit : 0
    }
}
