// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Goes through the plan, repeats what was disturbed, and keeps what came out.
struct Rounds {
    private(set) var comparison: Comparison
    private var runner: Runner
    private var progress: Progress
    private var repetitionsLeft: Int
    private var waitLeft: Double
    /// A run is tried so often in a row; what disturbs longer will not be waited out.
    private static let triesMax = 3

    init(comparison: Comparison, runner: Runner) {
        self.comparison = comparison
        self.runner = runner
        progress = Progress(plan: comparison.plan)
        repetitionsLeft = comparison.plan.repetitionsMax
        waitLeft = comparison.plan.waitMaxSeconds
    }

    mutating func runAll() {
        for step in comparison.plan.steps {
            let contender = comparison.contenders[step.contender]
            let hasFailed = comparison.failures.contains {
                $0.contender == contender.name && $0.cell == step.cell
            }
            // A server that broke under this load is reported as broken, not tried until it works.
            if !hasFailed, contender.workloads.contains(step.cell.workload) {
                progress.show(contender, step)
                do {
                    comparison.runs.append(try runUndisturbed(contender, step))
                } catch {
                    let failure = Comparison.Failure(
                        contender: contender.name, cell: step.cell, reason: "\(error)")
                    comparison.failures.append(failure)
                    progress.note("FAILED: \(contender.name) at \(step.cell.name): \(error)")
                }
            }
            progress.finish(step)
        }
    }

    /// The first undisturbed run of a few, or the least disturbed.
    private mutating func runUndisturbed(
        _ contender: Contender, _ step: Plan.Step
    ) throws -> RunResult {
        let plan = comparison.plan
        var best: RunResult?
        for number in 0..<Rounds.triesMax {
            if number > 0 {
                guard repetitionsLeft > 0 else { break }
                repetitionsLeft -= 1
                awaitQuiet()
            }
            var result = try runner.run(
                contender, step, seconds: plan.seconds, warmup: plan.warmupSeconds)
            if let best, best.disturbance.degree <= result.disturbance.degree { result = best }
            result.repetitions = number
            best = result
            if !result.disturbance.isTooMuch { break }
        }
        guard let best else { throw BenchError("was not run") }
        return best
    }

    /// Waits for a moment in which nobody else computes, unless that takes too long.
    private mutating func awaitQuiet() {
        let start = System.monotonicSeconds
        let limit = min(waitLeft, Rounds.waitMaxSeconds)
        while System.monotonicSeconds - start < limit {
            guard let before = MachineTime.now else { break }
            let time = System.monotonicSeconds
            usleep(100_000)
            guard let after = MachineTime.now else { break }
            let busy = (after - before).busy / (System.monotonicSeconds - time)
            if busy < Rounds.quietCores { break }
        }
        waitLeft -= System.monotonicSeconds - start
    }

    /// One burst of somebody else, such as a compiler's.
    private static let waitMaxSeconds = 3.0
    private static let quietCores = 0.15
}
