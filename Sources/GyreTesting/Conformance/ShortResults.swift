// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// System calls that do less than they were asked for, or that a connection breaks in the middle
/// of.
enum ShortResults {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "aFileToABrokenConnectionRaisesNoSignal", [109], .sendingFiles,
            aFileToABrokenConnectionRaisesNoSignal)
    ]

    // MARK: Connections that break

    /// Runs `body` and checks that it raised no SIGPIPE on this thread.
    private static func expectNoSignal(_ body: () throws -> Void) throws {
        var signal = sigset_t()
        var before = sigset_t()
        sigemptyset(&signal)
        sigaddset(&signal, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signal, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        try body()
        var none = timespec()
        try expect(sigtimedwait(&signal, nil, &none), equals: -1, "SIGPIPE was raised")
    }

    /// The peer closed, and resets when the first bytes come: in the middle of one `sendfile`.
    static func aFileToABrokenConnectionRaisesNoSignal(_ kit: ConformanceKit) throws {
        let file = try TestFile(4 << 20)
        for method in [.native, .copying] as [LoopSendFileMethod] {
            for _ in 0..<3 {
                let pair = try ConnectedPair(kit)
                let loop = pair.loop
                pair.far.keepsOpen = true
                pair.far.onEnd = { loop.stop() }
                pair.nearTransport.close()
                if pair.far.count(of: .end) == 0 { try kit.run(loop) }
                var outcome: Result<Int, any Error>?
                try expectNoSignal {
                    pair.farTransport.sendFile(file.fd, method: method) {
                        outcome = $0
                        loop.stop()
                    }
                    try kit.run(loop)
                }
                let error = try expectError(LoopError.self) { _ = try outcome?.get() }
                let codes: Set<LoopError.Code> = [.connectionReset, .brokenPipe]
                try expect(codes.contains(error.code), "the file ended with \(error)")
                try pair.close()
            }
        }
    }
}
