// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// A future that stands for something else, which is what cancelling it cancels.
final class DelegatingFuture<Value: Sendable>: LoopFuture<Value>, @unchecked Sendable {
    // SAFETY: as for LoopFuture: what changes is used on the loop's thread only, which is checked.

    /// Carries a cancellation out.
    ///
    /// False when it comes too late. Without one the future itself is cancelled.
    var canceller: ((DelegatingFuture<Value>) -> Bool)?
    private let kind: StaticString

    /// `kind` says in lists of tasks what is waited for.
    init(_ kind: StaticString, on handle: LoopHandle, site: CallSite) {
        self.kind = kind
        super.init(on: handle, site: site)
    }

    @discardableResult
    override func cancel() -> Bool {
        guard !isDone else { return false }
        guard let canceller else { return super.cancel() }
        return canceller(self)
    }

    /// Ends the future, and releases what it stands for.
    ///
    /// False when it was done.
    @discardableResult
    func end(_ outcome: Outcome) -> Bool {
        canceller = nil
        return complete(outcome)
    }

    package override var waitDescription: String { "\(kind) at \(site)" }
}
