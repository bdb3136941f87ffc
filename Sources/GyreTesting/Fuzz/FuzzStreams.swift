// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// The clients and the server of ``FuzzTraffic/streams``.
enum FuzzStreams {
    /// Less than is read at once here and there, and more than a line has.
    private static let limit = 1000
    private static let lineMax = 300

    static func run(_ crowd: FuzzCrowd) async throws {
        let server = try await Loop.running.startServer(
            host: "127.0.0.1", port: 0, limit: limit
        ) { reader, writer in
            try await crowd.serving { try await echo(reader, writer, crowd) }
        }
        let port = try server.port
        try await crowd.run { _, generator in
            var random = generator
            let (reader, writer) = try await crowd.insist {
                try await Loop.running.openConnection(host: "127.0.0.1", port: port, limit: limit)
            }
            try await talk(reader, writer, &random, crowd)
            writer.close()
            try await crowd.insist { try await writer.waitClosed() }
        }
        server.close()
        try await server.waitClosed()
    }

    private static func echo(
        _ reader: LoopStreamReader, _ writer: LoopStreamWriter, _ crowd: FuzzCrowd
    ) async throws {
        var random = crowd.fork()
        do {
            while true {
                let count = 1 + random.next(below: 5000)
                let bytes = try await crowd.insist { try await reader.read(count) }
                if bytes.isEmpty { return }
                try writer.write(bytes)
                _ = try await crowd.attempt { try await writer.drain() }
            }
        } catch is LoopError {
            // A client that was cancelled while it connected broke the connection off.
        }
    }

    /// Writes lines, and reads them back in every way there is.
    static func talk(
        _ reader: LoopStreamReader, _ writer: LoopStreamWriter, _ random: inout SeededRandom,
        _ crowd: FuzzCrowd
    ) async throws {
        var sent = 0
        // What was sent and did not come back.
        var pending: [UInt8] = []
        while sent < crowd.byteCount {
            if pending.isEmpty || (pending.count < 32 << 10 && random.next(below: 2) == 0) {
                let bytes = lines(&random)
                try writer.write(bytes)
                pending += bytes
                sent += bytes.count
                _ = try await crowd.attempt { try await writer.drain() }
            } else {
                try await read(reader, &pending, &random, crowd)
            }
        }
        try writer.writeEOF()
        let rest = try await crowd.insist { try await reader.readToEnd() }
        try expect(rest == pending, "\(rest.count) bytes of \(pending.count) were left, or others")
        try expect(reader.isAtEnd, "there is more")
    }

    /// Some lines of letters.
    private static func lines(_ random: inout SeededRandom) -> [UInt8] {
        (0...random.next(below: 20)).flatMap { _ in
            let length = random.next(below: lineMax)
            let first = random.next(below: 26)
            return (0..<length).map { UInt8(97 + (first + $0) % 26) } + [10]
        }
    }

    private static func read(
        _ reader: LoopStreamReader, _ pending: inout [UInt8], _ random: inout SeededRandom,
        _ crowd: FuzzCrowd
    ) async throws {
        let line = pending.firstIndex(of: 10).map { $0 + 1 } ?? 0
        let count = 1 + random.next(below: 5000)
        var expected: Int?
        let bytes: [UInt8]?
        switch random.next(below: 4) {
        case 0: bytes = try await crowd.attempt { try await reader.read(count) }
        case 1:
            let count = min(count, pending.count)
            expected = count
            bytes = try await crowd.attempt { try await reader.readExactly(count) }
        case 2:
            expected = line
            bytes = try await crowd.attempt { try await reader.readLine() }
        default:
            expected = line
            bytes = try await crowd.attempt { try await reader.readUntil("\r", "\n") }
        }
        guard let bytes else { return }
        if let expected { try expect(bytes.count, equals: expected, "bytes") }
        try expect(!bytes.isEmpty && bytes.count <= pending.count, "\(bytes.count) bytes came")
        try expect(pending.starts(with: bytes), "other bytes came")
        pending.removeFirst(bytes.count)
    }
}

/// The clients and the server of ``FuzzTraffic/datagrams``: over Unix sockets, which lose none.
enum FuzzDatagrams {
    static func run(_ crowd: FuzzCrowd) async throws {
        let folder = try SocketFolder()
        let address = try LoopAddress(unixPath: folder.path("server"))
        try await withDatagramEndpoint(local: address) { server in
            let echo = Loop.running.createTask(eager: true) {
                try await crowd.serving {
                    while let datagram = try await crowd.insist({ try await server.receive() }) {
                        _ = try await crowd.attempt {
                            try await server.sendTo(datagram.bytes, datagram.address)
                        }
                    }
                }
            }
            try await crowd.run { number, generator in
                try await client(
                    LoopAddress(unixPath: folder.path("\(number)")), address, generator, crowd)
            }
            server.abort()
            try await echo.value
        }
        withExtendedLifetime(folder) {}
    }

    private static func client(
        _ local: LoopAddress, _ remote: LoopAddress, _ generator: SeededRandom, _ crowd: FuzzCrowd
    ) async throws {
        var random = generator
        let endpoint = try Loop.running.openDatagramEndpoint(local: local, remote: remote)
        var sent = 0
        var pending: [[UInt8]] = []
        while sent < crowd.byteCount || !pending.isEmpty {
            let maySend = sent < crowd.byteCount && pending.count < 64
            if maySend, pending.isEmpty || random.next(below: 2) == 0 {
                let bytes = pattern(random.next(below: 2000), seed: sent)
                // Cancelling takes back nothing.
                sent += bytes.count + 1
                pending.append(bytes)
                _ = try await crowd.attempt { try await endpoint.sendTo(bytes) }
            } else if let datagram = try await crowd.attempt({ try await endpoint.receive() }) {
                try expect(datagram?.bytes == pending.removeFirst(), "another datagram came")
            }
        }
        endpoint.abort()
        while endpoint.localAddress != nil {
            _ = try await crowd.attempt { try await sleep(.zero) }
        }
    }
}

/// The clients of ``FuzzTraffic/processes``, each with processes of its own.
enum FuzzProcesses {
    static func run(_ crowd: FuzzCrowd) async throws {
        try await crowd.run { _, generator in
            var random = generator
            if random.next(below: 2) == 0 {
                let process = try Loop.running.createSubprocessExec("sleep", ["60"])
                _ = try await crowd.attempt { try await process.wait() }
                try process.kill()
                let code = try await crowd.insist { try await process.wait() }
                try expect(code, equals: -SIGKILL)
            }
            var options = LoopProcessOptions(stdin: .pipe, stdout: .pipe)
            options.limit = 1000
            let process = try Loop.running.createSubprocessExec("cat", options: options)
            guard let reader = process.stdout, let writer = process.stdin else {
                throw ConformanceFailure("there are no pipes")
            }
            try await FuzzStreams.talk(reader, writer, &random, crowd)
            try expect(try await crowd.insist { try await process.wait() }, equals: 0)
            try expect(process.returnCode, equals: 0)
        }
    }
}
