// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Reading from streams.
enum StreamReaders {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "aLineOverTheLimitIsDroppedAndNoOther", [94], .streamReaders,
            aLineOverTheLimitIsDroppedAndNoOther),
        Behaviour(
            "readExactlySaysWhatCameBeforeTheEnd", [95], .streamReaders,
            readExactlySaysWhatCameBeforeTheEnd),
        Behaviour(
            "aFullReaderPausesTheTransport", [96], .streamReaders, aFullReaderPausesTheTransport),
        Behaviour(
            "aCancellationThatComesLateIsNotForTheNext", [], .streamReaders,
            aCancellationThatComesLateIsNotForTheNext),
        Behaviour("aSecondReadIsAnError", [97], .streamReaders, aSecondReadIsAnError),
        Behaviour("readTakesWhatIsThere", [], .streamReaders, readTakesWhatIsThere),
        Behaviour(
            "whatIsAskedForMayBeLongerThanTheLimit", [], .streamReaders,
            whatIsAskedForMayBeLongerThanTheLimit),
        Behaviour(
            "theFirstOfSeveralSeparatorsEndsAPiece", [], .streamReaders,
            theFirstOfSeveralSeparatorsEndsAPiece),
        Behaviour(
            "aSeparatorThatComesInPartsIsFound", [], .streamReaders,
            aSeparatorThatComesInPartsIsFound),
        Behaviour(
            "aSeparatorBeyondTheLimitLosesNothing", [], .streamReaders,
            aSeparatorBeyondTheLimitLosesNothing),
        Behaviour("cancellingAReadLosesNothing", [], .streamReaders, cancellingAReadLosesNothing),
        Behaviour(
            "aResetReachesTheReadBehindTheBytes", [98], .streamReaders,
            aResetReachesTheReadBehindTheBytes),
        Behaviour("chunksAndLinesAreSequences", [], .streamReaders, chunksAndLinesAreSequences),
        Behaviour(
            "badArgumentsOfReadsAreErrors", [], .streamReaders, badArgumentsOfReadsAreErrors),
    ]

    /// Runs `body` on a new loop, with the streams of a connection to `peer`.
    static func connected(
        _ kit: ConformanceKit, limit: Int = LoopStreamReader.defaultLimit,
        _ body:
            @escaping @Sendable (LoopStreamReader, LoopStreamWriter, _ peer: RawPeer) async throws
            -> Void
    ) throws {
        try kit.runConnections {
            let accepted = LoopFuture<(LoopStreamReader, LoopStreamWriter)>(on: Loop.running)
            let end = LoopFuture<Void>(on: Loop.running)
            let server = try await Loop.running.startServer(
                host: "127.0.0.1", port: 0, limit: limit
            ) { reader, writer in
                try accepted.setResult((reader, writer))
                try await end.value
            }
            let peer = try RawPeer(port: try server.port)
            let (reader, writer) = try await accepted.value
            try await body(reader, writer, peer)
            try end.setResult(())
            server.close()
            peer.close()
        }
    }

    /// Waits until `count` bytes are there to read.
    static func arrival(of count: Int, _ reader: LoopStreamReader) async throws {
        while reader.bufferedCount < count { try await sleep(.milliseconds(1)) }
        try expect(reader.bufferedCount, equals: count, "bytes that are there")
    }

    /// The error that `body` throws.
    static func error<Failure: Error>(
        _ type: Failure.Type, file: String = #filePath, line: Int = #line,
        _ body: () async throws -> Void
    ) async throws -> Failure {
        do {
            try await body()
        } catch let error as Failure {
            return error
        } catch {
            throw ConformanceFailure("threw \(error), expected a \(type)", file: file, line: line)
        }
        throw ConformanceFailure("threw nothing, expected a \(type)", file: file, line: line)
    }

    /// Runs `body`, which blocks, on a thread of its own.
    static func onThread<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) throws -> LoopFuture<Value> {
        let future = LoopFuture<Value>(on: Loop.running)
        _ = try TestThread { try future.completeThreadSafe(with: Result { try body() }) }
        return future
    }

    static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    static func aLineOverTheLimitIsDroppedAndNoOther(_ kit: ConformanceKit) throws {
        let long = String(repeating: "a", count: 100)
        try connected(kit, limit: 64) { reader, _, peer in
            let longest = "\(long.prefix(64))\n"
            try peer.send(Array("short\n\(longest)\(long)\nnext\n\(long)".utf8))
            try expect(text(try await reader.readLine()), equals: "short\n")
            try expect(text(try await reader.readLine()), equals: longest, "as long as the limit")
            for _ in 0..<2 {
                let overrun = try await error(LoopLimitOverrunError.self) {
                    _ = try await reader.readLine()
                }
                try expect(overrun, equals: LoopLimitOverrunError(consumed: 100, limit: 64))
                guard reader.bufferedCount > 0 else { break }
                try expect(text(try await reader.readLine()), equals: "next\n")
            }
            // The rest of the second line comes now, and is still that line's.
            let last = Loop.running.createTask(eager: true) { try await reader.readLine() }
            for _ in 0..<100 {
                try peer.send(Array(long.utf8))
                try await sleep(.zero)
            }
            try peer.send(Array("\nlast\nrest".utf8))
            try expect(text(try await last.value), equals: "last\n")
            peer.endSending()
            try expect(text(try await reader.readLine()), equals: "rest")
            try expect(try await reader.readLine(), equals: [], "at the end")
        }
        try connected(kit, limit: 64) { reader, _, peer in
            try peer.send(Array(long.utf8))
            _ = try await error(LoopLimitOverrunError.self) { _ = try await reader.readLine() }
            try peer.send(Array("\(long)\nxyz".utf8))
            for try await chunk in reader.chunks {
                try expect(text(Array(chunk)), equals: "xyz", "any read")
                break
            }
            try peer.send(Array(long.utf8))
            _ = try await error(LoopLimitOverrunError.self) { _ = try await reader.readLine() }
            try peer.send(Array(long.utf8))
            peer.endSending()
            try expect(try await reader.readToEnd(), equals: [], "the line is the last")
        }
    }

    static func readExactlySaysWhatCameBeforeTheEnd(_ kit: ConformanceKit) throws {
        try connected(kit) { reader, _, peer in
            try peer.send([1, 2, 3, 4, 5])
            try expect(try await reader.readExactly(2), equals: [1, 2])
            let rest = Loop.running.createTask(eager: true) { try await reader.readExactly(10) }
            try await sleep(.milliseconds(1))
            try expect(!reader.isAtEnd, "more may come")
            peer.endSending()
            let failure = try await error(LoopIncompleteReadError.self) { _ = try await rest.value }
            try expect(failure.partial, equals: [3, 4, 5])
            try expect(failure.expected, equals: 10)
            try expect(reader.isAtEnd, "everything was read")
            try expect(try await reader.readExactly(0), equals: [])
            let empty = try await error(LoopIncompleteReadError.self) {
                _ = try await reader.readExactly(1)
            }
            try expect(empty.partial, equals: [])
        }
    }

    static func aFullReaderPausesTheTransport(_ kit: ConformanceKit) throws {
        try connected(kit, limit: 1000) { reader, writer, peer in
            guard let transport = writer.transport else {
                throw ConformanceFailure("the connection is gone")
            }
            try peer.send(pattern(2000))
            try await arrival(of: 2000, reader)
            try expect(transport.isReading, "twice the limit is not above it")
            try peer.send(pattern(1, seed: 2000))
            try await arrival(of: 2001, reader)
            try expect(!transport.isReading, "above twice the limit")
            try peer.send(pattern(999, seed: 2001))
            try expectPattern(try await reader.read(1000), count: 1000)
            try await sleep(.milliseconds(5))
            try expect(reader.bufferedCount, equals: 1001, "paused")
            try expect(!transport.isReading, "still above the limit")
            try expectPattern(try await reader.read(1), count: 1, seed: 1000)
            try expect(transport.isReading, "at the limit")
            try expectPattern(try await reader.readExactly(1999), count: 1999, seed: 1001)
        }
    }

    static func aSecondReadIsAnError(_ kit: ConformanceKit) throws {
        try connected(kit) { reader, _, peer in
            let first = Loop.running.createTask(eager: true) { try await reader.readExactly(4) }
            let others: [@Sendable () async throws -> Void] = [
                { _ = try await reader.read(1) },
                { _ = try await reader.readExactly(1) },
                { _ = try await reader.readLine() },
                { _ = try await reader.readUntil("x") },
                { _ = try await reader.readToEnd() },
            ]
            try peer.send([1, 2])
            try await arrival(of: 2, reader)
            for other in others {
                let failure = try await error(LoopError.self) { try await other() }
                try expect(failure.code, equals: .inUse)
            }
            try peer.send([3, 4, 5])
            try expect(try await first.value, equals: [1, 2, 3, 4])
            try expect(try await reader.readExactly(1), equals: [5], "and it goes on")
        }
    }

    static func readTakesWhatIsThere(_ kit: ConformanceKit) throws {
        try connected(kit) { reader, _, peer in
            let first = Loop.running.createTask(eager: true) { try await reader.read(3) }
            try peer.send([1, 2, 3, 4, 5])
            try expect(try await first.value, equals: [1, 2, 3])
            try expect(try await reader.read(0), equals: [])
            try expect(try await reader.read(100), equals: [4, 5])
            peer.endSending()
            try expect(try await reader.read(100), equals: [], "the end")
            try expect(try await reader.read(100), equals: [], "again")
            try expect(reader.isAtEnd, "all was read")
        }
    }

    static func whatIsAskedForMayBeLongerThanTheLimit(_ kit: ConformanceKit) throws {
        let count = 1 << 20
        try connected(kit, limit: 1000) { reader, _, peer in
            let sender = try onThread {
                try peer.send(pattern(2 * count))
                peer.endSending()
            }
            try expectPattern(try await reader.readExactly(count), count: count)
            try expectPattern(try await reader.readToEnd(), count: count, seed: count)
            try expect(try await reader.readToEnd(), equals: [], "nothing is left")
            try await sender.value
        }
    }

    static func theFirstOfSeveralSeparatorsEndsAPiece(_ kit: ConformanceKit) throws {
        try connected(kit) { reader, _, peer in
            try peer.send(Array("a\r\nb\nc;d--;e;--".utf8))
            try expect(text(try await reader.readUntil("\n", "\r\n")), equals: "a\r\n")
            try expect(text(try await reader.readUntil("\r\n", "\n")), equals: "b\n")
            try expect(text(try await reader.readUntil("--", ";")), equals: "c;")
            try expect(text(try await reader.readUntil("--;e", ";", "--")), equals: "d--")
            try expect(text(try await reader.readUntil("e;--", ";e")), equals: ";e")
            try expect(text(try await reader.readUntil([45, 45])), equals: ";--", "as bytes")
            peer.endSending()
            let failure = try await error(LoopIncompleteReadError.self) {
                _ = try await reader.readUntil("x", "y")
            }
            try expect(failure, equals: LoopIncompleteReadError(partial: [], expected: nil))
        }
    }

    static func aSeparatorThatComesInPartsIsFound(_ kit: ConformanceKit) throws {
        try connected(kit) { reader, _, peer in
            let piece = "x\r\r\n\r\r\n\r\n"
            for separators in [["\r\n\r\n"], ["\r\n\r\n", "\n\r\n\r"]] {
                let task = Loop.running.createTask(eager: true) {
                    let bytes = separators.map { Array($0.utf8) }
                    guard bytes.count > 1 else { return try await reader.readUntil(bytes[0]) }
                    return try await reader.readUntil(bytes[0], bytes[1])
                }
                for byte in piece.utf8 {
                    try peer.send([byte])
                    // As many deliveries as bytes, or nearly.
                    try await sleep(.microseconds(200))
                }
                try expect(text(try await task.value), equals: piece)
            }
            try peer.send(Array("abc".utf8))
            peer.endSending()
            let failure = try await error(LoopIncompleteReadError.self) {
                _ = try await reader.readUntil("cd")
            }
            try expect(text(failure.partial), equals: "abc")
        }
    }

    static func aSeparatorBeyondTheLimitLosesNothing(_ kit: ConformanceKit) throws {
        try connected(kit, limit: 10) { reader, _, peer in
            try peer.send(Array("0123456789--".utf8))
            try expect(text(try await reader.readUntil("--")), equals: "0123456789--")
            try peer.send(Array("0123456789a--".utf8))
            try await arrival(of: 13, reader)
            for _ in 0..<2 {
                let overrun = try await error(LoopLimitOverrunError.self) {
                    _ = try await reader.readUntil("--")
                }
                try expect(overrun, equals: LoopLimitOverrunError(consumed: 11, limit: 10))
            }
            try expect(text(try await reader.readExactly(11)), equals: "0123456789a")
            try expect(text(try await reader.readUntil("--")), equals: "--")
            try peer.send(pattern(12))
            try await arrival(of: 12, reader)
            let overrun = try await error(LoopLimitOverrunError.self) {
                _ = try await reader.readUntil("--")
            }
            try expect(overrun.consumed, equals: 11, "the last byte may begin a separator")
            try expectPattern(try await reader.read(100), count: 12)
        }
    }

    static func cancellingAReadLosesNothing(_ kit: ConformanceKit) throws {
        let reads: [@Sendable (LoopStreamReader) async throws -> Void] = [
            { _ = try await $0.readExactly(100) },
            { _ = try await $0.readLine() },
            { _ = try await $0.readUntil("x", "yz") },
            { _ = try await $0.readToEnd() },
        ]
        for read in reads {
            try connected(kit) { reader, _, peer in
                for round in 0..<10 {
                    let task = Loop.running.createTask(eager: true) { try await read(reader) }
                    try peer.send([UInt8(ascii: "0") + UInt8(round)])
                    // Before it arrives, and after.
                    if round % 2 == 0 { try await arrival(of: round + 1, reader) }
                    task.cancel()
                    _ = try await error(CancellationError.self) { try await task.value }
                }
                try peer.send(Array("\n".utf8))
                try expect(text(try await reader.readLine()), equals: "0123456789\n")
            }
        }
    }

    static func aResetReachesTheReadBehindTheBytes(_ kit: ConformanceKit) throws {
        try connected(kit) { reader, writer, peer in
            try peer.send([1, 2, 3])
            try await arrival(of: 3, reader)
            peer.reset()
            let code = try await error(LoopError.self) { try await writer.waitClosed() }.code
            try expect(code, equals: .connectionReset)
            try expect(try await reader.readExactly(2), equals: [1, 2])
            let missing = try await error(LoopError.self) { _ = try await reader.readExactly(2) }
            try expect(missing.code, equals: .connectionReset)
            try expect(try await reader.read(10), equals: [3])
            let end = try await error(LoopError.self) { _ = try await reader.read(10) }
            try expect(end.code, equals: .connectionReset)
            let drain = try await error(LoopError.self) { try await writer.drain() }
            try expect(drain.code, equals: .connectionReset)
        }
        try connected(kit) { reader, _, peer in
            let task = Loop.running.createTask(eager: true) { try await reader.readLine() }
            peer.reset()
            let failure = try await error(LoopError.self) { _ = try await task.value }
            try expect(failure.code, equals: .connectionReset, "while a task waits")
        }
    }

    static func chunksAndLinesAreSequences(_ kit: ConformanceKit) throws {
        let count = 300_000
        try connected(kit) { reader, _, peer in
            try peer.send(Array("one\ntwo\r\n\n\rthree\r\nfour".utf8))
            peer.endSending()
            var lines: [String] = []
            for try await line in reader.lines { lines.append(line) }
            try expect(lines, equals: ["one", "two", "", "\rthree", "four"])
        }
        try connected(kit) { reader, _, peer in
            let sender = try onThread {
                try peer.send(pattern(count))
                peer.endSending()
            }
            var all: [UInt8] = []
            for try await chunk in reader.chunks {
                try expect(!chunk.isEmpty, "a chunk has bytes")
                all += chunk
            }
            try expectPattern(all, count: count)
            try await sender.value
        }
    }

    static func badArgumentsOfReadsAreErrors(_ kit: ConformanceKit) throws {
        try connected(kit) { reader, _, _ in
            let calls: [@Sendable () async throws -> Void] = [
                { _ = try await reader.read(-1) },
                { _ = try await reader.readExactly(-1) },
                { _ = try await reader.readUntil("") },
                { _ = try await reader.readUntil("x", "") },
                { _ = try await Loop.running.openConnection(host: "127.0.0.1", port: 1, limit: 0) },
                {
                    _ = try await Loop.running.startServer(
                        host: "127.0.0.1", port: 0, limit: -1, handler: { _, _ in })
                },
            ]
            for call in calls {
                let failure = try await error(LoopError.self) { try await call() }
                try expect(failure.code, equals: .invalidArgument)
            }
        }
    }

    /// Another thread cancels a task of Swift that reads, as its data arrives; the next reader was
    /// not meant.
    static func aCancellationThatComesLateIsNotForTheNext(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            var near: CInt = -1
            let peer = try connectedPeer(&near)
            let (reader, writer) = try loop.openConnection(descriptor: near)
            for _ in 0..<50 {
                let child = Task(executorPreference: loop.handle) { try await reader.read(5) }
                loop.callLater(.microseconds(200)) {
                    try peer.send(Array("first".utf8))
                    let thread = try TestThread { child.cancel() }
                    try thread.join()
                }
                // It may be cancelled before it got them: then they are the next one's.
                var all = (try? await child.value) ?? []
                loop.callLater(.microseconds(200)) { try peer.send(Array("second".utf8)) }
                while all.count < 11 { all += try await reader.read(11 - all.count) }
                try expect(String(decoding: all, as: UTF8.self), equals: "firstsecond")
            }
            writer.close()
        }
    }

    /// A peer, and the socket `near` that is connected to it.
    private static func connectedPeer(_ near: inout CInt) throws -> RawPeer {
        let listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(listener) }
        let port = try boundPort(of: listener)
        try expect(listen(listener, 1), equals: 0, "listen")
        let peer = try RawPeer(port: port)
        near = accept(listener, nil, nil)
        try expect(near >= 0, "accept")
        return peer
    }
}
