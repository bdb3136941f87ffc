// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import gyre_bench

@Suite struct CellTests {
    @Test func casesAreNamedAsTheyAreRead() throws {
        for cell in Cell.all + Cell.others { #expect(try Cell.parse(list: cell.name) == [cell]) }
        #expect(Cell.all.map(\.name).first == "1k/10")
    }

    @Test func otherTransportsAreNamed() throws {
        let cells = try Cell.parse(list: "udp-1k-10,unix-1k/200,tcp-1k-10,unix-1k-200")
        #expect(cells.map(\.name) == ["udp-1k-10", "unix-1k-200", "1k/10"])
        #expect(cells.map(\.workload) == [.udp, .unix, .tcp])
        #expect(try Cell.parse(list: "unix-1k").map(\.connections) == [10, 200, 1000])
    }

    @Test func pipesConnectionsAndProcessesAreNamed() throws {
        let cells = try Cell.parse(list: "pipe-64k-2,accept-16,spawn-8")
        #expect(cells.map(\.name) == ["pipe-64k-2", "accept-16", "spawn-8"])
        #expect(cells.map(\.messageBytes) == [64 << 10, 1, 1])
        #expect(cells.map(\.connections) == [2, 16, 8])
        #expect(cells.map(\.workload.unit) == [.mebibyte, .connection, .process])
        #expect(cells.map(\.unitsPerMessage) == [1.0 / 16, 1, 1])
        #expect(try Cell.parse(list: "pipe-1k").map(\.name) == ["pipe-1k-4"])
    }

    @Test func aKindAloneTakesItsUsualCases() throws {
        for workload in Workload.allCases {
            let cells = try Cell.parse(list: workload.rawValue)
            #expect(!cells.isEmpty)
            #expect(Set(cells.map(\.workload)) == [workload])
        }
        #expect(try Cell.parse(list: "tcp") == Cell.all)
    }

    @Test func listsAreRead() throws {
        let cells = try Cell.parse(list: "1m/3, 700/1,1k/10,1K/10")
        #expect(cells.map(\.name) == ["1m/3", "700/1", "1k/10"])
        #expect(cells.map(\.messageBytes) == [1 << 20, 700, 1024])
    }

    @Test func aSizeAloneTakesItsUsualCases() throws {
        #expect(try Cell.parse(list: "1k").map(\.connections) == [10, 200, 1000])
    }

    @Test(arguments: [
        "", ",", "1k/", "/10", "1k/0", "0/10", "-1/10", "1g/10", "1k/10/10", "3k", "k/10",
        "udp-", "udp-1k-0", "sctp-1k-10", "spawn-", "spawn-0", "spawn-300", "spawn-1k-8",
        "accept-1k", "accept-x", "pipe-", "pipe-64k-0", "pipe-64k-300",
        "1k/70000", "1000m/1", "99999999999999999999/1",
    ])
    func nonsenseIsRefused(list: String) {
        #expect(throws: BenchError.self) { try Cell.parse(list: list) }
    }
}

@Suite struct PlanTests {
    @Test func everyRoundHasEveryServerInEveryCellOnce() {
        let plan = Plan.full(cells: Cell.all, contenders: 8)
        for round in 0..<plan.rounds {
            for cell in Cell.all {
                let steps = plan.steps.filter { $0.round == round && $0.cell == cell }
                #expect(steps.map(\.contender).sorted() == Array(0..<8))
            }
        }
        #expect(plan.steps.count == plan.runCount)
    }

    @Test func anotherServerIsFirstInEachRound() {
        let plan = Plan.full(cells: [Cell.all[0]], contenders: 5)
        let first = plan.steps.enumerated().filter { $0.offset % 5 == 0 }.map(\.element.contender)
        #expect(Set(first).count == 5)
    }

    @Test func theServersOfACellFollowEachOther() {
        let plan = Plan.full(cells: Cell.all, contenders: 3)
        for start in stride(from: 0, to: plan.steps.count, by: 3) {
            #expect(Set(plan.steps[start..<start + 3].map(\.cell)).count == 1)
        }
    }

    @Test(arguments: [1, 2, 8, 10])
    func theQuickPlanTakesTwoMinutes(contenders: Int) {
        let plan = Plan.quick(cells: Cell.all, contenders: contenders)
        #expect(plan.estimatedSeconds <= 121)
        #expect(plan.seconds >= 0.25)
        #expect(plan.rounds == 3)
    }

    @Test func theUsersNumbersGoFirst() {
        let plan = Plan.quick(cells: Cell.all, contenders: 2).with(rounds: 7, seconds: nil)
        #expect(plan.rounds == 7)
        #expect(plan.with(rounds: nil, seconds: 0.5).seconds == 0.5)
    }
}

@Suite struct PeerGroupTests {
    @Test func groupsAreRead() throws {
        #expect(try PeerGroup.parse(list: "raw, python") == [.raw, .python])
        #expect(try PeerGroup.parse(list: "none").isEmpty)
        #expect(throws: BenchError.self) { try PeerGroup.parse(list: "raw,tokio") }
    }
}
