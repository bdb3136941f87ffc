// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreTasks

/// Signals as a sequence.
enum SignalSequences {
    static let behaviours: [Behaviour] = [
        Behaviour("signalsAreASequence", [], .signals, isProcessWide: true, signalsAreASequence),
        Behaviour(
            "signalsOfACancelledTaskAreGivenBack", [], .signals, isProcessWide: true,
            signalsOfACancelledTaskAreGivenBack),
        Behaviour(
            "aSignalThatIsHandledIsNoSequence", [], .signals, isProcessWide: true,
            aSignalThatIsHandledIsNoSequence),
    ]

    /// Whether a signal has a handler.
    private static func isHandled(_ signal: CInt) -> Bool {
        var action = sigaction()
        sigaction(signal, nil, &action)
        return action.__sigaction_handler.sa_handler != nil
    }

    static func signalsAreASequence(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask { () async throws -> [CInt] in
            var numbers: [CInt] = []
            let signals = try Loop.running.signals(SIGUSR1, SIGUSR2)
            // Kept until somebody waits; the second of the same number is not counted.
            raiseHere(SIGUSR1)
            try await sleep(.milliseconds(1))
            raiseHere(SIGUSR1)
            try await sleep(.milliseconds(1))
            Loop.running.callLater(.milliseconds(1)) { raiseHere(SIGUSR2) }
            for try await signal in signals {
                numbers.append(signal)
                if numbers.count == 2 { break }
            }
            return numbers
        }
        try expect(try kit.complete(task, on: loop), equals: [SIGUSR1, SIGUSR2])
        try kit.drain(loop)
        try expect(!isHandled(SIGUSR1) && !isHandled(SIGUSR2), "they are given back")
    }

    static func signalsOfACancelledTaskAreGivenBack(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            for try await _ in try Loop.running.signals(SIGUSR1) {}
        }
        try kit.drain(loop)
        try expect(isHandled(SIGUSR1), "it is handled while the task waits")
        task.cancel()
        try expectError(CancellationError.self) { try kit.complete(task, on: loop) }
        try kit.drain(loop)
        try expect(!isHandled(SIGUSR1), "it is given back")
    }

    static func aSignalThatIsHandledIsNoSequence(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        try loop.addSignalHandler(SIGUSR2) {}
        try expectError(.inUse) { _ = try loop.signals(SIGUSR1, SIGUSR2) }
        try expect(!isHandled(SIGUSR1), "none of them is held")
        try expect(try loop.removeSignalHandler(SIGUSR2), "the handler stayed")
        do {
            let signals = try loop.signals(SIGUSR1)
            // A handler that comes later is not taken away with the sequence.
            try loop.addSignalHandler(SIGUSR1) {}
            withExtendedLifetime(signals) {}
        }
        try kit.drain(loop)
        try expect(try loop.removeSignalHandler(SIGUSR1), "the later handler stayed")
        try expectError(.uncatchableSignal) { _ = try loop.signals(SIGKILL) }
    }
}

/// Raises `signal` on this thread, where it is handled before this returns.
///
/// Sent to the process, it is handled by any thread, at any time later. Threads of Dispatch
/// block signals.
func raiseHere(_ signal: CInt) {
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, signal)
    pthread_sigmask(SIG_UNBLOCK, &signals, nil)
    raise(signal)
}
