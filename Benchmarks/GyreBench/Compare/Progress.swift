// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Tells on standard error how far the comparison is: on a terminal in one line that changes,
/// otherwise in a line per case and round.
struct Progress {
    private let plan: Plan
    private let isTerminal = isatty(STDERR_FILENO) != 0
    private let startedAt = System.monotonicSeconds
    private var finished = 0

    init(plan: Plan) {
        self.plan = plan
    }

    /// Before a run.
    func show(_ contender: Contender, _ step: Plan.Step) {
        guard isTerminal else { return }
        write("\r" + position(step) + "  \(contender.name)" + clearToEnd)
    }

    /// After the last try of a run.
    mutating func finish(_ step: Plan.Step) {
        finished += 1
        if isTerminal {
            if finished == plan.runCount { write("\r" + clearToEnd) }
        } else if finished % plan.contenders == 0 {
            write(position(step) + " done\n")
        }
    }

    /// Says something that stays.
    func note(_ line: String) { write((isTerminal ? "\r" + clearToEnd : "") + line + "\n") }

    private var clearToEnd: String { "\u{1B}[K" }

    private func position(_ step: Plan.Step) -> String {
        "[\(finished)/\(plan.runCount), \(remaining)] round \(step.round + 1)/\(plan.rounds), "
            + step.cell.name
    }

    private var remaining: String {
        let passed = System.monotonicSeconds - startedAt
        let seconds =
            finished == 0
            ? plan.estimatedSeconds
            : passed / Double(finished) * Double(plan.runCount - finished)
        let whole = Int(seconds.rounded())
        return "\(whole / 60):\(String(whole % 60).leftPadded(to: 2, with: "0")) left"
    }

    private func write(_ text: String) { System.writeAll(STDERR_FILENO, text) }
}
