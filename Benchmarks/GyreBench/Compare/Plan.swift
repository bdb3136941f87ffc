// SPDX-License-Identifier: Apache-2.0

/// How long a comparison measures, and in which order.
struct Plan: Equatable {
    /// One run: a fresh server under one load.
    struct Step: Equatable {
        let round: Int
        let cell: Cell
        /// The place of the server in the list of contenders.
        let contender: Int
    }

    /// What a run costs beside its warm-up and its timed phase: starting a server and the load
    /// generator, connecting, ending both.
    static let overheadSeconds = 0.15

    let rounds: Int
    /// The timed phase of one run.
    let seconds: Double
    let warmupSeconds: Double
    let cells: [Cell]
    let contenders: Int

    /// Five rounds of three seconds: enough for user time, which the kernel only samples.
    static func full(cells: [Cell], contenders: Int) -> Plan {
        Plan(rounds: 5, seconds: 3, warmupSeconds: 0.4, cells: cells, contenders: contenders)
    }

    /// Three rounds in `budget` seconds, whatever there is to compare.
    ///
    /// Phases are neither too short to say something nor longer than in a full comparison.
    static func quick(cells: [Cell], contenders: Int, budget: Double = 115) -> Plan {
        let rounds = 3
        let runs = Double(max(1, rounds * cells.count * contenders))
        let warmup = 0.1
        let seconds = min(3, max(0.25, budget / runs - overheadSeconds - warmup))
        return Plan(
            rounds: rounds, seconds: seconds, warmupSeconds: warmup, cells: cells,
            contenders: contenders)
    }

    /// With other numbers where the user named some.
    func with(rounds: Int?, seconds: Double?) -> Plan {
        Plan(
            rounds: rounds ?? self.rounds, seconds: seconds ?? self.seconds,
            warmupSeconds: warmupSeconds, cells: cells, contenders: contenders)
    }

    var runCount: Int { rounds * cells.count * contenders }

    var estimatedSeconds: Double {
        Double(runCount) * (seconds + warmupSeconds + Plan.overheadSeconds)
    }

    /// A disturbed run is repeated, but only so often in all: on a machine that is never quiet the
    /// comparison must end too.
    var repetitionsMax: Int { max(4, runCount / 5) }

    /// How long the comparison may wait in all for others to become quiet.
    var waitMaxSeconds: Double { max(5, estimatedSeconds / 10) }

    /// All runs.
    ///
    /// A round has every server in every cell. The servers of a cell run one after the other, so
    /// that what drifts slowly meets all of them; each time another one is the first.
    var steps: [Step] {
        var steps: [Step] = []
        for round in 0..<rounds {
            for (index, cell) in cells.enumerated() {
                for place in 0..<contenders {
                    let contender = (place + round + index) % contenders
                    steps.append(Step(round: round, cell: cell, contender: contender))
                }
            }
        }
        return steps
    }
}
