// SPDX-License-Identifier: Apache-2.0

import Foundation
import Gyre
import GyreCore
import GyreTesting
import Testing

/// A policy, as the tests that run on all of them take it.
///
/// One that this machine does not give is skipped, visibly and with the reason. When the environment
/// variable `GYRE_REQUIRE_POLICIES` names it (`io_uring,epoll,dispatch`), nothing is skipped, so the
/// test fails.
struct PolicyUnderTest: Sendable, Codable, CustomTestStringConvertible {
    let name: String

    static let all = ["io_uring", "epoll", "dispatch"].map(PolicyUnderTest.init)

    var testDescription: String { name }

    var policy: LoopPolicy {
        get throws { try LoopPolicy(named: name) }
    }

    private static let unavailable: [String: LoopError] = {
        var reasons: [String: LoopError] = [:]
        for policy in all {
            guard let known = try? policy.policy else { continue }
            if case .failure(let reason) = known.probe() { reasons[policy.name] = reason }
        }
        return reasons
    }()

    private static let required: Set<String> = {
        let value = ProcessInfo.processInfo.environment["GYRE_REQUIRE_POLICIES"] ?? ""
        return Set(value.split(separator: ",").map(String.init))
    }()

    /// Leaves the test case when the machine lacks the policy and nobody requires it.
    func skipUnlessAvailable() throws {
        guard let reason = Self.unavailable[name], !Self.required.contains(name) else { return }
        try Test.cancel("\(name) is not available here: \(reason)")
    }

    /// What the conformance suite makes its loops with.
    var kit: ConformanceKit {
        ConformanceKit(policy: name) { clock in
            let policy = try policy
            let selection = LoopSelection(policy: name, requested: name, origin: "test")
            return try Loop(selection: selection, clock: clock) { operations throws(LoopError) in
                try BackendChoice.makeBackend(policy, operations)
            }
        }
    }
}

@Suite("The policies that are required")
struct RequiredPolicies {
    @Test("GYRE_REQUIRE_POLICIES names policies that exist")
    func requiredPoliciesExist() throws {
        let value = ProcessInfo.processInfo.environment["GYRE_REQUIRE_POLICIES"] ?? ""
        for name in value.split(separator: ",") {
            let policy = try LoopPolicy(named: String(name))
            #expect(throws: Never.self) { try policy.probe().get() }
        }
    }
}
