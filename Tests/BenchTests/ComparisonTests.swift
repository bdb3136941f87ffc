// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import gyre_bench

/// A comparison with made-up runs.
private struct Sketch {
    static let cell = Cell.all[0]
    let cell: Cell
    var comparison: Comparison

    init(rounds: Int, namespaceFailure: String? = nil, cell: Cell = Sketch.cell) {
        self.cell = cell
        let all = Set(Workload.allCases)
        comparison = Comparison(
            contenders: [
                Contender(name: "gyre epoll", family: .gyre, command: ["a"], workloads: all),
                Contender(name: "raw epoll", family: .raw, command: ["b"], workloads: all),
                Contender(name: "raw io_uring", family: .raw, command: ["c"], workloads: all),
                Contender(name: "<other> & co", family: .other, command: ["d"]),
            ],
            missing: [MissingContender(name: "libuv", reason: "not built")],
            plan: Plan(
                rounds: rounds, seconds: 1, warmupSeconds: 0, cells: [cell], contenders: 4),
            environment: Environment(
                kernel: "Linux 6", processor: "CPU", cpuCount: 2, cpus: (0, 1),
                congestion: "reno", namespaceFailure: namespaceFailure))
    }

    /// Adds a run of 1000 messages a second that cost `cpu` microseconds each, half of it user
    /// time.
    mutating func add(
        _ name: String, round: Int, cpu: Double, rate: Double = 1000, steal: Double = 0
    ) {
        comparison.runs.append(
            RunResult(
                contender: name, cell: cell, round: round, messages: rate, seconds: 1,
                latency: [("p50", 5000), ("p99", 9000)], serverCPUSeconds: cpu * rate / 1e6,
                serverUserSeconds: cpu * rate / 2e6, serverResidentBytes: 1_048_576, loadShare: 0.5,
                disturbance: Disturbance(runDelay: 0, steal: steal, others: 0)))
    }

    func summary(of name: String) throws -> Comparison.Summary {
        try #require(
            comparison.summaries(of: cell).first { $0.contender.name == name })
    }
}

@Suite struct ComparisonTests {
    @Test func theRatioIsToTheBetterRawServerOfTheSameRound() throws {
        var sketch = Sketch(rounds: 3)
        // The machine slows down from round to round; raw io_uring is better but in the last one.
        for (round, slowness) in [1.0, 2, 4].enumerated() {
            sketch.add("gyre epoll", round: round, cpu: 6 * slowness, rate: 900)
            sketch.add("raw epoll", round: round, cpu: (round == 2 ? 4.9 : 6) * slowness)
            sketch.add("raw io_uring", round: round, cpu: 5 * slowness, rate: 1200)
        }
        let gyre = try sketch.summary(of: "gyre epoll")
        #expect(try #require(gyre.cpuRatio).spread < 1e-9)
        #expect(abs(try #require(gyre.cpuRatio).median - 1.2) < 1e-9)
        #expect(abs(try #require(gyre.rateRatio).median - 0.75) < 1e-9)
        #expect(gyre.cpu.median == 12)
        #expect(try sketch.summary(of: "raw io_uring").cpuRatio?.median == 1)
    }

    @Test func userTimeIsPooledOverTheRounds() throws {
        var sketch = Sketch(rounds: 2)
        sketch.add("gyre epoll", round: 0, cpu: 2, rate: 3000)
        sketch.add("gyre epoll", round: 1, cpu: 6, rate: 1000)
        let summary = try sketch.summary(of: "gyre epoll")
        // (3000 * 1 + 1000 * 3) / 4000
        #expect(abs(summary.user - 1.5) < 1e-9)
        #expect(summary.userError > 0)
        #expect(summary.cpuRatio == nil)
    }

    @Test func disturbedRoundsAreMarked() throws {
        var sketch = Sketch(rounds: 2)
        sketch.add("gyre epoll", round: 0, cpu: 5)
        sketch.add("gyre epoll", round: 1, cpu: 5, steal: 0.5)
        #expect(try sketch.summary(of: "gyre epoll").disturbed == 1)
        #expect(sketch.comparison.table.contains("gyre epoll !"))
        #expect(sketch.comparison.table.contains("1 of 2 stayed disturbed"))
    }

    @Test func theTableNamesWhatIsMissingAndWhatFailed() {
        var sketch = Sketch(rounds: 1, namespaceFailure: "Operation not permitted")
        sketch.add("raw epoll", round: 0, cpu: 5)
        sketch.comparison.failures = [
            Comparison.Failure(contender: "gyre epoll", cell: Sketch.cell, reason: "broke")
        ]
        let table = sketch.comparison.table
        #expect(table.contains("Missing: libuv: not built"))
        #expect(table.contains("FAILED: gyre epoll at 1k/10: broke"))
        #expect(table.contains("Operation not permitted"))
        #expect(table.split(separator: "\n").allSatisfy { $0.last != " " })
    }

    @Test func theJSONHasEveryRun() throws {
        var sketch = Sketch(rounds: 1)
        sketch.add("raw epoll", round: 0, cpu: 5)
        sketch.add("gyre epoll", round: 0, cpu: 5)
        let json = try #require(JSONValue(parsing: sketch.comparison.json.prettyText))
        guard case .array(let runs)? = json["runs"] else {
            Issue.record("no runs")
            return
        }
        #expect(runs.count == 2)
        #expect(runs[0]["server_cpu_seconds"]?.double == 0.005)
        #expect(runs[0]["latency_ns"]?["p99"]?.double == 9000)
    }

    @Test func pipesAreCountedInMebibytes() throws {
        var sketch = Sketch(
            rounds: 1, cell: Cell(workload: .pipe, messageBytes: 64 << 10, connections: 4))
        sketch.add("raw epoll", round: 0, cpu: 5, rate: 16000)
        let summary = try sketch.summary(of: "raw epoll")
        #expect(summary.rate.median == 1000)
        #expect(abs(summary.cpu.median - 80) < 1e-9)
        #expect(abs(summary.user - 40) < 1e-9)
        #expect(sketch.comparison.table.contains("MiB/s"))
        #expect(sketch.comparison.table.contains("CPU µs/MiB"))
        let json = try #require(JSONValue(parsing: sketch.comparison.json.prettyText))
        guard case .array(let summaries)? = json["summaries"] else {
            Issue.record("no summaries")
            return
        }
        #expect(summaries[0]["mib_per_second"]?["median"]?.double == 1000)
        #expect(summaries[0]["cpu_us_per_mib"]?["median"] != nil)
    }

    @Test func whoDoesNotHaveACaseIsNamedEverywhere() throws {
        var sketch = Sketch(
            rounds: 1, cell: Cell(workload: .spawn, messageBytes: 1, connections: 8))
        sketch.add("raw epoll", round: 0, cpu: 500)
        let comparison = sketch.comparison
        #expect(comparison.table.contains(/<other> & co +does not have it/))
        #expect(ComparisonPicture(comparison).svg.contains("does not have it"))
        let json = try #require(JSONValue(parsing: comparison.json.prettyText))
        guard case .array(let absent)? = json["absent"] else {
            Issue.record("nobody is absent")
            return
        }
        #expect(absent.count == 1)
        #expect(absent[0]["server"] == .string("<other> & co"))
    }

    @Test func thePictureIsBalancedMarkup() throws {
        var sketch = Sketch(rounds: 1)
        for name in ["gyre epoll", "raw epoll", "<other> & co"] {
            sketch.add(name, round: 0, cpu: 5)
        }
        let svg = ComparisonPicture(sketch.comparison).svg
        #expect(svg.contains("&lt;other&gt; &amp; co"))
        #expect(svg.hasPrefix("<svg ") && svg.hasSuffix("</svg>\n"))
        var open: [Substring] = []
        for tag in svg.matches(of: /<(\/?)([a-z]+)[^>]*?(\/?)>/) {
            if !tag.3.isEmpty { continue }
            if tag.1.isEmpty {
                open.append(tag.2)
            } else {
                #expect(open.popLast() == tag.2)
            }
        }
        #expect(open.isEmpty)
    }
}

@Suite struct DisturbanceTests {
    private func time(_ stat: String) throws -> MachineTime {
        try #require(MachineTime(stat: stat))
    }

    @Test func theKernelsFirstLineIsRead() throws {
        let time = try time("cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n")
        #expect(abs(time.busy - 1.63) < 1e-9)
        #expect(abs(time.interrupts - 0.13) < 1e-9)
        #expect(abs(time.steal - 0.08) < 1e-9)
        #expect(MachineTime(stat: "intr 1 2 3 4 5 6 7 8 9") == nil)
        #expect(MachineTime(stat: "cpu 1 2") == nil)
    }

    @Test func interruptsAreNobodyElse() throws {
        let start = try time("cpu 0 0 0 0 0 0 0 0 0 0\n")
        // 2 s of processes and 1 s of interrupts.
        let spent = try time("cpu 100 0 100 0 0 0 100 0 0 0\n") - start
        var accounting = InterruptAccounting()
        // Our processes used all that processes did: interrupts are counted apart.
        accounting.learn(spent, ours: 2)
        #expect(accounting.others(spent, ours: 2) == 0)
        #expect(abs(accounting.others(spent, ours: 1.5) - 0.5) < 1e-9)
        // They used more: interrupts are counted with them, on such a machine.
        accounting.learn(spent, ours: 2.9)
        #expect(abs(accounting.others(spent, ours: 2.9) - 0.1) < 1e-9)
        #expect(abs(accounting.others(spent, ours: 2) - 1) < 1e-9)
    }

    @Test func eachKindOfDisturbanceCounts() {
        #expect(!Disturbance(runDelay: 0.01, steal: 0.01, others: 0.01).isTooMuch)
        #expect(Disturbance(runDelay: 0.5, steal: 0, others: 0).isTooMuch)
        #expect(Disturbance(runDelay: 0, steal: 0.5, others: 0).isTooMuch)
        #expect(Disturbance(runDelay: 0, steal: 0, others: 0.5).isTooMuch)
    }
}
