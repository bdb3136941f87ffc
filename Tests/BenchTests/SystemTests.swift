// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import gyre_bench

@Suite struct SystemTests {
    @Test func cpuListsAreRead() {
        #expect(System.parseList("0,4-6\n") == [0, 4, 5, 6])
        #expect(System.parseList("") == [])
        #expect(System.parseList("7-3") == [])
    }

    @Test func serverAndLoadGetDifferentCPUsWhereThereAreTwo() {
        let pair = System.pair
        #expect(System.allowedCPUs.contains(pair.server))
        #expect((pair.server != pair.load) == (System.allowedCPUs.count > 1))
    }
}

@Suite struct ChildProcessTests {
    private func shell(_ script: String, cpu: Int? = nil) throws -> ChildProcess {
        try ChildProcess(["/bin/sh", "-c", script], cpu: cpu)
    }

    @Test func linesStatusAndErrorsComeBack() throws {
        let child = try shell("echo one; printf 'two\\nrest'; echo oops >&2; exit 7")
        #expect(try child.readLine(timeout: 10) == "one")
        #expect(try child.readLine(timeout: 10) == "two")
        #expect(try child.readLine(timeout: 10) == nil)
        #expect(child.collect().status == 7)
        #expect(child.reason == ": oops")
    }

    @Test func itInheritsWhatItIsTo() throws {
        let pipes = try PipePairs(count: 2)
        let server = pipes.server[1]
        let child = try ChildProcess(
            ["/bin/sh", "-c", "cat /dev/fd/\(server.input) > /dev/fd/\(server.output)"],
            inherited: pipes.server.descriptors)
        pipes.closeServer()
        let sent = Array("there and back".utf8)
        #expect(write(pipes.load[1].output, sent, sent.count) == sent.count)
        var received = [UInt8](repeating: 0, count: 100)
        let count = read(pipes.load[1].input, &received, received.count)
        #expect(Array(received.prefix(max(0, count))) == sent)
        child.signal(SIGKILL)
        #expect(child.collect().status == 128 + SIGKILL)
    }

    @Test func theTimeOfItsChildrenIsReadToo() throws {
        let child = try shell(
            "sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done'; echo done; exec sleep 60")
        #expect(try child.readLine(timeout: 60) == "done")
        #expect(child.childrenCPUSeconds > 0)
    }

    @Test(arguments: ["", "1", "1:", ":1", "1:2,", "1:2:3", "a:b", "-1:2", "1:-2", "1:2;3:4"])
    func nonsensePipesAreRefused(list: String) {
        #expect(throws: BenchError.self) { try PipePair.parse(list: list) }
    }

    @Test func pipesAreNamedAsTheyAreRead() throws {
        let pairs = [PipePair(input: 3, output: 9), PipePair(input: 10, output: 4)]
        #expect(pairs.text == "3:9,10:4")
        #expect(try PipePair.parse(list: pairs.text) == pairs)
    }

    @Test func aProgramThatIsNotThereIsAnError() {
        #expect(throws: BenchError.self) { try ChildProcess(["/no/such/program"]) }
    }

    @Test func aSilentProgramIsAnError() throws {
        let child = try shell("exec sleep 60")
        #expect(throws: BenchError.self) { try child.readLine(timeout: 0.05) }
        child.signal(SIGTERM)
        #expect(child.collect().status == 128 + SIGTERM)
    }

    @Test func itRunsOnItsCPUOnly() throws {
        let cpu = try #require(System.allowedCPUs.last)
        let child = try shell("grep Cpus_allowed_list /proc/self/status", cpu: cpu)
        #expect(try child.readLine(timeout: 10)?.split(separator: "\t").last == "\(cpu)")
    }

    @Test func itsTimesAreReadAlsoAfterItsEnd() throws {
        let child = try shell("i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done")
        child.awaitEnd()
        #expect(child.runDelaySeconds >= 0)
        #expect(child.collect().cpuSeconds > 0)
    }

    @Test func itDiesWithItsOwner() throws {
        var child: ChildProcess? = try shell("exec sleep 60")
        let pid = try #require(child?.pid)
        #expect(kill(pid, 0) == 0)
        child = nil
        #expect(kill(pid, 0) == -1)
    }
}
