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
    }

    func waitForExit() async throws -> CInt {
        while true {
            if let code = process.returnCode { return code }
            let exit = LoopFuture<Void>(on: loop)
            process.whenExited { if !exit.isDone { try? exit.setResult(()) } }
            try await exit.value
        }
    }
}
