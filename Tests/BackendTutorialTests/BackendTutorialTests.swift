// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreTesting
import Testing

/// The backend of the article shows every behaviour of a loop.
@Suite("The backend of the article \"Adding a backend\"")
struct BackendTutorialTests {
    private static let kit = ConformanceKit(policy: "poll") { clock in
        let selection = LoopSelection(policy: "poll", requested: "poll", origin: "test")
        return try Loop(selection: selection, clock: clock) { operations throws(LoopError) in
            try PollBackend(operations: operations)
        }
    }

    @Test("Behaviour", arguments: Behaviour.all.filter { !$0.isProcessWide })
    func behaviour(_ behaviour: Behaviour) throws {
        try behaviour.check(Self.kit)
    }

    @Test("Behaviour in a process of its own", arguments: processWide)
    func processWideBehaviour(_ name: String) async {
        await #expect(processExitsWith: .success) { [name = name as String] in
            do {
                let behaviour = try #require(Behaviour.all.first { $0.name == name })
                try behaviour.check(Self.kit)
            } catch {
                Issue.record(error)
                exit(EXIT_FAILURE)
            }
        }
    }

    private static let processWide = Behaviour.all.filter(\.isProcessWide).map(\.name)
}
