// SPDX-License-Identifier: Apache-2.0

import Gyre
import Testing

/// The soak of two processes, for a short time.
@Suite("The soak")
struct SoakTests {
    @Test("Two processes account for every byte", arguments: PolicyUnderTest.usable)
    func twoProcesses(_ policy: PolicyUnderTest) throws {
        let command = try Command(
            "gyre-conformance",
            ["--policy", policy.policy.rawValue, "--soak", "2", "--connections", "200"])
        #expect(command.status == 0, "\(command.output)")
        #expect(command.output.contains("200 at once"), "\(command.output)")
    }
}
