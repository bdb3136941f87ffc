// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet

/// Watched descriptors: `addReader` and `addWriter`.
enum Descriptors {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "readerAndWriterOfADescriptorAreIndependent", [107], .descriptors,
            readerAndWriterOfADescriptorAreIndependent),
        Behaviour(
            "aReaderIsCalledForAsLongAsThereIsSomething", [107], .descriptors,
            aReaderIsCalledForAsLongAsThereIsSomething),
        Behaviour(
            "aReaderIsCalledAtTheEndOfFile", [107], .descriptors, aReaderIsCalledAtTheEndOfFile),
        Behaviour(
            "aWriterIsCalledWhenThereIsRoomAgain", [107], .descriptors,
            aWriterIsCalledWhenThereIsRoomAgain),
        Behaviour(
            "addingAgainReplacesTheCallback", [107], .descriptors, addingAgainReplacesTheCallback),
        Behaviour(
            "aRemovedReaderIsNotCalledAndReleased", [107], .descriptors,
            aRemovedReaderIsNotCalledAndReleased),
        Behaviour(
            "aReaderMayRemoveOthersOfItsIteration", [107], .descriptors,
            aReaderMayRemoveOthersOfItsIteration),
        Behaviour(
            "aDescriptorNumberMayBeReusedAtOnce", [107], .descriptors,
            aDescriptorNumberMayBeReusedAtOnce),
        Behaviour(
            "aNumberOfAClosedDescriptorIsTheNextOnes", [107], .descriptors,
            aNumberOfAClosedDescriptorIsTheNextOnes),
        Behaviour(
            "whatCannotBeWatchedIsRefused", [107], .descriptors, whatCannotBeWatchedIsRefused),
        Behaviour(
            "manyReadyDescriptorsStarveNobody", [3, 107], .descriptors,
            manyReadyDescriptorsStarveNobody),
    ]

    static func readerAndWriterOfADescriptorAreIndependent(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        var reads = 0
        var writes = 0
        pair.sendToNear()
        try loop.addReader(pair.near) { reads += 1 }
        try loop.addWriter(pair.near) {
            writes += 1
            if reads > 0, writes > 3 { loop.stop() }
        }
        try kit.run(loop)
        // Without the reader the writer goes on, although there is something to read.
        try expect(loop.removeReader(pair.near), "there was a reader")
        reads = 0
        writes = 0
        try loop.addWriter(pair.near) {
            writes += 1
            if writes == 10 { loop.stop() }
        }
        try kit.run(loop)
        try expect(reads, equals: 0, "calls of a removed reader")
        // Without the writer the reader goes on.
        try expect(loop.removeWriter(pair.near), "there was a writer")
        writes = 0
        try loop.addReader(pair.near) {
            reads += 1
            if reads == 10 { loop.stop() }
        }
        try kit.run(loop)
        try expect(writes, equals: 0, "calls of a removed writer")
        try expect(loop.removeReader(pair.near), "there was a reader")
        try expect(!loop.removeReader(pair.near), "a reader was removed twice")
        try expect(!loop.removeWriter(pair.near), "a writer was removed twice")
        try loop.close()
    }

    static func aReaderIsCalledForAsLongAsThereIsSomething(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        pair.sendToNear(10)
        var calls = 0
        var empty = 0
        try loop.addReader(pair.near) {
            calls += 1
            if pair.receiveAtNear(1) < 1 { empty += 1 }
            if calls == 10 { loop.callLater(.milliseconds(1)) { loop.stop() } }
        }
        try kit.run(loop)
        try expect(empty, equals: 0, "calls that found nothing to read")
        try expect(calls, equals: 10, "calls for ten bytes read one at a time")
        // And again, when something new comes.
        try loop.addReader(pair.near) { loop.stop() }
        loop.callSoon { pair.sendToNear() }
        try kit.run(loop)
        try loop.close()
    }

    static func aReaderIsCalledAtTheEndOfFile(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        var results: [Int] = []
        pair.sendToNear(3)
        try loop.addReader(pair.near) {
            results.append(pair.receiveAtNear(2))
            if results.last == 0 { loop.stop() }
        }
        loop.callSoon { pair.closeFar() }
        try kit.run(loop)
        try expect(results, equals: [2, 1, 0])
        try loop.close()
    }

    static func aWriterIsCalledWhenThereIsRoomAgain(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        pair.fillNear()
        var calls = 0
        var callsWhileFull = -1
        try loop.addWriter(pair.near) {
            calls += 1
            loop.stop()
        }
        loop.callLater(.milliseconds(2)) {
            callsWhileFull = calls
            pair.drainFar()
        }
        try kit.run(loop)
        try expect(callsWhileFull, equals: 0, "calls of a writer without room")
        try expect(calls, equals: 1)
        try loop.close()
    }

    static func addingAgainReplacesTheCallback(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        let live = LiveObjects()
        var calls: [String] = []
        try loop.addReader(pair.near, live.closure { calls.append("first") })
        try loop.addReader(pair.near) {
            calls.append("second")
            pair.receiveAtNear()
            loop.stop()
        }
        try expect(live.count, equals: 0, "replaced callbacks alive")
        pair.sendToNear()
        try kit.run(loop)
        try expect(calls, equals: ["second"])
        try loop.close()
    }

    static func aRemovedReaderIsNotCalledAndReleased(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        let live = LiveObjects()
        var calls = 0
        pair.sendToNear()
        try loop.addReader(pair.near, live.closure { calls += 1 })
        loop.callSoon {
            loop.removeReader(pair.near)
            loop.callLater(.milliseconds(2)) { loop.stop() }
        }
        try expect(live.count, equals: 1)
        try kit.run(loop)
        try expect(calls <= 1, "\(calls) calls, all but one after the removal")
        try expect(live.count, equals: 0, "removed callbacks alive")
        // The kernel is told too: nothing is left to complete.
        try kit.drain(loop)
        try expect(loop.statistics.operationCount, equals: 0, "operations left")
        try loop.close()
    }

    static func aReaderMayRemoveOthersOfItsIteration(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pairs = (0..<8).map { _ in SocketPair() }
        var calls: [CInt] = []
        for pair in pairs {
            pair.sendToNear()
            try loop.addReader(pair.near) {
                calls.append(pair.near)
                for other in pairs { loop.removeReader(other.near) }
                loop.callLater(.milliseconds(2)) { loop.stop() }
            }
        }
        try kit.run(loop)
        try expect(calls.count, equals: 1, "calls after the first removed all readers")
        try loop.close()
    }

    static func aDescriptorNumberMayBeReusedAtOnce(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var calls: [Int] = []
        var seen: Set<CInt> = []
        var pair: SocketPair? = SocketPair()
        for round in 0..<20 {
            guard let current = pair else { break }
            seen.insert(current.near)
            current.sendToNear()
            try loop.addReader(current.near) {
                calls.append(round)
                loop.stop()
            }
            try kit.run(loop)
            loop.removeReader(current.near)
            // Closed and made anew: the kernel hands out the lowest numbers, so these come back.
            pair = nil
            pair = SocketPair()
        }
        try expect(calls, equals: Array(0..<20))
        try loop.close()
    }

    /// The program closes a descriptor that is watched, and its number comes back.
    static func aNumberOfAClosedDescriptorIsTheNextOnes(_ kit: ConformanceKit) throws {
        for isServed in [true, false] {
            let loop = try kit.makeLoop()
            var reports: [LoopError.Code?] = []
            loop.exceptionHandler = { _, context in
                reports.append((context.error as? LoopError)?.code)
            }
            let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
            var (first, second): ([CInt], [CInt]) = ([-1, -1], [-1, -1])
            socketpair(AF_UNIX, kind, 0, &first)
            socketpair(AF_UNIX, kind, 0, &second)
            let (fd, live) = (first[0], LiveObjects())
            try loop.addReader(fd, live.closure())
            try loop.addWriter(fd, live.closure())
            try kit.run(loop, .noWait)
            // This closes what had the number.
            try expect(dup2(second[0], fd), equals: fd, "the number comes back")
            close(second[0])
            let recorder = Recorder()
            recorder.onData = { loop.stop() }
            if isServed {
                _ = try loop.connectAcceptedSocket(fd) { recorder }
            } else {
                try loop.addReader(fd) { loop.stop() }
            }
            try expect(send(second[1], [1 as UInt8], 1, 0), equals: 1)
            try kit.run(loop)
            try expect(reports, equals: [.closed, .closed])
            try expect(live.count, equals: 0, "callbacks that are kept")
            try loop.close()
            if !isServed { close(fd) }
            for fd in [first[1], second[1]] { close(fd) }
        }
    }

    static func whatCannotBeWatchedIsRefused(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let live = LiveObjects()
        let invalid = try expectError(LoopError.self) { try loop.addReader(-1, live.closure()) }
        try expect(invalid.errno, equals: EBADF)
        for path in ["/proc/self/exe", "/", "/dev/null"] {
            let fd = open(path, O_RDONLY | O_CLOEXEC)
            try expect(fd >= 0, "cannot open \(path)")
            defer { close(fd) }
            try expectError(.notPermitted) { try loop.addReader(fd, live.closure()) }
            try expectError(.notPermitted) { try loop.addWriter(fd, live.closure()) }
            try expect(!loop.removeReader(fd), "a refused descriptor is watched")
        }
        try expect(live.count, equals: 0, "callbacks kept of refused descriptors")
        try loop.close()
    }

    static func manyReadyDescriptorsStarveNobody(_ kit: ConformanceKit) throws {
        // More than the submission queue of a ring holds, all ready all the time.
        let loop = try kit.makeLoop()
        let pairs = (0..<700).map { _ in SocketPair() }
        var counts = [Int](repeating: 0, count: pairs.count)
        var rounds = 0
        for (index, pair) in pairs.enumerated() {
            try loop.addWriter(pair.near) { counts[index] += 1 }
        }
        func again() {
            rounds += 1
            if counts.allSatisfy({ $0 >= 3 }) { loop.stop() } else { loop.callSoon(again) }
        }
        loop.callSoon(again)
        try withExtendedLifetime(pairs) { try kit.run(loop) }
        try expect(
            counts.allSatisfy { $0 <= 4 * rounds },
            "\(rounds) iterations, and up to \(counts.max() ?? 0) calls of a writer")
        try loop.close()
    }
}
