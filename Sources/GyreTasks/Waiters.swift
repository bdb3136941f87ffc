// SPDX-License-Identifier: Apache-2.0

/// Who waits for a future, in order.
///
/// The first needs no allocation: mostly there is only one.
struct Waiters<Value: Sendable> {
    enum Waiter {
        case callback((LoopFuture<Value>) throws -> Void, LoopDoneCallback<Value>?)
        case continuation(UnsafeContinuation<Void, Never>)

        func isRegistration(of callback: LoopDoneCallback<Value>) -> Bool {
            if case .callback(_, let identity?) = self { return identity === callback }
            return false
        }
    }

    private var first: Waiter?
    private var rest: [Waiter] = []

    var isEmpty: Bool { first == nil }
    var count: Int { first == nil ? 0 : 1 + rest.count }

    mutating func append(_ waiter: Waiter) {
        if first == nil {
            first = waiter
        } else {
            rest.append(waiter)
        }
    }

    mutating func removeFirst() -> Waiter? {
        let oldest = first.take()
        if !rest.isEmpty { first = rest.removeFirst() }
        return oldest
    }

    /// The first, if it is a task that waits.
    mutating func removeFirstContinuation() -> UnsafeContinuation<Void, Never>? {
        guard case .continuation(let continuation) = first else { return nil }
        _ = removeFirst()
        return continuation
    }

    /// Removes every registration of `callback` and returns how many there were.
    mutating func remove(_ callback: LoopDoneCallback<Value>) -> Int {
        let all = (first.map { [$0] } ?? []) + rest
        let kept = all.filter { !$0.isRegistration(of: callback) }
        first = kept.first
        rest = Array(kept.dropFirst())
        return all.count - kept.count
    }
}
