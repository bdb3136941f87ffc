// SPDX-License-Identifier: Apache-2.0

extension Comparison {
    /// All there is to know: the setting, every run, and the summaries.
    var json: JSONValue {
        .object([
            ("format", .integer(1)),
            ("environment", environment.json),
            ("rounds", .integer(plan.rounds)),
            ("seconds", .number(plan.seconds)),
            ("warmup_seconds", .number(plan.warmupSeconds)),
            ("cases", .strings(plan.cells.map(\.name))),
            (
                "servers",
                .array(
                    contenders.map { contender in
                        .object([
                            ("name", .string(contender.name)),
                            ("family", .string(contender.family.rawValue)),
                            ("command", .strings(contender.command(congestion: nil))),
                        ])
                    })
            ),
            (
                "missing",
                .array(
                    missing.map {
                        .object([("name", .string($0.name)), ("reason", .string($0.reason))])
                    })
            ),
            (
                "absent",
                .array(
                    plan.cells.flatMap { cell in
                        absentees(of: cell).map {
                            .object([("server", .string($0.name)), ("case", .string(cell.name))])
                        }
                    })
            ),
            (
                "failures",
                .array(
                    failures.map {
                        .object([
                            ("server", .string($0.contender)), ("case", .string($0.cell.name)),
                            ("reason", .string($0.reason)),
                        ])
                    })
            ),
            ("summaries", .array(plan.cells.flatMap { cell in summariesJSON(of: cell) })),
            ("runs", .array(runs.map(\.json))),
        ])
    }

    private func summariesJSON(of cell: Cell) -> [JSONValue] {
        let unit = cell.workload.unit
        return summaries(of: cell).map { summary in
            .object([
                ("case", .string(cell.name)),
                ("server", .string(summary.contender.name)),
                ("unit", .string(unit.rawValue)),
                ("\(unit.plural)_per_second", summary.rate.json),
                ("latency_p50_us", summary.median?.json ?? .null),
                ("latency_p99_us", summary.p99?.json ?? .null),
                ("cpu_us_per_\(unit.rawValue)", summary.cpu.json),
                ("user_us_per_\(unit.rawValue)", .number(summary.user)),
                ("user_us_per_\(unit.rawValue)_error", .number(summary.userError)),
                ("cpu_ratio_to_raw", summary.cpuRatio?.json ?? .null),
                ("rate_ratio_to_raw", summary.rateRatio?.json ?? .null),
                ("server_resident_bytes", summary.residentBytes.json),
                ("load_cores", summary.loadShare.json),
                ("disturbed_rounds", .integer(summary.disturbed)),
            ])
        }
    }
}

extension Environment {
    fileprivate var json: JSONValue {
        .object([
            ("kernel", .string(kernel)), ("processor", .string(processor)),
            ("cpus", .integer(cpuCount)), ("server_cpu", .integer(cpus.server)),
            ("load_cpu", .integer(cpus.load)),
            ("congestion_control", .string(congestion)),
            ("namespace_failure", namespaceFailure.map { .string($0) } ?? .null),
        ])
    }
}
