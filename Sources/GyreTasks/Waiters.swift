// SPDX-License-Identifier: Apache-2.0

/// Who waits for a future, in order.
///
/// The first needs no allocation: mostly there is only one.
struct Waiters<Value: Sendable> {
    enum Waiter {
        case callback((LoopFuture<Value>) throws -> Void, LoopDoneCallback<Value>?)
        case continuation(UnsafeContinuation<Void, Never>)
        case observer(any FutureObserver, Int)

        func isRegistration(of callback: LoopDoneCallback<Value>) -> Bool {
            if case .callback(_, let identity?) = self { return identity === callback }
            return false
        }

        func isRegistration(of observer: any FutureObserver) -> Bool {
            if case .observer(let other, _) = self { return other === observer }
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
        remove(where: { $0.isRegistration(of: callback) })
    }

    /// Removes every registration of `observer`.
    mutating func remove(_ observer: any FutureObserver) {
        _ = remove(where: { $0.isRegistration(of: observer) })
    }

    private mutating func remove(where isRemoved: (Waiter) -> Bool) -> Int {
        guard first != nil else { return 0 }
        let all = (first.map { [$0] } ?? []) + rest
        let kept = all.filter { !isRemoved($0) }
        first = kept.first
        rest = Array(kept.dropFirst())
        return all.count - kept.count
    }
}
