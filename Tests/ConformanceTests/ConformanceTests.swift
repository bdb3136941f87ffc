// SPDX-License-Identifier: Apache-2.0

import Foundation
import GyreTesting
import Testing

/// Every behaviour of the conformance suite on every policy.
@Suite("Conformance")
struct ConformanceTests {
    @Test(
        "Behaviour",
        arguments: Behaviour.possible.filter { !$0.isProcessWide }, PolicyUnderTest.usable)
    func behaviour(_ behaviour: Behaviour, _ policy: PolicyUnderTest) throws {
        try behaviour.check(policy.kit)
    }

    /// Signals and open descriptors belong to the whole process, so each of these gets a process of
    /// its own: nothing else changes them meanwhile, and nothing is left behind.
    @Test(
        "Behaviour in a process of its own",
        arguments: Behaviour.possible.filter(\.isProcessWide), PolicyUnderTest.usable)
    func processWideBehaviour(_ behaviour: Behaviour, _ policy: PolicyUnderTest) async throws {
        let name = behaviour.name
        await #expect(processExitsWith: .success) {
            [name = name as String, policy = policy as PolicyUnderTest] in
            // Recorded, not thrown: what is thrown here would end the process by a trap.
            do {
                let behaviour = try #require(Behaviour.all.first { $0.name == name })
                try behaviour.check(policy.kit)
            } catch {
                Issue.record(error)
                exit(EXIT_FAILURE)
            }
        }
    }
}

extension Behaviour {
    static let hasIPv6 = FileManager.default.fileExists(atPath: "/proc/net/if_inet6")

    /// The behaviours that this machine can show.
    static let possible = all.filter { !$0.needsIPv6 || hasIPv6 }
}

@Suite("The list of behaviours")
struct CoverageTests {
    @Test(
        "Every behaviour is tried on this machine",
        .disabled(if: !Behaviour.hasIPv6, "those over IPv6 are not: this machine has none"))
    func everyBehaviourIsTried() {
        #expect(Behaviour.possible.count == Behaviour.all.count)
    }

    @Test("Every line is covered, or it is said why not")
    func everyLineIsCovered() {
        #expect(Coverage.mistakes(in: Behaviour.all) == [])
    }

    @Test("A line without behaviour and an excuse that is void are both found")
    func mistakesAreFound() throws {
        let all = Behaviour.all
        let withoutFirst = all.filter { !$0.numbers.contains(1) }
        #expect(Coverage.mistakes(in: withoutFirst).contains { $0.hasPrefix("line 1 is neither") })
        let first = try #require(all.first)
        #expect(Coverage.mistakes(in: all + [first]) == ["\(first.name) stands twice"])
    }

    @Test("Every function of the suite that checks a behaviour is listed, under its own name")
    func everyFunctionIsListed() throws {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        let folder = tests.appendingPathComponent("../../Sources/GyreTesting/Conformance")
        var names: [String] = []
        for file in try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil) where file.pathExtension == "swift"
        {
            let text = try String(contentsOf: file, encoding: .utf8)
            let pattern = /static func (\w+)\(_ kit: ConformanceKit\)/
            names += text.matches(of: pattern).map { String($0.output.1) }
        }
        #expect(names.count > 50)
        #expect(Set(names).subtracting(Behaviour.all.map(\.name)) == [])
    }
}
