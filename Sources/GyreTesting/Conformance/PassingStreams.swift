// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

// Descriptors that travel between streams.

extension UnixSockets {
    static let passingStreams: [Behaviour] = [
        Behaviour(
            "descriptorsComeWithTheirLines", [], .unixSockets, isProcessWide: true,
            descriptorsComeWithTheirLines),
        Behaviour(
            "descriptorsOutliveTheirConnection", [], .unixSockets, isProcessWide: true,
            descriptorsOutliveTheirConnection),
        Behaviour(
            "streamsBoundWhatNobodyTakes", [], .unixSockets, isProcessWide: true,
            streamsBoundWhatNobodyTakes),
        Behaviour("streamsPassWhenAskedTo", [], .unixSockets, streamsPassWhenAskedTo),
    ]

    private typealias Streams = (reader: LoopStreamReader, writer: LoopStreamWriter)

    /// Runs `body` with both ends of a connection that passes descriptors.
    private static func passing(
        _ kit: ConformanceKit, _ body: @escaping @Sendable (Streams, Streams) async throws -> Void
    ) throws {
        let loop = try kit.makeLoop()
        let before = OpenDescriptors()
        let task = loop.createTask {
            var ends: [CInt] = [-1, -1]
            try expect(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &ends), equals: 0)
            var options = LoopSocketOptions()
            options.passesDescriptors = true
            let near = try Loop.running.openConnection(descriptor: ends[0], options: options)
            let far = try Loop.running.openConnection(descriptor: ends[1], options: options)
            try await body(near, far)
            for writer in [near.writer, far.writer] {
                writer.close()
                try? await writer.waitClosed()
            }
        }
        try kit.complete(task, on: loop)
        while loop.resourceCount > 0 { try kit.run(loop, .once) }
        let left = OpenDescriptors().opened(since: before)
        try expect(left.filter { !$0.contains("pipe:") }, equals: [], "sockets")
        try loop.close()
    }

    /// More of them than may wait at once: the sender gets ahead, and has to wait.
    static func descriptorsComeWithTheirLines(_ kit: ConformanceKit) throws {
        let count = 400
        try passing(kit) { near, far in
            let sending = Loop.running.createTask {
                for index in 0..<count {
                    let fd = try pipe(holding: "\(index)")
                    try near.writer.write(
                        "line \(index)\n", passing: Array([fd, fd].dropLast(index % 2)))
                    close(fd)
                    if index % 100 == 99 { try near.writer.write("a line without\n") }
                    if index % 50 == 49 { try await sleep(.zero) }
                }
                try near.writer.writeEOF()
            }
            // Those of the first lines are there, and nobody reads yet.
            while far.reader.bufferedCount == 0 { try await sleep(.zero) }
            try expect(far.reader.takeDescriptors(), equals: [], "nothing is read")
            var index = 0
            var descriptors: [CInt] = []
            for try await line in far.reader.lines {
                descriptors += far.reader.takeDescriptors()
                // Those of the next may have come with it.
                guard line.hasPrefix("line") else { continue }
                try expect(line, equals: "line \(index)")
                let due = 2 - index % 2
                try expect(descriptors.count, equals: due, line)
                // Two of the same open file: the first reads all that it holds.
                for (place, fd) in descriptors.enumerated() {
                    try expect(try contents(of: fd), equals: place == 0 ? "\(index)" : "", line)
                }
                descriptors = []
                index += 1
            }
            try expect(index, equals: count)
            try await sending.value
        }
    }

    static func descriptorsOutliveTheirConnection(_ kit: ConformanceKit) throws {
        try passing(kit) { near, far in
            let fd = try pipe(holding: "kept")
            try near.writer.write([7], passing: [fd])
            close(fd)
            near.writer.close()
            try await near.writer.waitClosed()
            while far.reader.bufferedCount == 0 { try await sleep(.zero) }
            far.writer.close()
            try await far.writer.waitClosed()
            try expect(try await far.reader.read(10), equals: [7])
            let descriptors = far.reader.takeDescriptors()
            try expect(descriptors.count, equals: 1)
            for fd in descriptors { try expect(try contents(of: fd), equals: "kept") }
            try expect(far.reader.takeDescriptors(), equals: [])
        }
    }

    static func streamsBoundWhatNobodyTakes(_ kit: ConformanceKit) throws {
        try passing(kit) { near, far in
            let fd = try pipe(holding: "x")
            let name = linkTarget("/proc/self/fd/\(fd)")
            for _ in 0..<3 {
                try near.writer.write([1], passing: [CInt](repeating: fd, count: 100))
            }
            close(fd)
            let error = try await StreamReaders.error(LoopError.self) {
                _ = try await far.reader.readToEnd()
            }
            try expect(error.code, equals: .noDescriptors)
            far.writer.close()
            near.writer.abort()
            try expect(far.reader.takeDescriptors(), equals: [], "they are closed")
            while near.reader.transport != nil { try await sleep(.milliseconds(1)) }
            let open = OpenDescriptors().targets.values.filter { $0 == name }
            try expect(open.count, equals: 0, "left open")
        }
    }

    static func streamsPassWhenAskedTo(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let path = folder.path("streams.sock")
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            var options = LoopUnixServerOptions()
            options.passesDescriptors = true
            let server = try Loop.running.startUnixServer(path: path, options: options) {
                reader, writer in
                _ = try await reader.readLine()
                let texts = try reader.takeDescriptors().map { try contents(of: $0) }
                try writer.write(texts.joined(separator: ",") + "\n")
            }
            for passes in [true, false] {
                var options = LoopUnixConnectionOptions()
                options.passesDescriptors = passes
                let (reader, writer) = try await Loop.running.openUnixConnection(
                    path: path, options: options)
                let pipes = [try pipe(holding: "one"), try pipe(holding: "two")]
                if passes {
                    try writer.write("two of them\n", passing: pipes)
                    try expectError(.invalidArgument) { try writer.write("", passing: pipes) }
                } else {
                    try expectError(.notSupported) { try writer.write("x\n", passing: pipes) }
                    try writer.write("none\n")
                }
                for pipe in pipes { close(pipe) }
                let answer = StreamReaders.text(try await reader.readLine())
                try expect(answer, equals: passes ? "one,two\n" : "\n")
                try expect(reader.takeDescriptors(), equals: [])
                writer.close()
                try await writer.waitClosed()
                // Nobody gets them any more.
                try writer.write("late\n", passing: [0])
            }
            server.close()
            try await server.waitClosed()
        }
        try kit.complete(task, on: loop)
        try loop.close()
        withExtendedLifetime(folder) {}
    }
}
