// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// Counts objects that are alive, to see when a loop releases what it was given.
final class LiveObjects: Sendable {
    final class Token: Sendable {
        private let owner: LiveObjects

        fileprivate init(owner: LiveObjects) {
            self.owner = owner
            owner.alive.wrappingAdd(1, ordering: .sequentiallyConsistent)
        }

        deinit { owner.alive.wrappingSubtract(1, ordering: .sequentiallyConsistent) }

        /// Keeps the token in the closure that calls this.
        func touch() {}
    }

    private let alive = Atomic(0)

    /// How many tokens are alive.
    var count: Int { alive.load(ordering: .sequentiallyConsistent) }

    /// A closure that holds a new token, and calls `body`.
    func closure(_ body: @escaping () throws -> Void = {}) -> () throws -> Void {
        let token = Token(owner: self)
        return {
            token.touch()
            try body()
        }
    }

    /// As ``closure(_:)``, for another thread.
    func sendableClosure(_ body: @escaping @Sendable () -> Void = {}) -> @Sendable () -> Void {
        let token = Token(owner: self)
        return {
            token.touch()
            body()
        }
    }
}
