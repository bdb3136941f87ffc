// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Gyre

/// `gyre-bench compare`: Gyre's servers beside those of others.
struct Compare: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compares Gyre's servers with raw C and other event loops.",
        discussion: """
            Every round runs each server under each load, one after the other, the server on one \
            CPU and the load generator, which checks every byte, on another. Runs that other \
            processes disturb are repeated. What counts is the server's CPU time per message.

            The cases are echoes of messages over TCP (1k/10: size and connections), UDP \
            (udp-1k-10), Unix sockets (unix-1k-200) and pairs of pipes (pipe-64k-4), \
            connections that are accepted, echo a byte and end (accept-16, so many at once), and \
            processes that are started and waited for (spawn-8).
            """
    )

    @Flag(help: "The TCP echoes in short rounds: about two minutes.")
    var quick = false
    @Option(help: "Servers to compare with: raw, libuv, nio, python (asyncio and uvloop), or none.")
    var peers = "raw,libuv,nio"
    @Option(
        help: """
            Cases: 1k/10,unix-1k-200,spawn-8. A size or a kind alone (udp, unix, pipe, accept, \
            spawn) takes its usual ones. (default: with --quick those of TCP, else all)
            """)
    var cases: String?
    @Option(help: "Gyre's policies to run, or none. (default: all)")
    var policies: String?
    @Option(help: "The ways in which Gyre's servers are written: callback, async, stream.")
    var apis = "callback,async"
    @Option(help: "Rounds.")
    var rounds: Int?
    @Option(help: "Seconds of the timed phase of each run.")
    var seconds: Double?
    @Option(help: "File for all figures, as JSON.")
    var json: String?
    @Option(help: "File for a picture of the result.")
    var svg: String?
    @Option(help: "TCP congestion control. (default: cubic if allowed, else reno)")
    var congestion: String?
    @Option(help: "Folder of the built peers. (default: .build-peers beside Package.swift)")
    var peersFolder: String?
    @Flag(help: .hidden)
    var inNamespace = false

    func validate() throws {
        if let rounds, !(1...1000 ~= rounds) {
            throw ValidationError("--rounds takes a number from 1 to 1000")
        }
        if let seconds, !(0.05...600 ~= seconds) {
            throw ValidationError("--seconds takes a number from 0.05 to 600")
        }
        if let failure = congestion.flatMap(CongestionControl.failure) {
            throw ValidationError(failure)
        }
        do {
            _ = try (
                chosenCells(), chosenPolicies(), PeerGroup.parse(list: peers),
                ServerAPI.parse(list: apis)
            )
        } catch {
            throw ValidationError("\(error)")
        }
    }

    func run() throws {
        // Better now than after a quarter of an hour.
        for path in [json, svg].compactMap(\.self) where !System.writeFile(path, "") {
            System.note("cannot write \(path)")
            throw ExitCode.failure
        }
        let installation = Installation(peers: peersFolder)
        let loadGenerator = installation.loadGenerator
        guard System.isExecutable(loadGenerator) else {
            System.note("no \(loadGenerator); swift build --product gyre-load makes it")
            throw ExitCode.failure
        }
        var namespaceFailure: String?
        if !inNamespace {
            namespaceFailure = CongestionControl.enterNamespace(
                loadGenerator: loadGenerator, requested: congestion)
        }
        var search = ContenderSearch(installation)
        search.addGyre(try chosenPolicies(), try ServerAPI.parse(list: apis))
        search.addPeers(try PeerGroup.parse(list: peers))

        let cells = try chosenCells()
        let count = search.found.count
        let usual =
            quick
            ? Plan.quick(cells: cells, contenders: count)
            : Plan.full(cells: cells, contenders: count)
        let inForce = namespaceFailure == nil ? System.congestionControl : nil
        let environment = Environment(
            kernel: System.kernelName, processor: System.processorName,
            cpuCount: System.allowedCPUs.count, cpus: System.pair,
            congestion: inForce ?? congestion ?? CongestionControl.usual,
            namespaceFailure: namespaceFailure)
        let comparison = Comparison(
            contenders: search.found, missing: search.missing,
            plan: usual.with(rounds: rounds, seconds: seconds), environment: environment)
        try report(perform(comparison, loadGenerator: loadGenerator))
    }

    private func chosenCells() throws -> [Cell] {
        if let cases { return try Cell.parse(list: cases) }
        return quick ? Cell.all : Cell.all + Cell.others
    }

    private func chosenPolicies() throws -> [LoopPolicy] {
        guard let policies else { return LoopPolicy.allCases.filter { $0 != .automatic } }
        guard policies != "none" else { return [] }
        return try policies.split(separator: ",").map { try LoopPolicy(named: String($0).trimmed) }
    }

    private func perform(_ planned: Comparison, loadGenerator: String) throws -> Comparison {
        guard !planned.contenders.isEmpty else {
            for missing in planned.missing { System.note("\(missing.name): \(missing.reason)") }
            System.note("there is no server to measure")
            throw ExitCode.failure
        }
        for line in planned.environment.lines { System.note(line) }
        for missing in planned.missing {
            System.note("missing: \(missing.name): \(missing.reason)")
        }
        let runner = Runner(
            loadGenerator: loadGenerator, congestion: planned.environment.congestion,
            cpus: planned.environment.cpus)
        var rounds = Rounds(comparison: planned, runner: runner)
        rounds.runAll()
        return rounds.comparison
    }

    private func report(_ comparison: Comparison) throws {
        System.printLine(comparison.table.trimmed)
        for (path, text) in [
            (json, { comparison.json.prettyText }), (svg, { ComparisonPicture(comparison).svg }),
        ] {
            guard let path else { continue }
            guard System.writeFile(path, text()) else {
                System.note("cannot write \(path)")
                throw ExitCode.failure
            }
        }
        guard comparison.failures.isEmpty else { throw ExitCode.failure }
    }
}
