// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Gyre

/// `gyre-bench micro`: what single operations cost.
struct Micro: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measures what single operations cost.",
        discussion: """
            Costs are CPU time of the calling thread, wake-ups the time that passes, allocations \
            those of the loop's thread. Values are medians of several repetitions.

            """ + MicroCase.all.map { "\($0.name): \($0.about)" }.joined(separator: "\n")
    )

    @Option(
        help: "The loop to measure. (default: each that is usable)",
        transform: { try LoopPolicy(named: $0) })
    var policy: LoopPolicy?
    @Option(help: "Cases to run, separated by commas. (default: all)")
    var only: String?
    @Flag(help: "A JSON object per line.")
    var json = false
    @Flag(help: .hidden)
    var inProcess = false

    func validate() throws {
        do {
            _ = try chosenCases()
        } catch {
            throw ValidationError("\(error)")
        }
    }

    func run() throws {
        let cases = try chosenCases()
        let policies = try chosenPolicies()
        if inProcess { return try measure(cases, policies) }
        var table = TextTable(leftColumns: 2)
        table.append(["case", "policy", "value", "unit", "±%", "repetitions"])
        var hasFailed = false
        for chosen in cases {
            for policy in policies {
                do {
                    for result in try Micro.measureApart(chosen, policy) {
                        if json { System.printLine(result.json(policy).text) }
                        table.append(result.row(policy))
                    }
                } catch {
                    hasFailed = true
                    System.note("FAILED: \(chosen.name) on \(policy): \(error)")
                }
            }
        }
        if !json { System.printLine(table.text.trimmed) }
        if hasFailed { throw ExitCode.failure }
    }

    // MARK: Measuring

    /// Each case has a process of its own, so that none inherits the memory, the threads or the
    /// end of another.
    private static func measureApart(
        _ chosen: MicroCase, _ policy: LoopPolicy
    ) throws -> [MicroResult] {
        let counter = "LD_PRELOAD=\(Installation().allocationCounter)"
        let child = try ChildProcess(
            (chosen.countsAllocations ? ["/usr/bin/env", counter] : []) + [
                System.executablePath ?? "gyre-bench", "micro", "--in-process", "--only",
                chosen.name, "--policy", policy.rawValue,
            ])
        var results: [MicroResult] = []
        while let line = try child.readLine(timeout: 300) {
            guard let result = JSONValue(parsing: line).flatMap({ MicroResult(record: $0) }) else {
                throw BenchError("said \"\(line)\"")
            }
            results.append(result)
        }
        let status = child.collect().status
        guard status == 0 else { throw BenchError("status \(status)\(child.reason)") }
        return results
    }

    private func measure(_ cases: [MicroCase], _ policies: [LoopPolicy]) throws {
        for chosen in cases {
            for policy in policies {
                for result in try chosen.measure(policy) { System.printLine(result.record.text) }
            }
        }
    }

    // MARK: Choosing

    private func chosenCases() throws -> [MicroCase] {
        guard let only else { return MicroCase.all }
        return try only.split(separator: ",").map { part in
            let name = String(part).trimmed
            guard let found = MicroCase.all.first(where: { $0.name == name }) else {
                let known = MicroCase.all.map(\.name).joined(separator: ", ")
                throw BenchError("no case called \"\(name)\"; there are \(known)")
            }
            return found
        }
    }

    /// The one that was named, which has to be usable, or all that are.
    private func chosenPolicies() throws -> [LoopPolicy] {
        if let policy {
            // What `automatic` stands for is what the result is about.
            let selection = try policy.probe().get()
            return [try LoopPolicy(named: selection.policy)]
        }
        return LoopPolicy.allCases.filter { policy in
            guard policy != .automatic else { return false }
            guard case .failure(let error) = policy.probe() else { return true }
            System.note("missing: \(policy): \(error)")
            return false
        }
    }
}
