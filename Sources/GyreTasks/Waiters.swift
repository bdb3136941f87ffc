// SPDX-License-Identifier: Apache-2.0

/// Who waits for a future, in order.
///
/// The first needs no allocation: mostly there is only one.
struct Waiters {
    enum Waiter {
        case callback(FutureCallback)
        /// A callback that may be removed, by its identity.
        case removable(FutureCallback, AnyObject)
        case continuation(UnsafeContinuation<Void, Never>)
        case observer(any FutureObserver, Int)

        func isRegistration(of identity: AnyObject) -> Bool {
            switch self {
            case .removable(_, let other): other === identity
            case .observer(let other, _): other === identity
            case .callback, .continuation: false
            }
        }
    }

    private var first: Waiter?
    /// Those behind it.
    private var rest: Rest?

    /// Apart, so that a future is small.
    ///
    /// What uses it is not inlined, so that the way of a single one is short.
    private final class Rest {
        /// The ones before `next` are gone.
        var waiters: [Waiter?] = []
        var next = 0
    }

    var isEmpty: Bool { first == nil }
    var count: Int {
        guard first != nil else { return 0 }
        return rest == nil ? 1 : 1 + restCount
    }

    private var restCount: Int {
        @inline(never) get { rest.map { $0.waiters.count - $0.next } ?? 0 }
    }

    mutating func append(_ waiter: consuming Waiter) {
        guard first != nil else {
            first = consume waiter
            return
        }
        appendToRest(waiter)
    }

    @inline(never)
    private mutating func appendToRest(_ waiter: Waiter) {
        let rest = rest ?? Rest()
        rest.waiters.append(waiter)
        self.rest = rest
    }

    mutating func removeFirst() -> Waiter? {
        let oldest = first.take()
        if rest != nil { moveUp() }
        return oldest
    }

    @inline(never)
    private mutating func moveUp() {
        guard let rest else { return }
        if rest.next < rest.waiters.count {
            first = rest.waiters[rest.next].take()
            rest.next += 1
        } else {
            self.rest = nil
        }
    }

    /// The first, if it is a task that waits.
    mutating func removeFirstContinuation() -> UnsafeContinuation<Void, Never>? {
        guard case .continuation(let continuation) = first else { return nil }
        _ = removeFirst()
        return continuation
    }

    /// Whether the first is a task that waits; counts no reference.
    var isFirstContinuation: Bool {
        if case .continuation = first { true } else { false }
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
