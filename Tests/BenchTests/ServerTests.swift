// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Testing

@testable import gyre_bench

/// Every kind of case with real servers and the real load generator, for a moment.
@Suite(.serialized) struct ServerTests {
    private static let cells = [
        Cell(workload: .tcp, messageBytes: 100, connections: 3),
        Cell(workload: .udp, messageBytes: 100, connections: 3),
        Cell(workload: .unix, messageBytes: 100, connections: 3),
        // More than a pipe holds.
        Cell(workload: .pipe, messageBytes: 200_000, connections: 2),
        Cell(workload: .accept, messageBytes: 1, connections: 3),
        Cell(workload: .spawn, messageBytes: 1, connections: 2),
    ]

    private func run(_ contender: Contender, _ cell: Cell) throws {
        var runner = Runner(
            loadGenerator: "\(System.executableFolder)/gyre-load", congestion: nil,
            cpus: System.pair)
        let step = Plan.Step(round: 0, cell: cell, contender: 0)
        let result = try runner.run(contender, step, seconds: 0.1, warmup: 0)
        #expect(result.messages > 0)
        #expect(result.rate > 0)
        #expect(result.cpu > 0)
        #expect(try #require(result.latency("p50")) > 0)
    }

    @Test(arguments: cells, ["callback", "async", "stream"])
    func aServerOfGyreServesIt(cell: Cell, api: String) throws {
        guard cell.workload != .udp || api != "stream" else { return }
        let program = "\(System.executableFolder)/gyre-bench"
        let contender = Contender(
            name: "gyre", family: .gyre, command: [program, "serve", "echo", "--api", api])
        try run(contender, cell)
    }

    @Test(arguments: [Workload.tcp, .udp], ["callback", "async"])
    func theHostMayBeAName(workload: Workload, api: String) throws {
        let program = "\(System.executableFolder)/gyre-bench"
        let contender = Contender(
            name: "gyre", family: .gyre,
            command: [program, "serve", "echo", "--api", api, "--host", "localhost"])
        try run(contender, Cell(workload: workload, messageBytes: 100, connections: 2))
    }

    @Test(arguments: cells)
    func aServerInCServesIt(cell: Cell) throws {
        let program = "\(System.executableFolder)/gyre-peer-raw-epoll"
        try run(Contender(name: "raw", family: .raw, command: [program]), cell)
    }

    @Test func aServerThatAnswersWronglyIsFoundOut() throws {
        // Reads and writes, but not the same.
        let contender = Contender(
            name: "wrong", family: .other,
            command: [
                "/bin/sh", "-c",
                """
                echo listening on pipes; in=${2%%:*} out=${2##*:}
                exec tr '\\000-\\377' '\\001-\\377\\000' < /dev/fd/$in > /dev/fd/$out
                """, "server",
            ])
        let cell = Cell(workload: .pipe, messageBytes: 65536, connections: 1)
        #expect(throws: BenchError.self) { try run(contender, cell) }
    }

    @Test(arguments: [
        ["--pipes", "3"], ["--pipes", "3:4", "--udp"], ["--pipes", "3:4", "--unix", "/tmp/x"],
        ["--spawn", "/bin/true"],
    ])
    func nonsenseIsRefused(arguments: [String]) {
        #expect(throws: (any Error).self) { try ServeEcho.parse(arguments) }
    }

    @Test func pipesAndAProgramAreRead() throws {
        let command = try ServeEcho.parse(["--pipes", "3:4,5:6", "--spawn", "/bin/true"])
        #expect(command.pipes?.text == "3:4,5:6")
        #expect(command.spawn == "/bin/true")
    }
}
