// SPDX-License-Identifier: Apache-2.0

public import GyreCore

extension Loop {
    /// The signals that the process receives from now on, as a sequence of their numbers.
    ///
    /// ```swift
    /// for try await signal in try loop.signals(SIGHUP, SIGUSR1) {
    ///     signal == SIGHUP ? reload() : report()
    /// }
    /// ```
    ///
    /// A signal that comes while nobody waits for it is kept; several of the same number that come
    /// meanwhile are one. When the sequence and its iterators are released, the signals have their
    /// default disposition again, unless they got another handler.
    ///
    /// - Throws: ``LoopError/Code/inUse`` when one of them has a handler already; otherwise as
    ///   ``Loop/addSignalHandler(_:file:line:_:)``.
    public func signals(
        _ signals: CInt..., file: StaticString = #fileID, line: UInt = #line
    ) throws(LoopError) -> LoopSignals {
        try LoopSignals(signals, on: self, file, line)
    }
}

/// The signals that a process receives: what `signals` of a loop returns.
///
/// Several tasks may iterate: each signal goes to one of them.
public struct LoopSignals: AsyncSequence, Sendable {
    fileprivate let subscription: SignalSubscription

    fileprivate init(
        _ signals: [CInt], on loop: Loop, _ file: StaticString, _ line: UInt
    ) throws(LoopError) {
        let received = ReceivedSignals(on: loop.handle, file, line)
        let site = CallSite(file: file, line: line)
        var claims: [SignalClaim] = []
        do throws(LoopError) {
            for signal in signals {
                claims.append(
                    try loop.holdSignal(signal, site: site) { try received.note(signal) })
            }
        } catch {
            for claim in claims { loop.release(claim) }
            throw error
        }
        subscription = SignalSubscription(received, claims, on: loop.handle)
    }

    /// Waits for signals, without end.
    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let subscription: SignalSubscription

        /// The number of the next signal.
        ///
        /// - Throws: `CancellationError` when the task is cancelled, and no signal is lost.
        public mutating func next() async throws -> CInt? {
            try await subscription.next()
        }

        /// As ``next()``, on the actor of the caller.
        public mutating func next(isolation: isolated (any Actor)?) async throws -> CInt? {
            try await subscription.next()
        }
    }

    /// Begins to wait for signals.
    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(subscription: subscription)
    }
}

/// Holds the handlers for as long as somebody holds it.
private final class SignalSubscription: Sendable {
    private let received: ReceivedSignals
    private let claims: [SignalClaim]
    private let handle: LoopHandle

    init(_ received: ReceivedSignals, _ claims: [SignalClaim], on handle: LoopHandle) {
        self.received = received
        self.claims = claims
        self.handle = handle
    }

    deinit {
        if handle.isOnLoop {
            for claim in claims { Loop.running.release(claim) }
        } else {
            // A closed loop has given its signals back.
            try? handle.callSoonThreadSafe { [claims] loop in
                for claim in claims { loop.release(claim) }
            }
        }
    }

    func next() async throws -> CInt { try await received.next() }
}

/// The signals that came and that nobody took: each number once.
private final class ReceivedSignals: Sendable {
    private final class Numbers {
        var isWaiting: Set<CInt> = []
    }

    private let queue: LoopQueue<CInt>
    private let numbers: LoopBound<Numbers>

    init(on handle: LoopHandle, _ file: StaticString, _ line: UInt) {
        queue = LoopQueue(on: handle, file: file, line: line)
        numbers = LoopBound(Numbers(), on: handle)
    }

    func note(_ signal: CInt) throws {
        guard numbers.object.isWaiting.insert(signal).inserted else { return }
        try queue.putNoWait(signal)
    }

    func next() async throws -> CInt {
        // One step on the loop: a signal that comes right behind this one is another.
        guard numbers.isHere else {
            return try await numbers.there("signals") { [self] in try await next() }
        }
        let signal = try await queue.get()
        numbers.object.isWaiting.remove(signal)
        return signal
    }
}
