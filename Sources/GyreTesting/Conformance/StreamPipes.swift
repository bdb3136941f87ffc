// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Streams over pipes, and the standard ones.
enum StreamPipes {
    static let behaviours: [Behaviour] =
        [
            Behaviour("pipesAreStreams", [], .streamPipes, pipesAreStreams),
            Behaviour("aStreamOfAPipeCanBeClosed", [], .streamPipes, aStreamOfAPipeCanBeClosed),
            Behaviour(
                "theStandardStreamsOutliveTheirStreams", [], .streamPipes, isProcessWide: true,
                theStandardStreamsOutliveTheirStreams),
            Behaviour(
                "onlyStandardStreamsMayBeFiles", [], .streamPipes, isProcessWide: true,
                onlyStandardStreamsMayBeFiles),
        ] + standardFiles

    /// Runs `body` in a task of a new loop, which leaves nothing behind.
    static func running(
        _ kit: ConformanceKit, _ body: sending @escaping () async throws -> Void
    ) throws {
        let loop = try kit.makeLoop()
        try kit.complete(loop.createTask(body), on: loop)
        while loop.statistics.operationCount > 0 { try kit.run(loop, .once) }
        try kit.drain(loop)
        try expect(loop.allTasks.count, equals: 0, "tasks are left")
        try expect(loop.resourceCount, equals: 0, "pipes are left")
        try loop.close()
    }

    static func pipesAreStreams(_ kit: ConformanceKit) throws {
        let count = 3_000_000
        try running(kit) {
            let pipe = PipeEnds()
            let reader = try Loop.running.openReadPipe(pipe.takeReader(), limit: 1000)
            let writer = try Loop.running.openWritePipe(pipe.takeWriter())
            let writing = Loop.running.createTask {
                try writer.write("the first line\n")
                for start in stride(from: 0, to: count, by: 100_000) {
                    try writer.write(pattern(100_000, seed: start))
                    try await writer.drain()
                }
                try writer.writeEOF()
                try await writer.waitClosed()
            }
            try expect(StreamReaders.text(try await reader.readLine()), equals: "the first line\n")
            try expectPattern(try await reader.readExactly(1_000_000), count: 1_000_000)
            try expectPattern(try await reader.readToEnd(), count: 2_000_000, seed: 1_000_000)
            try expect(reader.isAtEnd, "the writer closed it")
            try await writing.value
        }
    }

    static func aStreamOfAPipeCanBeClosed(_ kit: ConformanceKit) throws {
        try running(kit) {
            let pipe = PipeEnds()
            let reader = try Loop.running.openReadPipe(pipe.takeReader())
            let writer = try Loop.running.openWritePipe(pipe.takeWriter())
            let waiting = Loop.running.createTask(eager: true) { try await reader.readLine() }
            reader.transport?.close()
            try expect(try await waiting.value, equals: [], "the end")
            let broken = try await StreamReaders.error(LoopError.self) {
                try await writer.waitClosed()
            }
            try expect(broken.code, equals: .brokenPipe)
            try expect(reader.transport == nil, "it is gone")
        }
    }

    /// Runs `body` while the descriptor `standard` of the process is a copy of `fd`.
    static func replacing(
        _ standard: CInt, by fd: CInt, _ body: () async throws -> Void
    ) async throws {
        let kept = fcntl(standard, F_DUPFD_CLOEXEC, 3)
        dup2(fd, standard)
        defer {
            dup2(kept, standard)
            close(kept)
        }
        try await body()
    }

    static func isBlocking(_ fd: CInt) -> Bool { fcntl(fd, F_GETFL) & O_NONBLOCK == 0 }

    static func theStandardStreamsOutliveTheirStreams(_ kit: ConformanceKit) throws {
        try running(kit) {
            let pipe = PipeEnds()
            try await replacing(STDIN_FILENO, by: pipe.reader) {
                let reader = try Loop.running.standardInput()
                try expect(!isBlocking(STDIN_FILENO), "it is shared")
                try pipe.write(Array("a question\nand more".utf8))
                try expect(StreamReaders.text(try await reader.readLine()), equals: "a question\n")
                pipe.closeWriter()
                try expect(StreamReaders.text(try await reader.readLine()), equals: "and more")
                while reader.transport != nil { try await sleep(.milliseconds(1)) }
                try expect(isBlocking(STDIN_FILENO), "as it was before, and open")
            }
            for (standard, open) in [
                (STDOUT_FILENO, Loop.standardOutput), (STDERR_FILENO, Loop.standardError),
            ] {
                let pipe = PipeEnds()
                try await replacing(standard, by: pipe.writer) {
                    let writer = try open(Loop.running)()
                    try writer.writeLines(["an answer\n", "and another\n"])
                    try await writer.drain()
                    writer.close()
                    try await writer.waitClosed()
                    try expect(isBlocking(standard), "as it was before, and open")
                }
                try expect(
                    StreamReaders.text(try pipe.read()), equals: "an answer\nand another\n")
            }
        }
    }

    static func onlyStandardStreamsMayBeFiles(_ kit: ConformanceKit) throws {
        try running(kit) {
            let before = OpenDescriptors()
            for (path, code) in [
                ("/proc/self/exe", LoopError.Code.notSupported), ("/dev/null", .notPermitted),
            ] {
                let fd = open(path, O_RDONLY | O_CLOEXEC)
                try expectError(code) { _ = try Loop.running.openReadPipe(fd) }
                close(fd)
            }
            let folder = open("/", O_RDONLY | O_CLOEXEC)
            try await replacing(STDIN_FILENO, by: folder) {
                try expectError(.notSupported) { _ = try Loop.running.standardInput() }
            }
            try await replacing(STDOUT_FILENO, by: folder) {
                try expectError(.notSupported) { _ = try Loop.running.standardOutput() }
            }
            close(folder)
            try expectError(.invalidArgument) { _ = try Loop.running.openReadPipe(0, limit: 0) }
            try expectError(.system) { _ = try Loop.running.openWritePipe(-1) }
            try expect(OpenDescriptors().opened(since: before), equals: [], "descriptors")
        }
    }
}
