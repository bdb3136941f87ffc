// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// A flag that tasks wait for.
///
/// ``set()`` wakes every task that waits, and those that come later do not wait until ``clear()``.
/// Waiting is for any task; setting and clearing for the loop's thread.
public final class LoopEvent: Sendable {
    private final class State {
        var isSet = false
        let line: WaitLine<Void>

        init(line: WaitLine<Void>) { self.line = line }
    }

    private let state: LoopBound<State>

    /// Makes an event that is not set, on the loop that runs or on `loop`.
    public convenience init(
        on loop: Loop = .running, file: StaticString = #fileID, line: UInt = #line
    ) {
        self.init(on: loop.handle, file: file, line: line)
    }

    /// Makes an event of the loop that `handle` belongs to.
    ///
    /// - Important: Callable from any thread.
    public init(on handle: LoopHandle, file: StaticString = #fileID, line: UInt = #line) {
        let line = WaitLine<Void>("event", on: handle, site: CallSite(file: file, line: line))
        state = LoopBound(State(line: line), on: handle)
    }

    /// Whether it is set.
    public var isSet: Bool { state.object.isSet }

    /// Sets the event, which wakes all that wait in a later iteration, in the order in which they
    /// came.
    ///
    /// They go on even if the event is cleared before they do.
    public func set() {
        let state = state.object
        guard !state.isSet else { return }
        state.isSet = true
        state.line.wakeAll(())
    }

    /// Sets the event from any thread: at once on the loop's, soon from another.
    ///
    /// - Important: Callable from any thread.
    public func setThreadSafe() {
        state.soon { [self] _ in set() }
    }

    /// Takes back that the event is set.
    public func clear() { state.object.isSet = false }

    /// Waits until the event is set; returns at once when it is.
    ///
    /// - Throws: `CancellationError` when the task is cancelled;
    ///   ``LoopError/Code/loopMismatch`` on another loop.
    public func wait() async throws {
        guard state.isHere else { return try await state.there("wait", wait) }
        let state = state.object
        if !state.isSet { try await state.line.wait() }
    }
}
