// SPDX-License-Identifier: Apache-2.0

import Gyre
import GyreCore
import Testing

/// Who decides which loop a program gets.
///
/// Each in a process of its own: the program's default can be set once, and the environment is the
/// process's.
@Suite("Policy")
struct PolicyTests {
    private func selection(
        _ arguments: [String] = [], loop: String? = nil
    ) throws -> Command {
        let environment = loop.map { [LoopPolicy.environmentVariable: $0] } ?? [:]
        return try Command(
            "gyre-conformance", ["--selection"] + arguments, environment: environment)
    }

    @Test("Without any choice the built-in default is automatic")
    func builtInDefault() throws {
        let command = try selection()
        #expect(command.status == 0, "\(command.output)")
        #expect(command.lines.contains("requested=automatic"))
        #expect(command.lines.contains("origin=built-in default"))
    }

    @Test("The program's default wins over the built-in one")
    func programDefault() throws {
        let command = try selection(["--default", "epoll"])
        #expect(command.lines.contains("policy=epoll"), "\(command.output)")
        #expect(command.lines.contains("origin=program default"))
    }

    @Test("The operator wins over the program's default", arguments: ["epoll", "dispatch"])
    func environmentWins(_ name: String) throws {
        let other = name == "epoll" ? "dispatch" : "epoll"
        let command = try selection(["--default", other], loop: name)
        #expect(command.lines.contains("policy=\(name)"), "\(command.output)")
        #expect(command.lines.contains("origin=GYRE_LOOP"))
    }

    @Test("A policy that is named where the loop is made wins over the operator")
    func parameterWins() throws {
        let command = try selection(["--policy", "epoll"], loop: "dispatch")
        #expect(command.lines.contains("policy=epoll"), "\(command.output)")
        #expect(command.lines.contains("origin=parameter"))
        // Even over one that would be an error.
        let despite = try selection(["--policy", "epoll"], loop: "nonsense")
        #expect(despite.lines.contains("policy=epoll"), "\(despite.output)")
    }

    @Test("An empty variable is no choice")
    func emptyVariable() throws {
        let command = try selection(["--default", "epoll"], loop: "")
        #expect(command.lines.contains("origin=program default"), "\(command.output)")
    }

    @Test("An unknown name in the variable is an error that lists the known ones")
    func unknownVariable() throws {
        let command = try selection(loop: "kqueue")
        #expect(command.status == 1)
        for name in LoopPolicy.allCases.map(\.rawValue) + ["kqueue", "unknownPolicy"] {
            #expect(command.output.contains(name), "\(command.output)")
        }
    }

    @Test("An unknown name is an error that lists the known ones")
    func unknownName() throws {
        let error = try #require(throws: LoopError.self) { try LoopPolicy(named: "Epoll") }
        #expect(error.code == .unknownPolicy)
        for policy in LoopPolicy.allCases { #expect("\(error)".contains(policy.rawValue)) }
        for policy in LoopPolicy.allCases {
            #expect(try LoopPolicy(named: policy.rawValue) == policy)
        }
    }

    @Test("The program's default can be set once")
    func defaultIsSetOnce() throws {
        let again = try selection(["--default", "epoll", "--default", "dispatch"])
        #expect(again.status == 1)
        #expect(again.output.contains("policyAlreadySet"), "\(again.output)")
        #expect(again.output.contains("epoll"))
        let same = try selection(["--default", "epoll", "--default", "epoll"])
        #expect(same.status == 0, "\(same.output)")
    }

    @Test("A probe of a policy agrees with making a loop of it", arguments: LoopPolicy.allCases)
    func probe(_ policy: LoopPolicy) throws {
        switch policy.probe() {
        case .success(let selection):
            let loop = try policy.makeLoop()
            #expect(loop.selection == selection)
            #expect(loop.selection.requested == policy.rawValue)
            try loop.close()
        case .failure(let reason):
            #expect(reason.code == .policyUnavailable)
            let error = #expect(throws: LoopError.self) { try policy.makeLoop() }
            #expect(error == reason)
        }
    }
}
