// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// Cancels tasks at random points, and checks that nothing hangs and nothing is lost.
///
/// A run is made of rounds. In each, tasks take locks, wait for events, put items into queues and
/// so on, cancel each other and are cancelled; a model beside them knows who may hold what, and
/// which item comes next. Everything depends on the seed alone, time too, so a round that failed
/// can be had again.
public enum CancellationFuzz {
    /// What a run did.
    public struct Outcome: Sendable, Equatable, CustomStringConvertible {
        /// Rounds, each on a loop of its own.
        public var rounds = 0
        /// Operations that tasks began.
        public var operations = 0
        /// Operations that ended with a cancellation.
        public var cancellations = 0
        /// Depends on all that happened, in its order.
        public var digest: UInt64 = 0

        /// The counts.
        public var description: String {
            "\(operations) operations in \(rounds) rounds, \(cancellations) ended by cancellation, "
                + "digest \(String(digest, radix: 16))"
        }
    }

    /// Runs rounds until at least `operations` were begun.
    ///
    /// - Throws: A ``ConformanceFailure`` with the seed of the round that failed, for
    ///   ``replay(_:_:)``.
    public static func run(
        _ kit: ConformanceKit, seed: UInt64, operations: Int
    ) throws -> Outcome {
        var seeds = SeededRandom(seed: seed)
        var total = Outcome()
        while total.operations < operations {
            let round = try replay(kit, seeds.next())
            total.rounds += 1
            total.operations += round.operations
            total.cancellations += round.cancellations
            total.digest = total.digest &* 31 &+ round.digest
        }
        return total
    }

    /// Runs the one round that `seed` gives.
    public static func replay(_ kit: ConformanceKit, _ seed: UInt64) throws -> Outcome {
        let loop = try kit.makeLoop(clock: ManualClock().loopClock)
        let round = FuzzRound(seed: seed, on: loop)
        do {
            try kit.watched(loop, "the fuzz round \(seed)") { try round.run(on: loop) }
        } catch {
            let done = round.update { $0.operations }
            throw ConformanceFailure(
                "after \(done) operations: \(error); to have it again: "
                    + "gyre-conformance --policy \(kit.policy) --replay \(seed)")
        }
        return round.update {
            Outcome(
                rounds: 1, operations: $0.operations, cancellations: $0.cancellations,
                digest: $0.digest)
        }
    }
}
