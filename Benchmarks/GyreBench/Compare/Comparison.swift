// SPDX-License-Identifier: Apache-2.0

/// What a comparison found: all runs, and what they say together.
struct Comparison {
    /// A server that failed in a cell, and how.
    struct Failure {
        let contender: String
        let cell: Cell
        let reason: String
    }

    let contenders: [Contender]
    let missing: [MissingContender]
    let plan: Plan
    let environment: Environment
    var runs: [RunResult] = []
    var failures: [Failure] = []

    /// What the summary of a server in a cell says.
    struct Summary {
        let contender: Contender
        /// Of the case's unit, a second.
        let rate: Sample
        /// Microseconds for one of the unit.
        let cpu: Sample
        /// The rounds pooled: the kernel samples user time, so a single run says little.
        let user: Double
        /// One standard deviation of the sampling.
        let userError: Double
        let median: Sample?
        let p99: Sample?
        let residentBytes: Sample
        let loadShare: Sample
        /// How many of the rounds stayed disturbed.
        let disturbed: Int
        /// To the better raw C server of the same rounds.
        ///
        /// Nil where none ran.
        var cpuRatio: Sample?
        var rateRatio: Sample?
    }

    func runs(of contender: Contender, in cell: Cell) -> [RunResult] {
        runs.filter { $0.contender == contender.name && $0.cell == cell }
    }

    /// The servers that do not have what a cell asks for.
    func absentees(of cell: Cell) -> [Contender] {
        contenders.filter { !$0.workloads.contains(cell.workload) }
    }

    /// The servers that ran in a cell, in their order.
    func summaries(of cell: Cell) -> [Summary] {
        contenders.compactMap { contender in
            guard var summary = summary(of: runs(of: contender, in: cell), contender) else {
                return nil
            }
            summary.cpuRatio = ratio(of: contender, in: cell, \.cpu, isLessBetter: true)
            summary.rateRatio = ratio(of: contender, in: cell, \.rate, isLessBetter: false)
            return summary
        }
    }

    private func summary(of runs: [RunResult], _ contender: Contender) -> Summary? {
        guard let rate = Sample(runs.map(\.rate)),
            let cpu = Sample(runs.map(\.cpu)),
            let resident = Sample(runs.map(\.serverResidentBytes)),
            let loadShare = Sample(runs.map(\.loadShare))
        else { return nil }
        let (user, userError) = Comparison.pooledUser(runs)
        return Summary(
            contender: contender, rate: rate, cpu: cpu, user: user, userError: userError,
            median: Sample(runs.compactMap { $0.latency("p50") }.map { $0 / 1000 }),
            p99: Sample(runs.compactMap { $0.latency("p99") }.map { $0 / 1000 }),
            residentBytes: resident, loadShare: loadShare,
            disturbed: runs.count { $0.disturbance.isTooMuch })
    }

    /// User time for one of the unit over all rounds, and its error: the share of ticks that found
    /// the server in user mode is a binomial sample.
    ///
    /// 250 ticks a second are usual.
    private static func pooledUser(_ runs: [RunResult]) -> (user: Double, error: Double) {
        let units = runs.reduce(0) { $0 + $1.units }
        let user = runs.reduce(0) { $0 + $1.serverUserSeconds }
        let total = runs.reduce(0) { $0 + $1.serverCPUSeconds }
        guard units > 0, total > 0 else { return (0, 0) }
        let share = min(1, max(user / total, 0))
        let deviation = (share * (1 - share) / (total * 250)).squareRoot()
        return (user / units * 1e6, deviation * total / units * 1e6)
    }

    /// Each round's value over that of the better raw C server in the same round.
    ///
    /// Which one is better is decided by the medians: the better of each single round would be a
    /// lucky one.
    private func ratio(
        of contender: Contender, in cell: Cell, _ value: (RunResult) -> Double, isLessBetter: Bool
    ) -> Sample? {
        var best: (median: Double, runs: [RunResult])?
        for raw in contenders where raw.family == .raw {
            let runs = runs(of: raw, in: cell)
            guard let median = Sample(runs.map(value))?.median else { continue }
            if let best, (best.median < median) == isLessBetter { continue }
            best = (median, runs)
        }
        let ratios = runs(of: contender, in: cell).compactMap { run -> Double? in
            guard let other = best?.runs.first(where: { $0.round == run.round }) else { return nil }
            return value(run) / value(other)
        }
        return Sample(ratios)
    }
}

/// Where a comparison ran.
struct Environment {
    let kernel: String
    let processor: String
    let cpuCount: Int
    let cpus: (server: Int, load: Int)
    let congestion: String
    /// Why the congestion control is not fixed for everybody; nil when it is.
    let namespaceFailure: String?

    /// For the heads of tables and pictures.
    var lines: [String] {
        let cores =
            cpus.server == cpus.load
            ? "one CPU for server and load, which disturb each other"
            : "server on CPU \(cpus.server), load on CPU \(cpus.load)"
        let scope = namespaceFailure == nil ? "network namespace" : "socket options"
        return [
            "\(kernel), \(processor), \(cpuCount) CPUs",
            "\(cores); congestion control \(congestion) (by \(scope))",
        ]
    }
}
