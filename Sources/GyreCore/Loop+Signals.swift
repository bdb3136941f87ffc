// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

/// The signals a loop handles: a handler in C marks the signal and writes to an eventfd, which the
/// loop watches like any descriptor.
///
/// So a signal wakes a blocked loop on every policy, and its callback is an ordinary callback.
final class SignalWatcher: OperationTarget {
    private unowned let loop: Loop
    private let event: EventDescriptor
    private typealias Handler = (body: () throws -> Void, site: CallSite, serial: Int)
    private var handlers: [CInt: Handler] = [:]
    /// How many handlers were ever added: the name of the next one.
    private var added = 0

    init(loop: Loop) throws(LoopError) {
        self.loop = loop
        event = try EventDescriptor()
        _ = loop.submitPoll(.read, on: event.fd, target: self)
    }

    func add(
        _ signal: CInt, site: CallSite, body: @escaping () throws -> Void
    ) throws(LoopError) {
        let error = gyre_signal_watch(signal, event.fd)
        guard error == 0 else {
            throw Self.error(signal, errno: -error)
        }
        // The earlier handler is released when this returns: what it held may call the loop.
        added += 1
        withExtendedLifetime(handlers.updateValue((body, site, added), forKey: signal)) {}
    }

    /// The name of the handler of `signal`, which a later one does not share.
    func serial(of signal: CInt) -> Int? { handlers[signal]?.serial }

    private static func error(_ signal: CInt, errno number: CInt) -> LoopError {
        switch number {
        case EBUSY:
            LoopError(
                errno: number, operation: "addSignalHandler",
                detail: "another loop handles signal \(signal)")
        case EINVAL:
            LoopError(
                .uncatchableSignal, operation: "addSignalHandler", errno: number,
                detail: "the C library keeps signal \(signal) for itself")
        default: LoopError(errno: number, operation: "addSignalHandler")
        }
    }

    func remove(_ signal: CInt) -> Bool {
        guard handlers.removeValue(forKey: signal) != nil else { return false }
        gyre_signal_unwatch(signal, false)
        return true
    }

    /// Without `restores` the dispositions stay: after a fork, another loop of the child may have
    /// set them.
    func removeAll(restores: Bool) {
        if restores { for signal in handlers.keys { gyre_signal_unwatch(signal, true) } }
        var dropped: [CInt: Handler] = [:]
        swap(&handlers, &dropped)
    }

    func operationCompleted(_ completion: Completion) {
        guard completion.result >= 0 else { return }
        var count: eventfd_t = 0
        eventfd_read(event.fd, &count)
        // In the order of their numbers, as the kernel itself delivers them.
        for signal in handlers.keys.sorted() where gyre_signal_take(signal) {
            guard let handler = handlers[signal] else { continue }
            // Whose handler it is by then: who removed one must not be called any more.
            let call = { [weak self] in if let self { try handlers[signal]?.body() } }
            loop.enqueue(.callback(call), site: handler.site)
        }
    }
}

extension Loop {
    /// Calls `body` on the loop's thread when the process receives `signal`.
    ///
    /// It runs as an ordinary callback, once for one or more signals that arrived together. A
    /// second call for the same signal replaces the handler. A signal is handled by one loop at a
    /// time.
    ///
    /// - Throws: ``LoopError/Code/invalidSignal`` for a number that is no signal,
    ///   ``LoopError/Code/uncatchableSignal`` for one that no program may catch,
    ///   ``LoopError/Code/inUse`` when another loop handles it.
    public func addSignalHandler(
        _ signal: CInt, file: StaticString = #fileID, line: UInt = #line,
        _ body: @escaping () throws -> Void
    ) throws(LoopError) {
        try handleSignal(signal, site: CallSite(file: file, line: line), body)
    }

    private func handleSignal(
        _ signal: CInt, site: CallSite, _ body: @escaping () throws -> Void
    ) throws(LoopError) {
        checkThread("addSignalHandler", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { throw LoopError(.closed, operation: "addSignalHandler") }
        try checkCatchable(signal, "addSignalHandler")
        let watcher: SignalWatcher
        if let signals {
            watcher = signals
        } else {
            watcher = try SignalWatcher(loop: self)
            signals = watcher
        }
        try watcher.add(signal, site: site, body: body)
    }

    /// Removes the handler of `signal` and gives the signal its default disposition.
    ///
    /// - Returns: Whether there was a handler.
    /// - Throws: As ``addSignalHandler(_:file:line:_:)`` for numbers that cannot be handled.
    @discardableResult
    public func removeSignalHandler(_ signal: CInt) throws(LoopError) -> Bool {
        checkThread("removeSignalHandler", instead: "handle.callSoonThreadSafe")
        try checkCatchable(signal, "removeSignalHandler")
        return signals?.remove(signal) ?? false
    }

    /// Handles `signal`, which can be caught, unless somebody does already: this loop or another,
    /// the program itself, or who started it, by ignoring it.
    package func claimSignal(
        _ signal: CInt, site: CallSite, _ body: @escaping () throws -> Void
    ) -> SignalClaim? {
        var action = sigaction()
        guard sigaction(signal, nil, &action) == 0, action.__sigaction_handler.sa_handler == nil
        else { return nil }
        do {
            try handleSignal(signal, site: site, body)
        } catch {
            return nil
        }
        return signals?.serial(of: signal).map { SignalClaim(signal: signal, serial: $0) }
    }

    /// Handles `signal` with `body` until the claim is released.
    ///
    /// - Throws: ``LoopError/Code/inUse`` when it is handled already, here or elsewhere; otherwise
    ///   as ``addSignalHandler(_:file:line:_:)``.
    package func holdSignal(
        _ signal: CInt, site: CallSite, _ body: @escaping () throws -> Void
    ) throws(LoopError) -> SignalClaim {
        guard signals?.serial(of: signal) == nil else {
            throw LoopError(
                .inUse, operation: "signals", detail: "signal \(signal) has a handler")
        }
        try handleSignal(signal, site: site, body)
        return SignalClaim(signal: signal, serial: signals?.serial(of: signal) ?? 0)
    }

    /// Gives a claimed signal its default disposition back, unless it has another handler by now.
    package func release(_ claim: SignalClaim) {
        guard signals?.serial(of: claim.signal) == claim.serial else { return }
        _ = signals?.remove(claim.signal)
    }

    private func checkCatchable(_ signal: CInt, _ operation: String) throws(LoopError) {
        guard signal > 0, signal < gyre_signal_count() else {
            throw LoopError(
                .invalidSignal, operation: operation,
                detail: "\(signal) is not between 1 and \(gyre_signal_count() - 1)")
        }
        guard signal != SIGKILL, signal != SIGSTOP else {
            throw LoopError(
                .uncatchableSignal, operation: operation,
                detail: "\(signal == SIGKILL ? "SIGKILL" : "SIGSTOP") cannot be caught")
        }
    }
}

/// A signal that a part of the library handles for as long as nobody else wants it.
package struct SignalClaim: Sendable {
    fileprivate let signal: CInt
    fileprivate let serial: Int
}
