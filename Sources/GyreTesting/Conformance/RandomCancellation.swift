// SPDX-License-Identifier: Apache-2.0

/// Cancellation at random points.
///
/// The short form, for every run of the suite; `gyre-conformance --fuzz` is the long one, with
/// `--traffic` for what goes through the kernel.
enum RandomCancellation {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "randomCancellationLosesNothing", [75, 77, 79, 80], .tasks,
            randomCancellationLosesNothing),
        Behaviour(
            "randomCancellationLosesNoByte", [], .streams, isProcessWide: true,
            randomCancellationLosesNoByte),
        Behaviour(
            "randomCancellationLosesNoByteOfStreams", [], .streams, isProcessWide: true,
            randomCancellationLosesNoByteOfStreams),
        Behaviour(
            "randomCancellationLosesNoDatagram", [], .datagrams, isProcessWide: true,
            randomCancellationLosesNoDatagram),
        Behaviour(
            "randomCancellationLosesNoProcess", [], .processes, isProcessWide: true,
            randomCancellationLosesNoProcess),
        Behaviour("aRandomRoundCanBeReplayed", [], .tasks, aRandomRoundCanBeReplayed),
    ]

    static func randomCancellationLosesNothing(_ kit: ConformanceKit) throws {
        let outcome = try CancellationFuzz.run(kit, seed: 1, operations: 20_000)
        try expect(outcome.cancellations > 500, "most of it was not cancelled: \(outcome)")
    }

    private static func run(
        _ traffic: FuzzTraffic, _ kit: ConformanceKit, clientCount: Int, byteCount: Int,
        cancelling leastCount: Int
    ) throws {
        let counts = try traffic.run(
            kit, seed: 1, clientCount: clientCount, byteCount: byteCount)
        try expect(counts.cancellations >= leastCount, "hardly anything was cancelled: \(counts)")
    }

    static func randomCancellationLosesNoByte(_ kit: ConformanceKit) throws {
        try run(.connections, kit, clientCount: 8, byteCount: 200_000, cancelling: 20)
    }

    static func randomCancellationLosesNoByteOfStreams(_ kit: ConformanceKit) throws {
        try run(.streams, kit, clientCount: 16, byteCount: 100_000, cancelling: 10)
    }

    static func randomCancellationLosesNoDatagram(_ kit: ConformanceKit) throws {
        try run(.datagrams, kit, clientCount: 8, byteCount: 200_000, cancelling: 20)
    }

    static func randomCancellationLosesNoProcess(_ kit: ConformanceKit) throws {
        try run(.processes, kit, clientCount: 8, byteCount: 100_000, cancelling: 4)
    }

    static func aRandomRoundCanBeReplayed(_ kit: ConformanceKit) throws {
        let first = try CancellationFuzz.replay(kit, 2)
        try expect(try CancellationFuzz.replay(kit, 2), equals: first)
        try expect(try CancellationFuzz.replay(kit, 3) != first, "the seed makes a difference")
    }
}
