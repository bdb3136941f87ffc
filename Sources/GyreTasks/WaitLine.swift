// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// Tasks that wait for their turn, in the order in which they came.
///
/// All locks and queues wait here. Who is woken leaves the line at that moment, and so does who is
/// cancelled before that: whoever stands in it can be woken. A task that is cancelled between being
/// woken and going on has lost its turn, and says so, so that the turn is passed on.
final class WaitLine<Message: Sendable> {
    private let handle: LoopHandle
    /// What is waited for, in the list of tasks.
    fileprivate let name: StaticString
    private let site: CallSite
    private var first: WaitTicket<Message>?
    private var last: WaitTicket<Message>?
    private var placesGiven: UInt64 = 0

    init(_ name: StaticString, on handle: LoopHandle, site: CallSite) {
        self.name = name
        self.handle = handle
        self.site = site
    }

    /// How many wait.
    private(set) var count = 0

    @inline(__always)
    var isEmpty: Bool { first == nil }

    // MARK: Waiting

    /// A place at the end of the line, to come back to when a turn was in vain.
    func takePlace() -> UInt64 {
        placesGiven += 1
        return placesGiven
    }

    /// Waits until ``wakeFirst(_:)`` comes to this place, and returns what it said.
    ///
    /// Throws `CancellationError` when the task is cancelled. When that comes between being woken
    /// and going on, `onLostTurn` is called first.
    func wait(
        at place: UInt64? = nil, onLostTurn: (Message) -> Void = { _ in }
    ) async throws -> Message {
        let ticket = WaitTicket(in: self, at: place ?? takePlace(), isCancellable: true)
        do {
            try await ticket.suspend()
            return try ticket.result()
        } catch {
            if case .value(let message) = ticket.outcome {
                onLostTurn(message)
            } else {
                // The wait may have ended before it began.
                _ = ticket.cancel()
            }
            throw error
        }
    }

    /// Waits as ``wait(at:onLostTurn:)``, and goes on waiting when the task is cancelled.
    ///
    /// - Returns: The cancellation that came meanwhile.
    func waitRegardless() async -> (any Error)? {
        let ticket = WaitTicket(in: self, at: takePlace(), isCancellable: false)
        do {
            try await ticket.suspend()
            return nil
        } catch {
            return error
        }
    }

    // MARK: Waking

    /// Wakes the first, in a later iteration.
    ///
    /// False when nobody waits.
    func wakeFirst(_ message: Message) -> Bool {
        guard let ticket = first else { return false }
        remove(ticket)
        return ticket.complete(.value(message))
    }

    func wakeAll(_ message: Message) {
        while wakeFirst(message) {}
    }

    // MARK: The line

    fileprivate func insert(_ ticket: WaitTicket<Message>) {
        var successor: WaitTicket<Message>?
        // Only who comes back stands before others, and then it is among the first.
        if let last, last.place > ticket.place {
            successor = first
            while let next = successor, next.place < ticket.place { successor = next.next }
        }
        let predecessor = successor == nil ? last : successor?.previous
        ticket.next = successor
        ticket.previous = predecessor
        if let predecessor { predecessor.next = ticket } else { first = ticket }
        if let successor { successor.previous = ticket } else { last = ticket }
        count += 1
    }

    fileprivate func remove(_ ticket: WaitTicket<Message>) {
        let (predecessor, successor) = (ticket.previous, ticket.next)
        if let predecessor { predecessor.next = successor } else { first = successor }
        if let successor { successor.previous = predecessor } else { last = predecessor }
        ticket.previous = nil
        ticket.next = nil
        count -= 1
    }

    fileprivate func makeSite() -> (LoopHandle, CallSite) { (handle, site) }
}

/// What a task in a line waits for.
///
/// Pending for as long as it stands in the line.
private final class WaitTicket<Message: Sendable>: LoopFuture<Message>, @unchecked Sendable {
    // SAFETY: as for LoopFuture: the neighbours are used on the loop's thread only.

    let line: WaitLine<Message>
    let place: UInt64
    let isCancellable: Bool
    var next: WaitTicket?
    unowned var previous: WaitTicket?

    init(in line: WaitLine<Message>, at place: UInt64, isCancellable: Bool) {
        self.line = line
        self.place = place
        self.isCancellable = isCancellable
        let (handle, site) = line.makeSite()
        super.init(on: handle, site: site)
        line.insert(self)
    }

    override func cancel() -> Bool {
        guard isCancellable, super.cancel() else { return false }
        line.remove(self)
        return true
    }

    package override var waitDescription: String { "the \(line.name) made at \(site)" }
}
