// SPDX-License-Identifier: Apache-2.0

/// Many connections at random, for a short time.
///
/// `gyre-conformance --soak` is the long form.
enum Soaking {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "manyConnectionsAtRandomLoseNothing", [84, 86, 87, 109], .transports,
            isProcessWide: true, manyConnectionsAtRandomLoseNothing)
    ]

    static func manyConnectionsAtRandomLoseNothing(_ kit: ConformanceKit) throws {
        let outcome = try Soak.run(kit, connections: 100, duration: .seconds(2), seed: 1)
        let kinds = outcome.connections.filter { $0.value > 1 }.count
        try expect(kinds, equals: SoakPlan.Ending.allCases.count, "kinds of ends in \(outcome)")
        try expect(outcome.received > 100_000, "hardly anything was said: \(outcome)")
    }
}
