// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreNet
import GyreTasks

/// The end of a connection of a soak that is a task: it sends and receives as the others do, until
/// it is done or cancelled.
final class SoakTask {
    private let clients: SoakClients
    private let plan: SoakPlan
    private var sent = 0
    private var received = 0

    init(_ clients: SoakClients, _ plan: SoakPlan) {
        self.clients = clients
        self.plan = plan
    }

    func talk(_ host: String, _ port: Int) async {
        var failure: (any Error)?
        do {
            try await withConnection(to: host, port: port) { connection in
                try await exchange(connection)
            }
        } catch {
            failure = error
        }
        if let failure = failure as? ConformanceFailure { clients.fail(failure.description) }
        clients.clientEnded(plan, sent: sent, received: received, failure)
    }

    private func exchange(_ connection: LoopConnection) async throws {
        var random = plan.clientRandom
        try await connection.write(plan.header)
        while sent < plan.upload {
            let count = min(plan.upload - sent, 1 + random.next(below: 8000))
            let bytes = pattern(count, seed: plan.uploadSeed + sent)
            // Taken before it waits, whatever comes then.
            sent += count
            try await connection.write(bytes)
            try await sleep(clients.pause(&random))
        }
        try await connection.writeEOF()
        while let chunk = try await connection.read() {
            try expectPattern(
                Array(chunk), count: chunk.count, seed: plan.fileOffset + received)
            received += chunk.count
            if random.next(below: 8) == 0 { try await sleep(clients.pause(&random)) }
        }
    }
}
