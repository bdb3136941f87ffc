// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import Synchronization

/// Handles, calls from other threads, errors of callbacks, debug mode.
enum HandlesAndThreads {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "aCallFromAnotherThreadWakesTheLoop", [25], .handlesAndThreads,
            aCallFromAnotherThreadWakesTheLoop),
        Behaviour(
            "callsOfManyThreadsAllRunEachThreadsInOrder", [25, 26], .handlesAndThreads,
            callsOfManyThreadsAllRunEachThreadsInOrder),
        Behaviour(
            "callSoonThreadSafeOnTheLoopKeepsItsPlace", [25], .handlesAndThreads,
            callSoonThreadSafeOnTheLoopKeepsItsPlace),
        Behaviour(
            "aCallbackThatThrowsIsReportedAndTheOthersRun", [27], .handlesAndThreads,
            aCallbackThatThrowsIsReportedAndTheOthersRun),
        Behaviour(
            "errorsOfTimersReadersAndRemoteCallsAreReported", [27], .handlesAndThreads,
            errorsOfTimersReadersAndRemoteCallsAreReported),
        Behaviour(
            "withoutAHandlerErrorsGoToTheDiagnosticSink", [27], .handlesAndThreads,
            withoutAHandlerErrorsGoToTheDiagnosticSink),
        Behaviour(
            "anExceptionHandlerThatThrowsIsReportedToo", [28], .handlesAndThreads,
            anExceptionHandlerThatThrowsIsReportedToo),
        Behaviour(
            "aSlowCallbackIsReportedInDebugMode", [32], .handlesAndThreads,
            aSlowCallbackIsReportedInDebugMode),
        Behaviour(
            "debugModeIsSwitchedWhileTheLoopRuns", [33], .handlesAndThreads,
            debugModeIsSwitchedWhileTheLoopRuns),
        Behaviour(
            "aHandleOutlivesItsLoop", [], .handlesAndThreads, aHandleOutlivesItsLoop),
    ]

    private struct Complaint: Error, Equatable {
        let number: Int
    }

    // MARK: Calls from other threads

    static func aCallFromAnotherThreadWakesTheLoop(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let handle = loop.handle
        let state = ThreadState.current
        let answered = Latch(isReusable: true)
        let latencies = SharedValue<[Duration]>([])
        let thread = try TestThread {
            for _ in 0..<50 {
                try state.waitUntilAsleep(in: handle)
                let called = LoopClock.monotonic.now
                try handle.callSoonThreadSafe { _ in
                    let latency = called.duration(to: LoopClock.monotonic.now)
                    latencies.update { $0.append(latency) }
                    answered.open()
                }
                try expect(answered.wait(), "the call never ran")
            }
            try handle.callSoonThreadSafe { $0.stop() }
        }
        let outcome = Result { try kit.run(loop) }
        try thread.join()
        try outcome.get()
        // The median: a machine that is busy otherwise may hold a single one up.
        let median = latencies.value.sorted()[25]
        try expect(median < .milliseconds(200), "the loop needs \(median) to wake up")
    }

    static func callsOfManyThreadsAllRunEachThreadsInOrder(_ kit: ConformanceKit) throws {
        let threadCount = 8
        let callCount = 2000
        let loop = try kit.makeLoop()
        let handle = loop.handle
        let next = SharedValue([Int](repeating: 0, count: threadCount))
        let disorder = SharedValue<String?>(nil)
        let threads = try (0..<threadCount).map { thread in
            try TestThread {
                for number in 0..<callCount {
                    try handle.callSoonThreadSafe { loop in
                        next.update { next in
                            if next[thread] != number {
                                disorder.value = "\(number) of thread \(thread) at \(next)"
                            }
                            next[thread] += 1
                            if next.allSatisfy({ $0 == callCount }) { loop.stop() }
                        }
                    }
                }
            }
        }
        let outcome = Result { try kit.run(loop) }
        for thread in threads { try thread.join() }
        try outcome.get()
        try expect(disorder.value == nil, "out of order: \(disorder.value ?? "")")
        let statistics = loop.statistics
        let total = UInt64(threadCount * callCount)
        try expect(statistics.threadSafeCalls, equals: total)
        try expect(statistics.wakeUpsSent + statistics.wakeUpsElided, equals: total)
    }

    static func callSoonThreadSafeOnTheLoopKeepsItsPlace(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let handle = loop.handle
        let order = SharedValue<[Int]>([])
        loop.callSoon {
            loop.callSoon { order.update { $0.append(1) } }
            try handle.callSoonThreadSafe { _ in order.update { $0.append(2) } }
            loop.callSoon { order.update { $0.append(3) } }
            try handle.callSoonThreadSafe { loop in
                order.update { $0.append(4) }
                loop.stop()
            }
        }
        try kit.run(loop)
        try expect(order.value, equals: [1, 2, 3, 4])
    }

    static func aHandleOutlivesItsLoop(_ kit: ConformanceKit) throws {
        func makeHandle() throws -> LoopHandle { try kit.makeLoop().handle }
        let handle = try makeHandle()
        try expectError(.closed) { try handle.callSoonThreadSafe { _ in } }
        try expect(!handle.isOnLoop, "on a loop that is gone")
    }

    // MARK: Errors

    static func aCallbackThatThrowsIsReportedAndTheOthersRun(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var ran: [Int] = []
        var contexts: [LoopExceptionContext] = []
        loop.exceptionHandler = { _, context in contexts.append(context) }
        let line = #line + 1
        loop.callSoon { throw Complaint(number: 1) }
        loop.callSoon { ran.append(2) }
        loop.callSoon { throw Complaint(number: 3) }
        loop.callSoon {
            ran.append(4)
            loop.callSoon { loop.stop() }
        }
        try kit.run(loop)
        try expect(ran, equals: [2, 4])
        try expect(contexts.compactMap { ($0.error as? Complaint)?.number }, equals: [1, 3])
        try expect(!contexts[0].message.isEmpty, "a report without a message")
        let site = contexts[0].site?.description ?? "nowhere"
        try expect(
            site.hasSuffix("HandlesAndThreads.swift:\(line)"),
            "the callback is said to be at \(site)")
    }

    static func errorsOfTimersReadersAndRemoteCallsAreReported(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        var numbers: [Int] = []
        loop.exceptionHandler = { loop, context in
            numbers.append((context.error as? Complaint)?.number ?? -1)
            if numbers.count == 3 { loop.callSoon { loop.stop() } }
        }
        loop.callLater(.milliseconds(1)) { throw Complaint(number: 1) }
        pair.sendToNear()
        try loop.addReader(pair.near) {
            loop.removeReader(pair.near)
            throw Complaint(number: 2)
        }
        try loop.handle.callSoonThreadSafe { _ in throw Complaint(number: 3) }
        try kit.run(loop)
        try expect(numbers.sorted(), equals: [1, 2, 3])
    }

    static func withoutAHandlerErrorsGoToTheDiagnosticSink(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var lines: [String] = []
        loop.exceptionHandler = nil
        loop.diagnosticSink = { lines.append($0) }
        let line = #line + 1
        loop.callSoon { throw Complaint(number: 17) }
        loop.callSoon { loop.stop() }
        try kit.run(loop)
        try expect(lines.count, equals: 1)
        try expect(
            lines[0].contains("Complaint(number: 17)")
                && lines[0].contains("HandlesAndThreads.swift:\(line)"),
            "the report says: \(lines[0])")
    }

    static func anExceptionHandlerThatThrowsIsReportedToo(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var lines: [String] = []
        var survived = false
        loop.diagnosticSink = { lines.append($0) }
        loop.exceptionHandler = { _, _ in throw Complaint(number: 2) }
        loop.callSoon { throw Complaint(number: 1) }
        loop.callSoon {
            survived = true
            loop.callSoon { loop.stop() }
        }
        try kit.run(loop)
        try expect(survived, "the loop did not go on")
        let text = lines.joined(separator: "\n")
        try expect(
            text.contains("Complaint(number: 1)") && text.contains("Complaint(number: 2)"),
            "not both errors are reported: \(text)")
    }

    // MARK: Debug mode

    /// Keeps the processor busy: a callback that is slow because of what it computes.
    private static func work(for duration: Duration) {
        let end = LoopClock.monotonic.now.advanced(by: duration)
        while LoopClock.monotonic.now < end {}
    }

    static func aSlowCallbackIsReportedInDebugMode(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var lines: [String] = []
        loop.diagnosticSink = { lines.append($0) }
        loop.isDebug = true
        // First a bound that no callback here reaches: nothing is reported.
        loop.slowCallbackDuration = .seconds(60)
        loop.callSoon { work(for: .milliseconds(1)) }
        loop.callSoon { loop.stop() }
        try kit.run(loop)
        try expect(lines, equals: [], "reports of fast callbacks")
        let longest = loop.statistics.longestCallback ?? .zero
        try expect(longest >= .milliseconds(1), "the longest callback is said to take \(longest)")

        loop.callSoon { loop.slowCallbackDuration = .milliseconds(20) }
        let line = #line + 1
        loop.callSoon { work(for: .milliseconds(40)) }
        loop.callSoon {
            loop.slowCallbackDuration = .seconds(60)
            loop.stop()
        }
        try kit.run(loop)
        let reports = lines.filter { $0.contains("HandlesAndThreads.swift:\(line)") }
        try expect(reports.count, equals: 1, "reports of the slow callback in \(lines)")
        try expect(
            reports[0].contains("0.04") || reports[0].contains("seconds"),
            "the report does not say how long: \(reports[0])")
    }

    static func debugModeIsSwitchedWhileTheLoopRuns(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var lines: [String] = []
        var counts: [Int] = []
        loop.diagnosticSink = { lines.append($0) }
        loop.slowCallbackDuration = .zero
        loop.isDebug = false
        loop.callSoon { loop.isDebug = true }
        loop.callSoon { counts.append(lines.count) }
        loop.callSoon { counts.append(lines.count) }
        loop.callSoon { loop.isDebug = false }
        loop.callSoon { lines = [] }
        loop.callSoon { counts.append(lines.count) }
        loop.callSoon { counts.append(lines.count) }
        loop.callSoon { loop.stop() }
        try kit.run(loop)
        // Every callback counts as slow: the first one looks before any was reported.
        try expect(counts, equals: [0, 1, 0, 0])
    }
}
