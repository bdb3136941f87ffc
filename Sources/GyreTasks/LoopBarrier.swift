// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// A place where tasks wait for each other: they go on together when as many as it takes are there.
///
/// Then it is empty, and the next can gather. A task that is cancelled while it waits leaves, and
/// another has to come in its place.
public final class LoopBarrier: Sendable {
    private final class State {
        let parties: Int
        var isBroken = false
        /// Each is told its number; nil when the barrier broke.
        let line: WaitLine<Int?>

        init(parties: Int, line: WaitLine<Int?>) {
            self.parties = parties
            self.line = line
        }

        func wait() async throws -> Int {
            guard !isBroken else { throw Self.broken }
            guard line.count + 1 < parties else {
                var number = 0
                while line.wakeFirst(number) { number += 1 }
                return number
            }
            guard let number = try await line.wait() else { throw Self.broken }
            return number
        }

        private static var broken: LoopError { LoopError(.barrierBroken, operation: "wait") }
    }

    private let state: LoopBound<State>
    /// How many it takes.
    public let parties: Int

    /// Makes a barrier for `parties` tasks, on the loop that runs or on `loop`.
    ///
    /// Less than one traps.
    public convenience init(
        parties: Int, on loop: Loop = .running, file: StaticString = #fileID, line: UInt = #line
    ) {
        self.init(parties: parties, on: loop.handle, file: file, line: line)
    }

    /// Makes a barrier of the loop that `handle` belongs to.
    ///
    /// - Important: Callable from any thread.
    public init(
        parties: Int, on handle: LoopHandle, file: StaticString = #fileID, line: UInt = #line
    ) {
        if parties < 1 { trap("a barrier cannot be for \(parties) tasks") }
        let line = WaitLine<Int?>("barrier", on: handle, site: CallSite(file: file, line: line))
        self.parties = parties
        state = LoopBound(State(parties: parties, line: line), on: handle)
    }

    /// How many wait.
    public var nWaiting: Int { state.object.line.count }

    /// Whether it was aborted, and not reset since.
    public var isBroken: Bool { state.object.isBroken }

    /// Waits until as many wait as it takes; the last one does not suspend.
    ///
    /// - Returns: The place of the task among those that go on together, from 0 on in the order in
    ///   which they came, so that one of them can be chosen.
    /// - Throws: ``LoopError/Code/barrierBroken`` when it is broken, or is aborted or reset
    ///   meanwhile; `CancellationError` when the task is cancelled;
    ///   ``LoopError/Code/loopMismatch`` on another loop.
    @discardableResult
    public func wait() async throws -> Int {
        guard state.isHere else { return try await state.there("wait", wait) }
        return try await state.object.wait()
    }

    /// Empties the barrier: the waits of those who are there fail, and it is not broken any more.
    ///
    /// - Important: On the loop's thread only.
    public func reset() {
        let state = state.object
        state.isBroken = false
        state.line.wakeAll(nil)
    }

    /// Breaks the barrier: the waits of those who are there and of all who come fail, until
    /// ``reset()``.
    ///
    /// - Important: On the loop's thread only.
    public func abort() {
        let state = state.object
        state.isBroken = true
        state.line.wakeAll(nil)
    }
}
