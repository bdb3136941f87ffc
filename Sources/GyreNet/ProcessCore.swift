// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// What stands between the transport of a process, which calls, and tasks, which wait.
final class ProcessCore: @unchecked Sendable {
    // SAFETY: used on the loop's thread only: LoopProcess, which is what goes to other threads,
    // brings every call here. What does not change may be read anywhere.

    let loop: Loop
    let process: LoopSubprocessTransport
    /// The pipes to the standard streams, in their order.
    let pipes: [ConnectionCore?]
    private var exits: [LoopFuture<Void>] = []

    init(_ spawned: SpawnedProcess, loop: Loop, limit: Int) throws(LoopError) {
        self.loop = loop
        let pipes = spawned.pipes.map { fd in
            fd < 0 ? nil : ConnectionCore(on: loop, limit: limit) { _ in }
        }
        self.pipes = pipes
        process = try LoopSubprocessTransport(spawned, loop: loop, proto: nil) { number in
            // There is one for every pipe.
            pipes[Int(number)] ?? ConnectionCore(on: loop, limit: limit) { _ in }
        }
        process.begin()
        process.whenExited { [weak self] in self?.tellExit() }
    }

    /// How many tasks wait for the end, for tests.
    var waiterCount: Int { exits.count }

    func waitForExit() async throws -> CInt {
        while true {
            if let code = process.returnCode { return code }
            let exit = LoopFuture<Void>(on: loop)
            exits.append(exit)
            do { try await exit.value } catch {
                // The process may run for long, and be asked for again and again.
                exits.removeAll { $0 === exit }
                throw error
            }
        }
    }

    private func tellExit() {
        for exit in exits where !exit.isDone { try? exit.setResult(()) }
        exits = []
    }
}
