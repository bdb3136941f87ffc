// SPDX-License-Identifier: Apache-2.0

import CGyreBench
import Glibc

/// What one run gave.
struct RunResult {
    let contender: String
    let cell: Cell
    let round: Int
    /// What came back, whatever the unit of the figures is.
    let messages: Double
    let seconds: Double
    /// Nanoseconds by name: p50, p90, p99, p999, max.
    let latency: [(name: String, nanoseconds: Double)]
    let serverCPUSeconds: Double
    let serverUserSeconds: Double
    let serverResidentBytes: Double
    /// Cores that the load generator used.
    let loadShare: Double
    let disturbance: Disturbance
    /// The disturbed runs before this one that it replaces.
    var repetitions = 0

    /// Of the case's unit.
    var units: Double { messages * cell.unitsPerMessage }
    var rate: Double { units / seconds }
    /// Microseconds for one of the unit.
    var cpu: Double { serverCPUSeconds / units * 1e6 }

    func latency(_ name: String) -> Double? {
        latency.first { $0.name == name }?.nanoseconds
    }

    var json: JSONValue {
        .object([
            ("server", .string(contender)), ("case", .string(cell.name)),
            ("round", .integer(round)), ("messages", .number(messages)),
            ("seconds", .number(seconds)),
            ("\(cell.workload.unit.plural)_per_second", .number(rate)),
            ("latency_ns", .object(latency.map { ($0.name, .number($0.nanoseconds)) })),
            ("server_cpu_seconds", .number(serverCPUSeconds)),
            ("server_user_seconds", .number(serverUserSeconds)),
            ("server_resident_bytes", .number(serverResidentBytes)),
            ("load_cores", .number(loadShare)), ("disturbance", disturbance.json),
            ("repetitions", .integer(repetitions)),
        ])
    }
}

/// Runs one server under one load at a time, each on its own core.
struct Runner {
    let loadGenerator: String
    let congestion: String?
    let cpus: (server: Int, load: Int)
    var accounting = InterruptAccounting()
    private(set) var runsCount = 0

    /// How long a server may take until it listens, and to end.
    ///
    /// CPython needs a moment.
    private static var patience: Double { 20 }

    /// One run.
    ///
    /// Throws when the server does not start, breaks, or echoes wrongly.
    mutating func run(
        _ contender: Contender, _ step: Plan.Step, seconds: Double, warmup: Double
    ) throws -> RunResult {
        let workload = step.cell.workload
        // The kernel lets go of a ring, and of the socket that it listens at, after its process: a
        // path of its own for each server.
        runsCount += 1
        let path = "/tmp/gyre-bench-\(getpid())-\(runsCount).sock"
        defer { if workload == .unix { unlink(path) } }
        let pipes = try PipePairs(count: workload.usesPipes ? step.cell.connections : 0)
        let server = try ChildProcess(
            contender.command(
                congestion: congestion, for: workload, path: path, pipes: pipes.server),
            cpu: cpus.server, inherited: pipes.server.descriptors)
        pipes.closeServer()
        let port = try awaitPort(server, workload, path)
        let before = (
            machine: MachineTime.now, time: System.monotonicSeconds,
            server: server.cpuSeconds + server.childrenCPUSeconds, delay: server.runDelaySeconds,
            own: bench_process_cpu(getpid())
        )
        let load = try ChildProcess(
            loadCommand(
                step.cell, server: server, port: port, path, pipes.load, seconds, warmup),
            cpu: cpus.load, inherited: pipes.load.descriptors)
        load.awaitEnd()
        let elapsed = System.monotonicSeconds - before.time
        // A server waits for the processes it starts, which run where it runs.
        let serverDelay = workload == .spawn ? 0 : server.runDelaySeconds - before.delay
        let delay = serverDelay + load.runDelaySeconds
        let serverSeconds = server.cpuSeconds + server.childrenCPUSeconds - before.server
        let ownSeconds = bench_process_cpu(getpid()) - before.own
        let machine = MachineTime.now

        let (status, loadSeconds) = load.collect()
        let line = try load.readLine(timeout: Runner.patience)
        guard status == 0, let line, let report = JSONValue(parsing: line) else {
            throw BenchError("the load generator ended with status \(status)\(load.reason)")
        }
        try end(server)

        var disturbance = Disturbance(runDelay: delay / elapsed, steal: 0, others: 0)
        if let start = before.machine, let machine {
            let spent = machine - start
            let ours = serverSeconds + loadSeconds + ownSeconds
            accounting.learn(spent, ours: ours)
            disturbance = Disturbance(
                runDelay: delay / elapsed, steal: spent.steal / elapsed,
                others: accounting.others(spent, ours: ours) / elapsed)
        }
        return try result(report, contender, step, disturbance)
    }

    private func loadCommand(
        _ cell: Cell, server: ChildProcess, port: Int, _ path: String, _ pipes: [PipePair],
        _ seconds: Double, _ warmup: Double
    ) -> [String] {
        let target =
            switch cell.workload {
            case .tcp: ["--port", "\(port)"]
            case .accept: ["--port", "\(port)", "--accept"]
            case .udp: ["--port", "\(port)", "--udp"]
            case .unix: ["--unix", path]
            case .pipe, .spawn: ["--pipes", pipes.text]
            }
        var command =
            [loadGenerator] + target + [
                "--connections", "\(cell.connections)",
                "--size", "\(cell.messageBytes)", "--seconds", "\(seconds)", "--warmup",
                "\(warmup)",
                "--server-pid", "\(server.pid)", "--cpu", "\(cpus.load)",
            ]
        if let congestion { command += ["--congestion", congestion] }
        return command
    }

    /// Reads `listening on HOST:PORT`, or `listening on` a path or pipes, which have no port.
    private func awaitPort(
        _ server: ChildProcess, _ workload: Workload, _ path: String
    ) throws -> Int {
        guard let line = try server.readLine(timeout: Runner.patience) else {
            let status = server.collect().status
            throw BenchError("ended with status \(status) before it listened\(server.reason)")
        }
        if workload == .unix, line == "listening on \(path)" { return 0 }
        if workload.usesPipes, line == "listening on pipes" { return 0 }
        guard line.hasPrefix("listening on "), let end = line.split(separator: ":").last,
            let port = Int(end)
        else { throw BenchError("said \"\(line)\" where \"listening on HOST:PORT\" was due") }
        return port
    }

    /// Ends a server the way an operator does.
    ///
    /// One that has crashed meanwhile is an error.
    private func end(_ server: ChildProcess) throws {
        server.signal(SIGTERM)
        // The output ends with the process: that is a wait with a limit.
        while try server.readLine(timeout: Runner.patience) != nil {}
        let status = server.collect().status
        guard status == 0 else {
            throw BenchError("ended with status \(status) on SIGTERM\(server.reason)")
        }
    }

    private func result(
        _ report: JSONValue, _ contender: Contender, _ step: Plan.Step, _ disturbance: Disturbance
    ) throws -> RunResult {
        func number(_ name: String) throws -> Double {
            guard let number = report[name]?.double else {
                throw BenchError("the load generator does not say \(name)")
            }
            return number
        }
        let messages = try number("messages")
        guard messages > 0 else { throw BenchError("no message came back in the timed phase") }
        let names = ["p50", "p90", "p99", "p999", "max"]
        return RunResult(
            contender: contender.name, cell: step.cell, round: step.round, messages: messages,
            seconds: try number("seconds"),
            latency: names.compactMap { name in
                report["latency_ns"]?[name]?.double.map { (name, $0) }
            },
            serverCPUSeconds: try number("server_cpu_seconds"),
            serverUserSeconds: try number("server_user_seconds"),
            serverResidentBytes: try number("server_rss_bytes"),
            loadShare: try number("cpu_share"), disturbance: disturbance)
    }
}
