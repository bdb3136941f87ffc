// SPDX-License-Identifier: Apache-2.0

/// Cancellation at random points.
///
/// The short form, for every run of the suite; `gyre-conformance --fuzz` is the long one.
enum RandomCancellation {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "randomCancellationLosesNothing", [75, 77, 79, 80], .tasks,
            randomCancellationLosesNothing),
        Behaviour(
            "randomCancellationLosesNoByte", [], .streams, isProcessWide: true,
            randomCancellationLosesNoByte),
        Behaviour("aRandomRoundCanBeReplayed", [], .tasks, aRandomRoundCanBeReplayed),
    ]

    static func randomCancellationLosesNothing(_ kit: ConformanceKit) throws {
        let outcome = try CancellationFuzz.run(kit, seed: 1, operations: 20_000)
        try expect(outcome.cancellations > 500, "most of it was not cancelled: \(outcome)")
    }

    static func randomCancellationLosesNoByte(_ kit: ConformanceKit) throws {
        let counts = try FuzzConnections.run(
            kit, seed: 1, clientCount: 8, byteCount: 200_000)
        try expect(counts.cancellations > 20, "hardly anything was cancelled: \(counts)")
    }

    static func aRandomRoundCanBeReplayed(_ kit: ConformanceKit) throws {
        let first = try CancellationFuzz.replay(kit, 2)
        try expect(try CancellationFuzz.replay(kit, 2), equals: first)
        try expect(try CancellationFuzz.replay(kit, 3) != first, "the seed makes a difference")
    }
}
