// SPDX-License-Identifier: Apache-2.0

import Foundation
import Gyre
import TestPrograms
import Testing

/// Every program of `Sources/Examples`, run as its reader would, on every loop of this machine.
@Suite("Examples", .serialized)
struct ExampleTests {
    private static let policies = ["io_uring", "epoll", "dispatch"]

    private let environment = ProcessInfo.processInfo.environment

    private func skipUnlessAvailable(_ name: String) throws {
        let required = environment["GYRE_REQUIRE_POLICIES"] ?? ""
        guard !required.split(separator: ",").contains(name[...]) else { return }
        if case .failure(let reason) = try LoopPolicy(named: name).probe() {
            try Test.cancel("\(name) is not available here: \(reason)")
        }
    }

    /// The example called `name`, which was built beside the tests.
    private func start(
        _ name: String, _ arguments: [String] = [], policy: String? = nil
    ) throws -> Program {
        var environment = environment
        environment["GYRE_LOOP"] = policy
        return try Program(
            Program.path("gyre-example-\(name)"), arguments, environment: environment)
    }

    @Test("StopOnInterrupt ticks until it is interrupted", arguments: policies, [SIGINT, SIGTERM])
    func stopOnInterrupt(policy: String, signal: CInt) throws {
        try skipUnlessAvailable(policy)
        let program = try start("stop-on-interrupt", policy: policy)
        #expect(program.readLine() == "press Ctrl-C to stop")
        #expect(program.readLine() == "tick 1")
        #expect(program.readLine() == "tick 2")
        program.send(signal)
        let last = program.readToEnd().last ?? "nothing"
        let match = try #require(
            last.wholeMatch(of: /stopped after (\d+) ticks/), "its last line is: \(last)")
        #expect(try #require(Int(match.1)) >= 2)
        #expect(program.wait() == 0)
    }

    @Test("PolicySwap runs on the loop that is named", arguments: policies)
    func policySwap(policy: String) throws {
        try skipUnlessAvailable(policy)
        let program = try start("policy-swap", [policy], policy: "epoll")
        #expect(program.readLine() == "runs on \(policy), asked for by parameter")
        #expect(program.readToEnd() == ["the timer was on time"])
        #expect(program.wait() == 0)
    }

    @Test("PolicySwap runs on the loop of the operator", arguments: policies)
    func operatorsChoice(policy: String) throws {
        try skipUnlessAvailable(policy)
        let program = try start("policy-swap", policy: policy)
        #expect(program.readLine() == "runs on \(policy), asked for by GYRE_LOOP")
        #expect(program.readToEnd() == ["the timer was on time"])
        #expect(program.wait() == 0)
    }

    @Test("PolicySwap refuses a policy that does not exist, and lists those that do")
    func unknownPolicy() throws {
        let program = try start("policy-swap", ["kqueue"])
        let line = try #require(program.readLine())
        #expect(line.hasPrefix("no loop: "))
        #expect(line.contains("\"kqueue\" is none of automatic, io_uring, epoll, dispatch"))
        #expect(program.wait() == 1)
    }

    @Test("Echo serves clients written with CPython's asyncio", arguments: policies)
    func echo(policy: String) throws {
        try skipUnlessAvailable(policy)
        let python = try pythonOrSkip()
        let server = try start("echo", ["0"], policy: policy)
        let line = server.readLine() ?? "nothing"
        let match = try #require(
            line.wholeMatch(of: /listening on 127\.0\.0\.1:(\d+), driven by (\w+) .*/),
            "its first line is: \(line)")
        #expect(match.2 == policy)
        let script = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "echo_client.py").path()
        let client = try Program(python, [script, String(match.1)], environment: environment)
        #expect(client.readToEnd() == ["64 connections echoed 71368704 bytes"])
        #expect(client.wait() == 0)
        server.send(SIGINT)
        #expect(server.readToEnd() == ["stopped"])
        #expect(server.wait() == 0)
    }

    private func pythonOrSkip() throws -> String {
        for folder in (environment["PATH"] ?? "").split(separator: ":") {
            let path = "\(folder)/python3"
            if FileManager.default.isExecutableFile(atPath: path) { return path }
        }
        try Test.cancel("there is no python3 here")
    }
}
