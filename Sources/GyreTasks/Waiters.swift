// SPDX-License-Identifier: Apache-2.0

/// Who waits for a future, in order.
///
/// The first needs no allocation: mostly there is only one.
struct Waiters {
    enum Waiter {
        /// With an identity, where it may be removed.
        case callback(FutureCallback, AnyObject?)
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
    /// Those behind it.
    private var rest: Rest?

    /// Apart, so that a future is small.
    private final class Rest {
        /// The ones before `next` are gone.
        var waiters: [Waiter?] = []
        var next = 0
    }

    var isEmpty: Bool { first == nil }
    var count: Int {
        guard first != nil else { return 0 }
        return rest.map { 1 + $0.waiters.count - $0.next } ?? 1
    }

    mutating func append(_ waiter: Waiter) {
        guard first != nil else {
            first = waiter
            return
        }
        let rest = rest ?? Rest()
        rest.waiters.append(waiter)
        self.rest = rest
    }

    mutating func removeFirst() -> Waiter? {
        let oldest = first.take()
        guard let rest else { return oldest }
        if rest.next < rest.waiters.count {
            first = rest.waiters[rest.next].take()
            rest.next += 1
        } else {
            self.rest = nil
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
        guard let first else { return [] }
        let all = [first] + (rest.map { $0.waiters[$0.next...].compactMap { $0 } } ?? [])
        self.first = nil
        rest = nil
        for waiter in all where !waiter.isRegistration(of: identity) { append(waiter) }
        return all.filter { $0.isRegistration(of: identity) }
    }
}
