// SPDX-License-Identifier: Apache-2.0

import CGyre
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

    /// The ring without what kernels before 6.12 do not have: its own way through the backend, which
    /// no newer kernel takes by itself.
    private static let oldRing = "io_uring as on Linux 6.0"

    #if IOUring
    static let all = ["io_uring", oldRing, "epoll", "dispatch"].map(PolicyUnderTest.init)
    #else
    static let all = ["io_uring", "epoll", "dispatch"].map(PolicyUnderTest.init)
    #endif

    var testDescription: String { name }

    var policy: LoopPolicy {
        get throws { try name == Self.oldRing ? .ioUring : LoopPolicy(named: name) }
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
        guard let reason = Self.unavailable[name], !Self.required.contains(try policy.rawValue)
        else { return }
        try Test.cancel("\(name) is not available here: \(reason)")
    }

    /// What the conformance suite makes its loops with.
    var kit: ConformanceKit {
        ConformanceKit(policy: name) { clock in
            let policy = try policy
            let selection = LoopSelection(policy: name, requested: name, origin: "test")
            return try Loop(selection: selection, clock: clock) { operations throws(LoopError) in
                #if IOUring
                if name == Self.oldRing {
                    return try IOUringBackend(
                        operations: operations, options: IOUringBackend.optionsOfOldKernels)
                }
                #endif
                return try BackendChoice.makeBackend(policy, operations)
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
