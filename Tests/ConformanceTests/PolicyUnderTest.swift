// SPDX-License-Identifier: Apache-2.0

import CGyre
import Foundation
import Gyre
import GyreCore
import GyreTesting
import Testing

/// A policy, as the tests that run on all of them take it.
///
/// One that this machine does not give is left out, and a test for it is skipped with the reason.
/// When the environment variable `GYRE_REQUIRE_POLICIES` names it (`io_uring,epoll,dispatch`), it
/// stays, so the tests fail.
struct PolicyUnderTest: Sendable, Codable, CustomTestStringConvertible {
    let name: String

    /// The ring without what kernels before 6.12 do not have: its own way through the backend,
    /// which no newer kernel takes by itself.
    private static let oldRing = "io_uring as on Linux 6.0"

    #if IOUring
    private static let names = ["io_uring", oldRing, "epoll", "dispatch"]
    #else
    private static let names = ["epoll", "dispatch"]
    #endif

    /// The policies to run tests on.
    static let usable = names.map(PolicyUnderTest.init).filter { $0.reasonToSkip == nil }

    var testDescription: String { name }

    var policy: LoopPolicy {
        get throws { try name == Self.oldRing ? .ioUring : LoopPolicy(named: name) }
    }

    /// Why no test runs on it, or nil when tests do.
    var reasonToSkip: String? {
        guard let policy = try? policy, !Self.required.contains(policy.rawValue),
            case .failure(let reason) = policy.probe()
        else { return nil }
        return "\(name) is not available here: \(reason)"
    }

    static let required: Set<String> = {
        let value = ProcessInfo.processInfo.environment["GYRE_REQUIRE_POLICIES"] ?? ""
        return Set(value.split(separator: ",").map(String.init))
    }()

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

@Suite("Policies of this machine")
struct PolicyAvailabilityTests {
    private static let ioUring = PolicyUnderTest(name: "io_uring").reasonToSkip
    private static let epoll = PolicyUnderTest(name: "epoll").reasonToSkip
    private static let dispatch = PolicyUnderTest(name: "dispatch").reasonToSkip

    @Test("Tests run on io_uring", .disabled(if: ioUring != nil, "\(ioUring ?? "")"))
    func ioUringIsUsable() throws {
        try check("io_uring")
    }

    @Test("Tests run on epoll", .disabled(if: epoll != nil, "\(epoll ?? "")"))
    func epollIsUsable() throws {
        try check("epoll")
    }

    @Test("Tests run on dispatch", .disabled(if: dispatch != nil, "\(dispatch ?? "")"))
    func dispatchIsUsable() throws {
        try check("dispatch")
    }

    private func check(_ name: String) throws {
        #expect(PolicyUnderTest.usable.contains { $0.name == name })
        let selection = try LoopPolicy(named: name).probe().get()
        #expect(selection.policy == name)
    }

    @Test("GYRE_REQUIRE_POLICIES names policies that exist")
    func requiredPoliciesExist() throws {
        for name in PolicyUnderTest.required { _ = try LoopPolicy(named: name) }
    }
}
