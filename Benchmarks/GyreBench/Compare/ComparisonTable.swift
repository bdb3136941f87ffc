// SPDX-License-Identifier: Apache-2.0

extension Comparison {
    private static func head(_ cell: Cell) -> [String] {
        let unit = cell.workload.unit.short
        return [
            cell.name, "\(unit.many)/s", "±%", "p50 µs", "p99 µs", "CPU µs/\(unit.one)", "±%",
            "of raw C", "user µs/\(unit.one)", "rate of raw C", "RSS MiB", "load core",
        ]
    }

    /// The result as text.
    var table: String {
        var table = TextTable()
        for cell in plan.cells {
            let summaries = summaries(of: cell)
            guard !summaries.isEmpty else { continue }
            if !table.rows.isEmpty { table.appendGap() }
            table.append(Comparison.head(cell))
            for summary in summaries { table.append(Comparison.row(summary)) }
            for contender in absentees(of: cell) {
                table.append(["  " + contender.name, "does not have it"])
            }
        }
        return environment.lines.joined(separator: "\n") + "\n\n" + table.text + "\n" + notes
    }

    private static func row(_ summary: Summary) -> [String] {
        let mark = summary.disturbed > 0 ? " !" : ""
        return [
            "  " + summary.contender.name + mark,
            Int(summary.rate.median.rounded()).groupedText,
            percent(summary.rate.spread),
            summary.median?.median.shortText ?? "-",
            summary.p99?.median.shortText ?? "-",
            summary.cpu.median.formatted(digits: 2),
            percent(summary.cpu.spread),
            summary.cpuRatio?.median.formatted(digits: 2) ?? "-",
            summary.user.formatted(digits: 2) + " ±" + summary.userError.formatted(digits: 2),
            summary.rateRatio?.median.formatted(digits: 2) ?? "-",
            (summary.residentBytes.median / 1_048_576).formatted(digits: 1),
            percent(summary.loadShare.median) + " %",
        ]
    }

    private static func percent(_ share: Double) -> String { (share * 100).formatted(digits: 0) }

    /// What has to be said beside the numbers.
    private var notes: String {
        let disturbed = runs.count { $0.disturbance.isTooMuch }
        let repeated = runs.reduce(0) { $0 + $1.repetitions }
        let rounds = "\(plan.rounds) round\(plan.rounds == 1 ? "" : "s")"
        var lines = [
            "Medians of \(rounds) of \(plan.seconds.shortText) s; ± is half the range, "
                + "of user time (pooled) one deviation of its sampling.",
            "\"of raw C\": against the better of the raw C servers in the same rounds. Where the "
                + "load core is near 100 %, it is the limit: compare the CPU per message.",
        ]
        if plan.cells.contains(where: { $0.workload == .pipe }) {
            lines.append("Latencies are of a message, also where the rest is per MiB.")
        }
        if plan.cells.contains(where: { $0.workload == .spawn }) {
            lines.append(
                "The processes of \"spawn\" run \(Workload.program) on the server's CPU; the CPU "
                    + "time is the server's own.")
        }
        if repeated > 0 || disturbed > 0 {
            lines.append(
                "\(repeated) disturbed runs were repeated; \(disturbed) of \(runs.count) stayed "
                    + "disturbed\(disturbed > 0 ? " (marked !)" : "").")
        }
        if let reason = environment.namespaceFailure {
            lines.append(
                "No network namespace (\(reason)): socket options fix the congestion control."
            )
        }
        lines += missing.map { "Missing: \($0.name): \($0.reason)" }
        lines += failures.map { "FAILED: \($0.contender) at \($0.cell.name): \($0.reason)" }
        return lines.joined(separator: "\n") + "\n"
    }
}
