// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// A ``LoopTask``, whatever it returns.
public protocol AnyLoopTask: AnyLoopFuture, CustomStringConvertible {
    /// The name that the task was given, or `Task-1` and so on.
    var name: String { get }
    /// Tasks are numbered as they are made, from 1 on.
    var number: UInt64 { get }
    /// The number of the task whose code made this one; 0 when it was none.
    var parentNumber: UInt64 { get }
    /// How many times it was cancelled, less the calls of ``uncancel()``.
    var cancelling: Int { get }
    /// What the last cancellation that gave a reason gave.
    var cancellationReason: String? { get }
    /// What the task waits for; nil when it does not wait for anything of a loop.
    var waitsFor: String? { get }
    /// Cancels the task, see ``LoopTask/cancel(_:)``.
    @discardableResult func cancel(_ reason: String?) -> Bool
    /// Takes one cancellation back, see ``LoopTask/uncancel()``.
    @discardableResult func uncancel() -> Int
}
