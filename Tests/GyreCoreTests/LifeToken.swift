// SPDX-License-Identifier: Apache-2.0

import GyreTesting

/// Counts itself for as long as it lives.
final class LifeToken: Sendable {
    private let live: SharedValue<Int>

    init(_ live: SharedValue<Int>) {
        self.live = live
        live.update { $0 += 1 }
    }

    deinit { live.update { $0 -= 1 } }

    /// Keeps the token in the closure that calls this.
    func touch() {}
}
