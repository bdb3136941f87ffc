// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Files that are sent to sockets.
enum SendingFiles {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "aFileIsSentInItsExactRange", [109], .sendingFiles, aFileIsSentInItsExactRange),
        Behaviour(
            "aLargeFileIsSentToASlowPeer", [109], .sendingFiles, aLargeFileIsSentToASlowPeer),
        Behaviour(
            "aFileKeepsItsPlaceAmongWrites", [109], .sendingFiles, aFileKeepsItsPlaceAmongWrites),
        Behaviour(
            "nothingIsWrittenWhileAFileIsSent", [109], .sendingFiles,
            nothingIsWrittenWhileAFileIsSent),
        Behaviour(
            "readingIsAfterAFileAsItWasBefore", [109], .sendingFiles,
            readingIsAfterAFileAsItWasBefore),
        Behaviour(
            "endAndCloseWaitForTheFile", [86, 91], .sendingFiles, endAndCloseWaitForTheFile),
        Behaviour(
            "aPeerThatClosesMidwayIsAConnectionError", [109], .sendingFiles,
            aPeerThatClosesMidwayIsAConnectionError),
        Behaviour(
            "anAbortedTransportEndsItsFile", [87], .sendingFiles, anAbortedTransportEndsItsFile),
        Behaviour(
            "aCancelledFileLeavesTheTransport", [109], .sendingFiles,
            aCancelledFileLeavesTheTransport),
        Behaviour(
            "aFileThatTheKernelRefusesIsCopied", [109], .sendingFiles,
            aFileThatTheKernelRefusesIsCopied),
        Behaviour("aSlowDiskHoldsNobodyUp", [], .sendingFiles, aSlowDiskHoldsNobodyUp),
        Behaviour(
            "filesThatCannotBeSentAreErrors", [109], .sendingFiles,
            filesThatCannotBeSentAreErrors),
        Behaviour(
            "aFileGoesToASocketOfTheProgram", [109], .sendingFiles,
            aFileGoesToASocketOfTheProgram),
        Behaviour(
            "aFileToASocketEndsWithItsPeerOrItsTask", [109], .sendingFiles,
            aFileToASocketEndsWithItsPeerOrItsTask),
    ]

    private static let methods: [LoopSendFileMethod] = [.automatic, .native, .copying]

    /// Runs the loop of `pair` until it was told how sending ended.
    private static func outcome(
        _ kit: ConformanceKit, _ pair: ConnectedPair,
        _ send: @escaping (@escaping (Result<Int, any Error>) -> Void) -> Void
    ) throws -> Result<Int, any Error> {
        var outcome: Result<Int, any Error>?
        pair.loop.callSoon {
            send { result in
                outcome = result
                pair.loop.stop()
            }
        }
        try kit.run(pair.loop)
        guard let outcome else { throw ConformanceFailure("the loop stopped before the end") }
        return outcome
    }

    private static func receive(_ kit: ConformanceKit, _ pair: ConnectedPair, _ count: Int) throws {
        if pair.far.received.count >= count { return }
        pair.far.onData = { if pair.far.received.count >= count { pair.loop.stop() } }
        try kit.run(pair.loop)
        pair.far.onData = {}
    }

    // MARK: What is sent

    static func aFileIsSentInItsExactRange(_ kit: ConformanceKit) throws {
        let file = try TestFile(10_000)
        let pair = try ConnectedPair(kit)
        let ranges: [(offset: Int, count: Int?, sent: Int)] = [
            (0, nil, 10_000), (0, 0, 0), (10, 100, 100), (9_990, 100, 10), (10_000, nil, 0),
            (20_000, 5, 0), (0, 10_000, 10_000), (5_000, .max, 5_000),
        ]
        for method in methods {
            for (offset, count, sent) in ranges {
                let outcome = try outcome(kit, pair) { ended in
                    pair.nearTransport.sendFile(
                        file.fd, offset: offset, count: count, method: method,
                        completion: ended)
                }
                try expect(try outcome.get(), equals: sent, "\(method) \(offset) \(count ?? -1)")
                try expect(file.position, equals: offset + sent, "the file's position")
                try receive(kit, pair, sent)
                try expectPattern(pair.far.take(), count: sent, seed: offset)
            }
        }
        try pair.close()
    }

    static func aLargeFileIsSentToASlowPeer(_ kit: ConformanceKit) throws {
        let size = 12 << 20
        let file = try TestFile(size)
        for method in methods {
            let pair = try ConnectedPair(kit)
            var turns = 0
            // Far more than the kernel holds: the peer begins to read when nothing moves any more.
            pair.farTransport.pauseReading()
            pair.loop.callLater(.milliseconds(50)) { pair.farTransport.resumeReading() }
            func turn() {
                turns += 1
                pair.loop.callLater(.milliseconds(1)) { turn() }
            }
            turn()
            let outcome = try outcome(kit, pair) {
                pair.nearTransport.sendFile(file.fd, method: method, completion: $0)
            }
            try expect(try outcome.get(), equals: size)
            try expect(file.position, equals: size)
            try receive(kit, pair, size)
            try expectPattern(pair.far.take(), count: size)
            try expect(turns > 5, "others had \(turns) turns meanwhile")
            try pair.close()
        }
    }

    static func aFileKeepsItsPlaceAmongWrites(_ kit: ConformanceKit) throws {
        let file = try TestFile(100_000)
        for method in methods {
            // Little and much before it: what the kernel takes at once, and what it does not.
            for before in [0, 1, 3000, 4 << 20] {
                let pair = try ConnectedPair(kit)
                let outcome = try outcome(kit, pair) { ended in
                    try? pair.nearTransport.write(pattern(before))
                    try? pair.nearTransport.write([1, 2])
                    pair.nearTransport.sendFile(file.fd, method: method) { result in
                        try? pair.nearTransport.write([3, 4])
                        ended(result)
                    }
                }
                try expect(try outcome.get(), equals: file.size)
                try receive(kit, pair, before + file.size + 4)
                let all = pair.far.take()
                try expectPattern(Array(all.prefix(before)), count: before)
                try expect(Array(all.dropFirst(before).prefix(2)), equals: [1, 2])
                try expectPattern(
                    Array(all.dropFirst(before + 2).dropLast(2)), count: file.size)
                try expect(Array(all.suffix(2)), equals: [3, 4])
                try pair.close()
            }
        }
    }

    // MARK: The transport meanwhile

    static func nothingIsWrittenWhileAFileIsSent(_ kit: ConformanceKit) throws {
        let size = 8 << 20
        let file = try TestFile(size)
        for method in methods {
            let pair = try ConnectedPair(kit)
            pair.farTransport.pauseReading()
            var refusals = 0
            let outcome = try outcome(kit, pair) { ended in
                let transport = pair.nearTransport
                transport.sendFile(file.fd, method: method, completion: ended)
                let refused: [() throws -> Void] = [
                    { try transport.write([1]) }, { try transport.write("a") },
                    { try transport.writeLines([[1], [2]]) },
                ]
                for write in refused {
                    do { try write() } catch let error as LoopError {
                        if error.code == .inUse { refusals += 1 }
                    } catch {}
                }
                transport.sendFile(file.fd) { second in
                    if case .failure(let error as LoopError) = second, error.code == .inUse {
                        refusals += 1
                    }
                    pair.farTransport.resumeReading()
                }
            }
            try expect(try outcome.get(), equals: size)
            try expect(refusals, equals: 4, "writes that were refused")
            try expect(pair.near.count(of: .paused), equals: pair.near.count(of: .resumed))
            try pair.nearTransport.write([7])
            try receive(kit, pair, size + 1)
            try expectPattern(Array(pair.far.take().dropLast()), count: size)
            try pair.close()
        }
    }

    static func readingIsAfterAFileAsItWasBefore(_ kit: ConformanceKit) throws {
        let size = 8 << 20
        let file = try TestFile(size)
        for method in methods {
            for isPaused in [false, true] {
                let pair = try ConnectedPair(kit)
                pair.farTransport.pauseReading()
                if isPaused { pair.nearTransport.pauseReading() }
                let outcome = try outcome(kit, pair) { ended in
                    pair.nearTransport.sendFile(file.fd, method: method, completion: ended)
                    try? pair.farTransport.write(pattern(1000))
                    pair.loop.callLater(.milliseconds(20)) {
                        try expect(pair.near.received.count, equals: 0, "while the file is sent")
                        try expect(!pair.nearTransport.isReading, "it does not read")
                        pair.farTransport.resumeReading()
                    }
                }
                try expect(try outcome.get(), equals: size)
                try expect(pair.nearTransport.isReading, equals: !isPaused)
                if isPaused {
                    try kit.run(pair.loop, .noWait)
                    try expect(pair.near.received.count, equals: 0, "it is still paused")
                    pair.nearTransport.resumeReading()
                }
                pair.near.onData = {
                    if pair.near.received.count == 1000 { pair.loop.stop() }
                }
                if pair.near.received.count < 1000 { try kit.run(pair.loop) }
                try expectPattern(pair.near.take(), count: 1000)
                try pair.close()
            }
        }
    }

    static func endAndCloseWaitForTheFile(_ kit: ConformanceKit) throws {
        let size = 8 << 20
        let file = try TestFile(size)
        for method in methods {
            for closes in [false, true] {
                let pair = try ConnectedPair(kit)
                let outcome = try outcome(kit, pair) { ended in
                    pair.nearTransport.sendFile(file.fd, method: method, completion: ended)
                    if closes { pair.nearTransport.close() } else { pair.nearTransport.writeEOF() }
                }
                try expect(try outcome.get(), equals: size)
                pair.far.onEnd = { pair.loop.stop() }
                if pair.far.count(of: .end) == 0 { try kit.run(pair.loop) }
                try expectPattern(pair.far.take(), count: size)
                try kit.drain(pair.loop)
                try pair.close()
            }
        }
    }

    // MARK: Early ends

    static func aPeerThatClosesMidwayIsAConnectionError(_ kit: ConformanceKit) throws {
        let size = 16 << 20
        let file = try TestFile(size)
        for method in methods {
            for resets in [false, true] {
                let loop = try kit.makeLoop()
                let near = Recorder()
                let server = try loop.createServer(host: "127.0.0.1", port: 0) { near }
                let peer = try RawPeer(port: server.port)
                var outcome: Result<Int, any Error>?
                near.onMade = { transport in
                    transport.sendFile(file.fd, method: method) { outcome = $0 }
                    func leaveMidway() {
                        guard peer.waitingCount >= 100_000 else {
                            loop.callSoon { leaveMidway() }
                            return
                        }
                        if resets { peer.reset() } else { peer.close() }
                    }
                    leaveMidway()
                }
                near.onLost = { loop.callSoon { loop.stop() } }
                try kit.run(loop)
                try expect(near.events, equals: [.made, .lost])
                let codes: Set<LoopError.Code> = [.connectionReset, .brokenPipe]
                let error = try expectError(LoopError.self) { _ = try outcome?.get() }
                try expect(codes.contains(error.code), "the file ended with \(error)")
                try expect((near.error as? LoopError)?.code, equals: error.code)
                let position = file.position
                try expect(position >= 100_000 && position < size, "it is at \(position)")
                try loop.close()
            }
        }
    }

    static func anAbortedTransportEndsItsFile(_ kit: ConformanceKit) throws {
        let file = try TestFile(16 << 20)
        for method in methods {
            let pair = try ConnectedPair(kit)
            pair.farTransport.pauseReading()
            let outcome = try outcome(kit, pair) { ended in
                pair.nearTransport.sendFile(file.fd, method: method, completion: ended)
                pair.loop.callLater(.milliseconds(20)) { pair.nearTransport.abort() }
            }
            try expectError(.closed) { _ = try outcome.get() }
            try kit.drain(pair.loop)
            try expect(pair.near.events, equals: [.made, .lost])
            try expect(pair.near.error == nil, "it was aborted: \(String(describing: pair.near))")
            try pair.close()
        }
    }

    static func aCancelledFileLeavesTheTransport(_ kit: ConformanceKit) throws {
        let size = 16 << 20
        let file = try TestFile(size)
        for method in methods {
            let pair = try ConnectedPair(kit)
            pair.farTransport.pauseReading()
            let outcome = try outcome(kit, pair) { ended in
                let sending = pair.nearTransport.sendFile(
                    file.fd, method: method, completion: ended)
                func cancelWhenBegun() {
                    var waiting: CInt = 0
                    _ = ioctl(pair.farTransport.descriptor, UInt(FIONREAD), &waiting)
                    if waiting > 0 {
                        sending.cancel()
                        sending.cancel()
                    } else {
                        pair.loop.callSoon { cancelWhenBegun() }
                    }
                }
                cancelWhenBegun()
            }
            try expectError(.cancelled) { _ = try outcome.get() }
            let sent = file.position
            try expect(sent > 0 && sent < size, "the file is at \(sent)")
            // The peer gets exactly that, and what is written behind it.
            try pair.nearTransport.write([1, 2, 3])
            pair.farTransport.resumeReading()
            try receive(kit, pair, sent + 3)
            try expectPattern(Array(pair.far.received.dropLast(3)), count: sent)
            try expect(Array(pair.far.take().suffix(3)), equals: [1, 2, 3])
            try pair.close()
        }
    }

    // MARK: Files

    /// Files of /proc that describe a process can be read, and not spliced.
    static func aFileThatTheKernelRefusesIsCopied(_ kit: ConformanceKit) throws {
        let fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC)
        defer { close(fd) }
        var expected = [UInt8](repeating: 0, count: 1 << 16)
        expected.removeLast(expected.count - max(0, pread(fd, &expected, expected.count, 0)))
        try expect(expected.count > 3, "the command line of this process")
        let pair = try ConnectedPair(kit)
        let native = try outcome(kit, pair) {
            pair.nearTransport.sendFile(fd, method: .native, completion: $0)
        }
        let error = try expectError(LoopError.self) { _ = try native.get() }
        try expect(error.errno, equals: EINVAL, "\(error)")
        let copied = try outcome(kit, pair) {
            pair.nearTransport.sendFile(fd, offset: 1, completion: $0)
        }
        try expect(try copied.get(), equals: expected.count - 1)
        try receive(kit, pair, expected.count - 1)
        try expect(pair.far.take(), equals: Array(expected.dropFirst()))
        try pair.close()
    }

    static func aSlowDiskHoldsNobodyUp(_ kit: ConformanceKit) throws {
        let file = try TestFile(1000)
        let pair = try ConnectedPair(kit)
        // The only thread of the executor is busy, as with a disk that does not answer.
        let latch = Latch()
        pair.loop.setDefaultExecutor(LoopThreadPool(threadsMax: 1))
        let busy = pair.loop.runInExecutor { latch.wait() }
        var echoed = false
        let outcome = try outcome(kit, pair) { ended in
            pair.nearTransport.sendFile(file.fd, method: .copying, completion: ended)
            pair.loop.callLater(.milliseconds(10)) {
                echoed = true
                latch.open()
            }
        }
        try expect(try outcome.get(), equals: 1000)
        try expect(echoed, "the loop went on")
        try expect(busy.result(), "the thread was held up")
        try pair.close()
    }

    static func filesThatCannotBeSentAreErrors(_ kit: ConformanceKit) throws {
        let file = try TestFile(100)
        let pair = try ConnectedPair(kit)
        let sockets = SocketPair()
        func error(_ fd: CInt, offset: Int = 0, count: Int? = nil) throws -> LoopError {
            let outcome = try outcome(kit, pair) {
                pair.nearTransport.sendFile(fd, offset: offset, count: count, completion: $0)
            }
            return try expectError(LoopError.self) { _ = try outcome.get() }
        }
        try expect(try error(-1).errno, equals: EBADF)
        try expect(try error(sockets.near).errno, equals: ESPIPE)
        try expect(try error(file.fd, offset: -1).code, equals: .invalidArgument)
        try expect(try error(file.fd, count: -1).code, equals: .invalidArgument)
        let directory = open("/tmp", O_RDONLY | O_CLOEXEC)
        try expect(try error(directory).errno, equals: EISDIR)
        close(directory)
        // None of that was the connection's fault.
        try pair.nearTransport.write([5])
        try receive(kit, pair, 1)
        pair.nearTransport.writeEOF()
        try expect(try error(file.fd).code, equals: .endOfFileWritten)
        pair.nearTransport.abort()
        try expect(try error(file.fd).code, equals: .closed)
        extendLifetime(sockets)
        try pair.close()
    }

    // MARK: Low-level sockets

    static func aFileGoesToASocketOfTheProgram(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let file = try TestFile(3 << 20)
            let fd = file.fd
            for method in methods {
                let (near, far) = try await LowLevelSockets.connected()
                let sending = loop.createTask(eager: true) {
                    let sent = try await Loop.running.sockSendFile(
                        near, fd, offset: 100, count: 2 << 20, method: method)
                    close(near)
                    return sent
                }
                var received: [UInt8] = []
                while true {
                    let piece = try await loop.sockReceive(far, 1 << 18)
                    if piece.isEmpty { break }
                    received += piece
                }
                try expect(try await sending.value, equals: 2 << 20)
                try expectPattern(received, count: 2 << 20, seed: 100)
                try expect(file.position, equals: 100 + 2 << 20)
                close(far)
            }
            extendLifetime(file)
        }
    }

    static func aFileToASocketEndsWithItsPeerOrItsTask(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let file = try TestFile(16 << 20)
            let fd = file.fd
            for method in methods {
                let (near, far) = try await LowLevelSockets.connected()
                let sending = loop.createTask(eager: true) {
                    try await Loop.running.sockSendFile(near, fd, method: method)
                }
                try await expectAsyncError(.inUse) { try await loop.sockSendAll(near, [1]) }
                _ = try await loop.sockReceive(far, 1000)
                sending.cancel()
                try await expectAsyncError(CancellationError.self) { _ = try await sending.value }
                let sent = file.position
                var received = 1000
                while received < sent {
                    received += try await loop.sockReceive(far, 1 << 20).count
                }
                try expect(received, equals: sent, "what was sent is where the file is")
                let again = loop.createTask(eager: true) {
                    try await Loop.running.sockSendFile(near, fd, method: method)
                }
                _ = try await loop.sockReceive(far, 1000)
                close(far)
                let error = try await expectAsyncError(LoopError.self) {
                    _ = try await again.value
                }
                let codes: Set<LoopError.Code> = [.connectionReset, .brokenPipe]
                try expect(codes.contains(error.code), "\(error)")
                close(near)
            }
            extendLifetime(file)
        }
    }
}
