// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore

/// Signals.
///
/// All of these change what the process shares.
enum Signals {
    static let behaviours: [Behaviour] = [
        signal(
            "aSignalHandlerIsACallbackOnTheLoop", [110], aSignalHandlerIsACallbackOnTheLoop),
        signal("aSecondHandlerReplacesTheFirst", [111], aSecondHandlerReplacesTheFirst),
        signal(
            "removingAHandlerRestoresTheDefault", [111], removingAHandlerRestoresTheDefault),
        signal(
            "signalsThatCannotBeHandledAreRefused", [112], signalsThatCannotBeHandledAreRefused),
        signal("aSignalWakesABlockedLoop", [113], aSignalWakesABlockedLoop),
        signal("closingRestoresTheDispositions", [114], closingRestoresTheDispositions),
        signal("everySignalOfABurstIsHandled", [110], everySignalOfABurstIsHandled),
        signal("aSignalIsHandledByOneLoop", [], aSignalIsHandledByOneLoop),
        signal("aSignalDuringAWaitIsAbsorbed", [], aSignalDuringAWaitIsAbsorbed),
        signal(
            "aHandlerThatIsReleasedMayRemoveItself", [111], aHandlerThatIsReleasedMayRemoveItself),
    ]

    private static func signal(
        _ name: String, _ numbers: [Int],
        _ body: @escaping @Sendable (ConformanceKit) throws -> Void
    ) -> Behaviour {
        Behaviour(name, numbers, .signals, isProcessWide: true, body)
    }

    // MARK: Dispositions

    private enum Disposition: Equatable {
        case standard
        case ignored
        case handler(UInt)
    }

    private static func disposition(of signal: CInt) -> Disposition {
        var action = sigaction()
        sigaction(signal, nil, &action)
        guard let handler = action.__sigaction_handler.sa_handler else { return .standard }
        // SAFETY: a C function's address is a number of this size; it is compared, never called.
        let address = unsafeBitCast(handler, to: UInt.self)
        return address == 1 ? .ignored : .handler(address)
    }

    /// Raises `signal` for the process, as another process would.
    private static func raiseForProcess(_ signal: CInt) throws {
        try expect(kill(getpid(), signal), equals: 0, "kill")
    }

    // MARK: Behaviours

    static func aSignalHandlerIsACallbackOnTheLoop(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var order: [String] = []
        try loop.addSignalHandler(SIGTERM) {
            order.append(Loop.current === loop && loop.handle.isOnLoop ? "handler" : "elsewhere")
            loop.callSoon {
                order.append("callback of the handler")
                loop.stop()
            }
        }
        loop.callSoon {
            try raiseForProcess(SIGTERM)
            order.append("raised")
        }
        try kit.run(loop)
        try expect(order, equals: ["raised", "handler", "callback of the handler"])
        // An error that it throws is treated as that of any callback.
        var reports = 0
        loop.exceptionHandler = { _, _ in reports += 1 }
        try loop.addSignalHandler(SIGTERM) {
            loop.callSoon { loop.stop() }
            throw LoopError(.invalidArgument, operation: "a test", detail: "on purpose")
        }
        loop.callSoon { try raiseForProcess(SIGTERM) }
        try kit.run(loop)
        try expect(reports, equals: 1, "reports of a handler that threw")
        try loop.close()
    }

    static func aSecondHandlerReplacesTheFirst(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let live = LiveObjects()
        var calls: [String] = []
        try loop.addSignalHandler(SIGUSR1, live.closure { calls.append("first") })
        try loop.addSignalHandler(SIGUSR1) {
            calls.append("second")
            loop.stop()
        }
        try expect(live.count, equals: 0, "replaced handlers alive")
        loop.callSoon { try raiseForProcess(SIGUSR1) }
        try kit.run(loop)
        try expect(calls, equals: ["second"])
        try loop.close()
    }

    static func removingAHandlerRestoresTheDefault(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let live = LiveObjects()
        Glibc.signal(SIGUSR1, SIG_IGN)
        try loop.addSignalHandler(SIGUSR1, live.closure())
        try expect(disposition(of: SIGUSR1) != .ignored, "the signal is still ignored")
        try expect(try loop.removeSignalHandler(SIGUSR1), "there was a handler")
        try expect(disposition(of: SIGUSR1), equals: .standard, "after the removal")
        try expect(live.count, equals: 0, "removed handlers alive")
        try expect(!(try loop.removeSignalHandler(SIGUSR1)), "a handler was removed twice")
        try expect(!(try loop.removeSignalHandler(SIGUSR2)), "there was no handler")
        try expect(disposition(of: SIGUSR1), equals: .standard, "after the second removal")
        // It can be handled again.
        try loop.addSignalHandler(SIGUSR1) { loop.stop() }
        loop.callSoon { try raiseForProcess(SIGUSR1) }
        try kit.run(loop)
        try loop.close()
        try expect(disposition(of: SIGUSR1), equals: .standard, "after closing")
    }

    static func signalsThatCannotBeHandledAreRefused(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        for number in [SIGKILL, SIGSTOP] {
            try expectError(.uncatchableSignal) { try loop.addSignalHandler(number) {} }
            try expectError(.uncatchableSignal) { try loop.removeSignalHandler(number) }
        }
        for number: CInt in [0, -1, 65, 1000, .max, .min] {
            try expectError(.invalidSignal) { try loop.addSignalHandler(number) {} }
            try expectError(.invalidSignal) { try loop.removeSignalHandler(number) }
        }
        // The C library keeps 32 and 33 for itself and lets nobody catch them.
        try expectError(.uncatchableSignal) { try loop.addSignalHandler(32) {} }
        try loop.addSignalHandler(64) {}
        try expect(try loop.removeSignalHandler(64), "the last real-time signal can be handled")
        try loop.close()
    }

    static func aSignalWakesABlockedLoop(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var calls = 0
        try loop.addSignalHandler(SIGUSR1) {
            calls += 1
            loop.stop()
        }
        let state = ThreadState.current
        let handle = loop.handle
        let sent = SharedValue<LoopClock.Instant?>(nil)
        let thread = try TestThread {
            try state.waitUntilAsleep(in: handle)
            sent.value = LoopClock.monotonic.now
            try raiseForProcess(SIGUSR1)
        }
        let outcome = Result { try kit.run(loop) }
        try thread.join()
        try outcome.get()
        try expect(calls, equals: 1)
        guard let sent = sent.value else { throw ConformanceFailure("nothing was sent") }
        let latency = sent.duration(to: loop.now)
        try expect(latency < .seconds(5), "the loop needed \(latency) to wake up")
        try loop.close()
    }

    /// A signal that somebody else handles interrupts the system call in which the loop waits.
    static func aSignalDuringAWaitIsAbsorbed(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in }
        sigaction(SIGUSR1, &action, nil)
        defer { Glibc.signal(SIGUSR1, SIG_DFL) }
        // Threads that run tests have signals blocked.
        var wanted = sigset_t()
        sigemptyset(&wanted)
        sigaddset(&wanted, SIGUSR1)
        pthread_sigmask(SIG_UNBLOCK, &wanted, nil)

        let state = ThreadState.current
        let loopThread = pthread_self()
        let handle = loop.handle
        let pair = SocketPair()
        var reads = 0
        var isEarly = false
        let deadline = loop.now.advanced(by: .milliseconds(20))
        loop.callAt(deadline) { isEarly = loop.now < deadline }
        try loop.addReader(pair.near) {
            reads += 1
            pair.receiveAtNear()
        }
        let ticks = SharedValue<UInt64>(0)
        let thread = try TestThread {
            for _ in 0..<50 {
                try state.waitUntilAsleep(in: handle)
                pthread_kill(loopThread, SIGUSR1)
            }
            try handle.callSoonThreadSafe { loop in
                ticks.value = loop.statistics.ticks
                loop.stop()
            }
        }
        loop.callSoon { pair.sendToNear() }
        let outcome = Result { try kit.run(loop) }
        try thread.join()
        try outcome.get()
        try expect(!isEarly, "a timer fired early")
        try expect(reads, equals: 1, "calls of the reader")
        try expect(ticks.value < 500, "\(ticks.value) iterations for 50 signals")
        try loop.close()
    }

    static func closingRestoresTheDispositions(_ kit: ConformanceKit) throws {
        Glibc.signal(SIGUSR1, SIG_IGN)
        Glibc.signal(SIGUSR2) { _ in }
        Glibc.signal(SIGHUP, SIG_DFL)
        let signals = [SIGUSR1, SIGUSR2, SIGHUP]
        let before = signals.map(disposition)
        let loop = try kit.makeLoop()
        for number in signals { try loop.addSignalHandler(number) { loop.stop() } }
        try expect(
            zip(signals, before).allSatisfy { disposition(of: $0) != $1 },
            "a disposition was not changed")
        // Replacing a handler does not make the loop's own disposition the one to restore.
        try loop.addSignalHandler(SIGUSR2) { loop.stop() }
        loop.callSoon { try raiseForProcess(SIGUSR2) }
        try kit.run(loop)
        try loop.close()
        try expect(signals.map(disposition), equals: before, "after closing")
        // A loop that is let go instead of closed does the same.
        do {
            let loop = try kit.makeLoop()
            try loop.addSignalHandler(SIGUSR1) {}
            try expect(disposition(of: SIGUSR1) != .ignored, "the disposition was not changed")
        }
        try expect(signals.map(disposition), equals: before, "after the loop was let go")
        for number in signals { Glibc.signal(number, SIG_DFL) }
    }

    static func everySignalOfABurstIsHandled(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let signals = [SIGUSR1, SIGUSR2, SIGHUP, SIGTERM, SIGINT, SIGCHLD]
        // Some of them may arrive, on another thread, after the loop has given them back.
        for number in signals { Glibc.signal(number, SIG_IGN) }
        defer { for number in signals { Glibc.signal(number, SIG_DFL) } }
        var counts: [CInt: Int] = [:]
        for number in signals {
            try loop.addSignalHandler(number) {
                counts[number, default: 0] += 1
                if counts.count == signals.count { loop.stop() }
            }
        }
        loop.callSoon {
            for _ in 0..<100 { for number in signals { try raiseForProcess(number) } }
        }
        try kit.run(loop)
        // Standard signals merge while they are pending, so there is only a least and a most.
        try expect(
            signals.allSatisfy { (1...100).contains(counts[$0] ?? 0) }, "calls: \(counts)")
        try loop.close()
    }

    static func aSignalIsHandledByOneLoop(_ kit: ConformanceKit) throws {
        let first = try kit.makeLoop()
        let second = try kit.makeLoop()
        try first.addSignalHandler(SIGUSR1) { first.stop() }
        try expectError(.inUse) { try second.addSignalHandler(SIGUSR1) {} }
        try expect(!(try second.removeSignalHandler(SIGUSR1)), "it was the other loop's")
        try second.addSignalHandler(SIGUSR2) { second.stop() }
        for (loop, number) in [(first, SIGUSR1), (second, SIGUSR2)] {
            loop.callSoon { try raiseForProcess(number) }
            try kit.run(loop)
        }
        // Free again when the first is closed.
        try first.close()
        try second.addSignalHandler(SIGUSR1) { second.stop() }
        second.callSoon { try raiseForProcess(SIGUSR1) }
        try kit.run(second)
        try second.close()
        try expect(disposition(of: SIGUSR1), equals: .standard)
    }

    static func aHandlerThatIsReleasedMayRemoveItself(_ kit: ConformanceKit) throws {
        final class Owner {
            let loop: Loop
            init(loop: Loop) { self.loop = loop }
            func touch() {}
            deinit { _ = try? loop.removeSignalHandler(SIGUSR2) }
        }
        let loop = try kit.makeLoop()
        for _ in 0..<3 {
            let owner = Owner(loop: loop)
            try loop.addSignalHandler(SIGUSR1) { owner.touch() }
        }
        try loop.addSignalHandler(SIGUSR1) { loop.stop() }
        loop.callSoon { try raiseForProcess(SIGUSR1) }
        try kit.run(loop)
        let owner = Owner(loop: loop)
        try loop.addSignalHandler(SIGUSR1) { owner.touch() }
        try loop.close()
    }
}
