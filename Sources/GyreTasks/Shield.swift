// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// A future that ends as `future` does, and can be cancelled without cancelling it.
///
/// A task that waits for it and is cancelled leaves `future` running. Cancelling `future` itself
/// cancels the shield, too. Keep `future`, to see how it ends when the shield is cancelled: an
/// error that nobody looks at then is reported.
///
/// - Important: On the loop's thread only.
public func shield<Value: Sendable>(
    _ future: LoopFuture<Value>, file: StaticString = #fileID, line: UInt = #line
) -> LoopFuture<Value> {
    guard !future.isDone else { return future }
    let outer = DelegatingFuture<Value>(
        "shield", on: future.handle, site: CallSite(file: file, line: line))
    let shielding = Shielding(outer, future)
    outer.canceller = { outer in
        future.removeObserver(shielding)
        return outer.end(.cancelled)
    }
    future.addObserver(shielding, index: 0)
    return outer
}

private final class Shielding<Value: Sendable>: FutureObserver {
    private let outer: DelegatingFuture<Value>
    private let inner: LoopFuture<Value>

    init(_ outer: DelegatingFuture<Value>, _ inner: LoopFuture<Value>) {
        self.outer = outer
        self.inner = inner
    }

    func futureIsDone(_ index: Int) {
        if outer.end(inner.outcome) { inner.markErrorAsSeen() }
    }
}
