// SPDX-License-Identifier: Apache-2.0

import Foundation
import GyreTesting
import Testing

/// Every behaviour of the conformance suite on every policy.
@Suite("Conformance")
struct ConformanceTests {
    @Test(
        "Behaviour",
        arguments: Behaviour.all.filter { !$0.isProcessWide }, PolicyUnderTest.all)
    func behaviour(_ behaviour: Behaviour, _ policy: PolicyUnderTest) throws {
        try policy.skipUnlessAvailable()
        try behaviour.check(policy.kit)
    }

    /// Signals and open descriptors belong to the whole process, so each of these gets a process of
    /// its own: nothing else changes them meanwhile, and nothing is left behind.
    @Test(
        "Behaviour in a process of its own",
        arguments: Behaviour.all.filter(\.isProcessWide), PolicyUnderTest.all)
    func processWideBehaviour(_ behaviour: Behaviour, _ policy: PolicyUnderTest) async throws {
        try policy.skipUnlessAvailable()
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
