// SPDX-License-Identifier: Apache-2.0

extension Loop {
    /// Schedules `body` for the next iteration, behind what is already queued.
    ///
    /// Callbacks run in the order they were given, each once. One that throws is reported to the
    /// exception handler (a ``LoopFatalError`` leaves the run), and the others go on.
    ///
    /// A callback that a task schedules, here or as a timer, sees the task-locals of that place.
    ///
    /// - Returns: A handle with which the callback can be cancelled until it runs.
    /// - Important: On the loop's thread only; from others use
    ///   ``LoopHandle/callSoonThreadSafe(file:line:_:)``.
    @discardableResult
    @inlinable
    public func callSoon(
        file: StaticString = #fileID, line: UInt = #line,
        _ body: consuming @escaping () throws -> Void
    ) -> LoopCallback {
        // Inlined, so that a handle that nobody keeps is never made: its reference to the loop
        // would cost as much as the rest.
        let site = CallSite(file: file, line: line)
        return LoopCallback(loop: self, position: schedule(body, site: site), site: site)
    }

    @usableFromInline
    func schedule(_ body: consuming @escaping () throws -> Void, site: CallSite) -> UInt64 {
        checkThread("callSoon", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { return .max }
        guard !state.pointee.isInStep else {
            return ready.append(.callback(carrying(body)), site: site)
        }
        return ready.append(.callback(body), site: site)
    }

    @inline(__always)
    func enqueue(_ work: consuming ReadyWork, site: CallSite) {
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
    @inlinable
    public func callLater(
        _ delay: Duration, file: StaticString = #fileID, line: UInt = #line,
        _ body: consuming @escaping () throws -> Void
    ) -> LoopTimer {
        schedule(after: delay, body, site: CallSite(file: file, line: line)).handle(on: self)
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
    @inlinable
    public func callAt(
        _ deadline: LoopClock.Instant, file: StaticString = #fileID, line: UInt = #line,
        _ body: consuming @escaping () throws -> Void
    ) -> LoopTimer {
        schedule(at: deadline.nanoseconds, body, site: CallSite(file: file, line: line))
            .handle(on: self)
    }

    @usableFromInline
    func schedule(
        after delay: Duration, _ body: consuming @escaping () throws -> Void, site: CallSite
    ) -> TimerName {
        let deadline = clock.nowNanoseconds.addingSaturated(delay.nanosecondsRoundedUp)
        return schedule(at: deadline, consume body, site: site)
    }

    @usableFromInline
    func schedule(
        at deadline: Int64, _ body: consuming @escaping () throws -> Void, site: CallSite
    ) -> TimerName {
        checkThread("callAt", instead: "handle.callSoonThreadSafe { $0.callAt(...) }")
        guard !isClosed else { return TimerName(slot: .max, sequence: 0, deadline: deadline) }
        guard !state.pointee.isInStep else {
            return timers.insert(deadline: deadline, site: site, body: carrying(body))
        }
        return timers.insert(deadline: deadline, site: site, body: consume body)
    }

    /// The current time of the loop's clock.
    public var now: LoopClock.Instant { clock.now }

    /// The current time in seconds, as asyncio's `time()` gives it.
    public var time: Double { Double(clock.nowNanoseconds) / 1e9 }
}

/// A scheduled callback: the handle that ``Loop/callSoon(file:line:_:)`` returns.
public struct LoopCallback: CustomStringConvertible {
    @usableFromInline let loop: Loop
    @usableFromInline let position: UInt64
    @usableFromInline let site: CallSite

    @inlinable
    init(loop: Loop, position: UInt64, site: CallSite) {
        self.loop = loop
        self.position = position
        self.site = site
    }

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
    @usableFromInline let loop: Loop
    @usableFromInline let name: TimerName

    @inlinable
    init(loop: Loop, name: TimerName) {
        self.loop = loop
        self.name = name
    }

    /// Takes the timer out and releases what it holds, at once.
    ///
    /// Does nothing once it fired.
    public func cancel() {
        loop.checkThread("cancel", instead: "handle.callSoonThreadSafe")
        _ = loop.timers.cancel(name)
    }

    /// The deadline that was asked for, also after the timer fired or was cancelled.
    public func when() -> LoopClock.Instant {
        LoopClock.Instant(nanoseconds: name.deadline)
    }

    /// Whether the timer still waits: it neither fired nor was cancelled.
    public var isPending: Bool { loop.timers.contains(name) }

    /// The deadline, for messages.
    public var description: String { "timer at \(name.deadline) ns" }
}

@available(*, unavailable)
extension LoopCallback: Sendable {}

@available(*, unavailable)
extension LoopTimer: Sendable {}
