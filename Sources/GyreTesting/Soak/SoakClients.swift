// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreNet
import GyreTasks

/// The side of a soak that connects: keeps a number of connections open.
final class SoakClients: SoakSide {
    /// Told of each connection that ended, with the bytes that its client sent and received.
    typealias Ended = (SoakPlan, _ sent: Int, _ received: Int) -> Void

    private let servers: [SoakAddress]
    private let ended: Ended
    /// How many connections the servers have, where they are of this process.
    var acceptedCount: () -> Int = { 0 }
    private(set) var openCount = 0
    private(set) var openMaximum = 0
    private var number: UInt64 = 0
    private var isFilling = false

    init(
        _ loop: Loop, _ settings: SoakSettings, _ servers: [SoakAddress], _ ended: @escaping Ended
    ) {
        self.servers = servers
        self.ended = ended
        super.init(loop, settings)
    }

    /// Opens as many as are missing.
    func fill() {
        isFilling = false
        guard !isEnding else { return }
        // No more at once than the servers' backlog holds, nor while they still hold what the
        // clients have left: descriptors are counted.
        let connections = settings.connections
        let room = min(connections - openCount, 2 * connections - openCount - acceptedCount())
        for _ in 0..<max(0, min(64, room)) { start() }
        openMaximum = max(openMaximum, openCount)
        fillLater()
    }

    private func fillLater() {
        guard !isFilling, !isEnding, openCount < settings.connections else { return }
        isFilling = true
        loop.callLater(.milliseconds(1)) { [self] in fill() }
    }

    private func start() {
        number += 1
        openCount += 1
        let plan = settings.plan(number)
        let server = servers[Int(number % UInt64(servers.count))]
        switch plan.ending {
        case .taskEnds, .taskCancelled: startTask(plan, server)
        default: startClient(plan, server)
        }
    }

    private func startClient(_ plan: SoakPlan, _ server: SoakAddress) {
        let client = SoakClient(self, plan)
        let connecting = loop.createConnection(
            host: server.host, port: server.port, makeProtocol: { client },
            completion: { [self] outcome in
                guard case .failure(let error) = outcome else { return }
                if plan.ending == .connectCancelled, error.code == .cancelled {
                    clientEnded(plan, sent: 0, received: 0, nil)
                } else {
                    fail("connection \(plan.number) was not made: \(error)")
                }
            })
        guard plan.ending == .connectCancelled else { return }
        var random = plan.clientRandom
        loop.callLater(.microseconds(random.next(below: 3000))) {
            connecting.cancel()
            client.transport?.abort()
        }
    }

    private func startTask(_ plan: SoakPlan, _ server: SoakAddress) {
        let clients = LoopBound(self, on: loop.handle)
        let (host, port) = (server.host, server.port)
        // Begun at once, so that it tells how it ended however early it is cancelled.
        let task = loop.createTask(eager: true) {
            await SoakTask(clients.object, plan).talk(host, port)
        }
        if plan.ending == .taskCancelled {
            var random = plan.clientRandom
            loop.callLater(settings.pauseMaximum * Double(random.next(below: 2000)) / 1000) {
                task.cancel("the soak")
            }
        }
    }

    func clientEnded(_ plan: SoakPlan, sent: Int, received: Int, _ error: (any Error)?) {
        if plan.isClean, let error { fail("a client of \(plan.ending) ended with \(error)") }
        openCount -= 1
        ended(plan, sent, received)
        fillLater()
    }
}
