// SPDX-License-Identifier: Apache-2.0

/// Who waits for a future, in order.
///
/// The first needs no allocation: mostly there is only one.
struct Waiters {
    enum Waiter {
        /// With an identity, where it may be removed.
        case callback((LoopFutureBase) throws -> Void, AnyObject?)
        case continuation(UnsafeContinuation<Void, Never>)
        case observer(any FutureObserver, Int)

        func isRegistration(of identity: AnyObject) -> Bool {
            switch self {
            case .callback(_, let other): other === identity
            case .observer(let other, _): other === identity
            case .continuation: false
            }
        }
    }

    private var first: Waiter?
    /// Those behind it; the ones before `next` are gone.
    private var rest: [Waiter?] = []
    private var next = 0

    var isEmpty: Bool { first == nil }
    var count: Int { first == nil ? 0 : 1 + rest.count - next }

    mutating func append(_ waiter: Waiter) {
        if first == nil {
            first = waiter
        } else {
            rest.append(waiter)
        }
    }

    mutating func removeFirst() -> Waiter? {
        let oldest = first.take()
        if next < rest.count {
            first = rest[next].take()
            next += 1
        } else if next > 0 {
            rest = []
            next = 0
        }
        return oldest
    }

    /// The first, if it is a task that waits.
    mutating func removeFirstContinuation() -> UnsafeContinuation<Void, Never>? {
        guard case .continuation(let continuation) = first else { return nil }
        _ = removeFirst()
        return continuation
    }

    /// Removes every registration of `identity`, the observer itself where it is one.
    ///
    /// Hands them back, so that the caller releases what they hold when this is consistent again.
    mutating func remove(_ identity: AnyObject) -> [Waiter] {
        guard first != nil else { return [] }
        let all = (first.map { [$0] } ?? []) + rest[next...].compactMap { $0 }
        let kept = all.filter { !$0.isRegistration(of: identity) }
        first = kept.first
        rest = Array(kept.dropFirst())
        next = 0
        return all.filter { $0.isRegistration(of: identity) }
    }
}
