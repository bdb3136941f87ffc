// SPDX-License-Identifier: Apache-2.0

extension Loop {
    /// Schedules `body` for the next iteration, behind what is already queued.
    ///
    /// Callbacks run in the order they were given, each once. One that throws is reported to the
    /// exception handler (a ``LoopFatalError`` leaves the run), and the others go on.
    ///
    /// - Returns: A handle with which the callback can be cancelled until it runs.
    /// - Important: On the loop's thread only; from others use
    ///   ``LoopHandle/callSoonThreadSafe(file:line:_:)``.
    @discardableResult
    public func callSoon(
        file: StaticString = #fileID, line: UInt = #line, _ body: @escaping () throws -> Void
    ) -> LoopCallback {
        checkThread("callSoon", instead: "handle.callSoonThreadSafe")
        let site = CallSite(file: file, line: line)
        guard !isClosed else { return LoopCallback(loop: self, position: .max, site: site) }
        return LoopCallback(
            loop: self, position: ready.append(.callback(body), site: site), site: site)
    }

    func enqueue(_ work: consuming ReadyEntry.Work, site: CallSite) {
        guard !isClosed else { return }
        _ = ready.append(work, site: site)
    }

    /// Schedules `body` after `delay`.
    ///
    /// It never runs early; how late depends on what else the loop does. Timers of the same
    /// deadline run in the order they were made. A negative delay is due at once, the more negative
    /// one first; delays beyond 292 years are held there.
    ///
    /// - Returns: A handle with which the timer can be cancelled until it runs.
    @discardableResult
    public func callLater(
        _ delay: Duration, file: StaticString = #fileID, line: UInt = #line,
        _ body: @escaping () throws -> Void
    ) -> LoopTimer {
        callAt(clock.now.advanced(by: delay), file: file, line: line, body)
    }

    /// Schedules `body` after `seconds`, as asyncio counts them.
    ///
    /// - Throws: ``LoopError/Code/invalidArgument`` when `seconds` is not a number.
    @discardableResult
    public func callLater(
        seconds: Double, file: StaticString = #fileID, line: UInt = #line,
        _ body: @escaping () throws -> Void
    ) throws(LoopError) -> LoopTimer {
        guard !seconds.isNaN else {
            throw LoopError(
                .invalidArgument, operation: "callLater", detail: "the delay is not a number")
        }
        let nanoseconds = (seconds * 1e9).rounded(.up)
        let delay = Int64(exactly: nanoseconds) ?? (seconds < 0 ? .min : .max)
        let deadline = clock.nowNanoseconds.addingSaturated(delay)
        return callAt(LoopClock.Instant(nanoseconds: deadline), file: file, line: line, body)
    }

    /// Schedules `body` at `deadline` of the loop's clock, see ``now``.
    ///
    /// - Returns: A handle with which the timer can be cancelled until it runs.
    @discardableResult
    public func callAt(
        _ deadline: LoopClock.Instant, file: StaticString = #fileID, line: UInt = #line,
        _ body: @escaping () throws -> Void
    ) -> LoopTimer {
        checkThread("callAt", instead: "handle.callSoonThreadSafe { $0.callAt(...) }")
        guard !isClosed else {
            return LoopTimer(loop: self, slot: .max, sequence: 0, deadline: deadline)
        }
        let (slot, sequence) = timers.insert(
            deadline: deadline.nanoseconds, site: CallSite(file: file, line: line), body: body)
        return LoopTimer(loop: self, slot: slot, sequence: sequence, deadline: deadline)
    }

    /// The current time of the loop's clock.
    public var now: LoopClock.Instant { clock.now }

    /// The current time in seconds, as asyncio's `time()` gives it.
    public var time: Double { Double(clock.nowNanoseconds) / 1e9 }
}

/// A scheduled callback: the handle that ``Loop/callSoon(file:line:_:)`` returns.
public struct LoopCallback: CustomStringConvertible {
    let loop: Loop
    let position: UInt64
    let site: CallSite

    /// Takes the callback out of the queue and releases what it holds.
    ///
    /// Does nothing once it ran.
    public func cancel() {
        loop.checkThread("cancel", instead: "handle.callSoonThreadSafe")
        _ = loop.ready.cancel(position)
    }

    /// Whether the callback still waits: it neither ran nor was cancelled.
    public var isPending: Bool { loop.ready.contains(position) }

    /// The place where it was scheduled.
    public var description: String { "callback scheduled at \(site)" }
}

/// A scheduled timer: the handle that `callLater` and `callAt` return.
public struct LoopTimer: CustomStringConvertible {
    let loop: Loop
    let slot: UInt32
    let sequence: UInt64
    let deadline: LoopClock.Instant

    /// Takes the timer out and releases what it holds, at once.
    ///
    /// Does nothing once it fired.
    public func cancel() {
        loop.checkThread("cancel", instead: "handle.callSoonThreadSafe")
        _ = loop.timers.cancel(slot: slot, sequence: sequence)
    }

    /// The deadline that was asked for, also after the timer fired or was cancelled.
    public func when() -> LoopClock.Instant { deadline }

    /// Whether the timer still waits: it neither fired nor was cancelled.
    public var isPending: Bool { loop.timers.contains(slot: slot, sequence: sequence) }

    /// The deadline, for messages.
    public var description: String { "timer at \(deadline.nanoseconds) ns" }
}

@available(*, unavailable)
extension LoopCallback: Sendable {}

@available(*, unavailable)
extension LoopTimer: Sendable {}
