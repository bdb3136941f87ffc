// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

// Standard streams that a shell connected with files.

extension StreamPipes {
    static var standardFiles: [Behaviour] {
        [
            Behaviour(
                "theStandardInputMayBeAFile", [], .streamPipes, isProcessWide: true,
                theStandardInputMayBeAFile),
            Behaviour(
                "aFileThatIsReadGoesAtItsReadersPace", [], .streamPipes, isProcessWide: true,
                aFileThatIsReadGoesAtItsReadersPace),
            Behaviour(
                "aStandardInputCanBeClosedWhileItIsRead", [], .streamPipes, isProcessWide: true,
                aStandardInputCanBeClosedWhileItIsRead),
            Behaviour(
                "theStandardOutputMayBeAFile", [], .streamPipes, isProcessWide: true,
                theStandardOutputMayBeAFile),
            Behaviour(
                "aFullDeviceIsAnErrorOfTheStandardOutput", [], .streamPipes, isProcessWide: true,
                aFullDeviceIsAnErrorOfTheStandardOutput),
        ]
    }

    /// A file without a name that holds `bytes`, at its beginning.
    private static func file(holding bytes: [UInt8] = []) throws -> CInt {
        let name = "/tmp/gyre-standard-\(getpid())-\(UInt64.random(in: 0 ... .max))"
        let fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        try expect(fd >= 0, "no file: errno \(errno)")
        unlink(name)
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(fd, $0.baseAddress, $0.count) }
            try expect(count > 0, "cannot write: errno \(errno)")
            rest = rest.dropFirst(count)
        }
        lseek(fd, 0, SEEK_SET)
        return fd
    }

    private static func position(of fd: CInt) -> Int { lseek(fd, 0, SEEK_CUR) }

    /// Nothing that was opened meanwhile stays: a thread may still hold what it read last.
    private static func expectNothingLeft(since before: OpenDescriptors) async throws {
        let deadline = ContinuousClock.now + .seconds(20)
        while !OpenDescriptors().opened(since: before).isEmpty, ContinuousClock.now < deadline {
            try await sleep(.milliseconds(1))
        }
        try expect(OpenDescriptors().opened(since: before), equals: [], "descriptors")
    }

    static func theStandardInputMayBeAFile(_ kit: ConformanceKit) throws {
        try running(kit) {
            let before = OpenDescriptors()
            let count = 1_000_000
            let fd = try file(holding: Array("first\nsecond\n".utf8) + pattern(count))
            try await replacing(STDIN_FILENO, by: fd) {
                let reader = try Loop.running.standardInput()
                try expect(isBlocking(STDIN_FILENO), "nothing is changed")
                for line in ["first\n", "second\n"] {
                    try expect(StreamReaders.text(try await reader.readLine()), equals: line)
                }
                try expectPattern(try await reader.readExactly(count / 2), count: count / 2)
                try expectPattern(
                    try await reader.readToEnd(), count: count / 2, seed: count / 2)
                try expect(reader.isAtEnd, "the file ends")
                while reader.transport != nil { try await sleep(.milliseconds(1)) }
                try expect(fcntl(STDIN_FILENO, F_GETFD) >= 0, "it is open")
            }
            close(fd)
            for path in ["/dev/null", "/proc/self/mountinfo"] {
                let fd = open(path, O_RDONLY | O_CLOEXEC)
                let isEmpty = path == "/dev/null"
                try await replacing(STDIN_FILENO, by: fd) {
                    let reader = try Loop.running.standardInput()
                    try expect(try await reader.readToEnd().isEmpty, equals: isEmpty, path)
                    try expect(try await reader.readLine(), equals: [], path)
                }
                close(fd)
            }
            try await expectNothingLeft(since: before)
        }
    }

    static func aFileThatIsReadGoesAtItsReadersPace(_ kit: ConformanceKit) throws {
        try running(kit) {
            let count = 4 << 20
            let fd = try file(holding: pattern(count))
            try await replacing(STDIN_FILENO, by: fd) {
                let reader = try Loop.running.standardInput(limit: 100_000)
                try expectPattern(try await reader.readExactly(1000), count: 1000)
                // As far ahead as the limit allows, and then no further.
                while reader.bufferedCount <= 200_000 { try await sleep(.milliseconds(1)) }
                for _ in 0..<20 { try await sleep(.milliseconds(1)) }
                let read = position(of: fd)
                try expect(read <= 500_000, "\(read) bytes were read, and nobody wants them")
                // One at a time reads, and a cancelled one loses nothing.
                let tooMuch = Loop.running.createTask(eager: true) {
                    try await reader.readExactly(2 * count)
                }
                try await sleep(.zero)
                tooMuch.cancel()
                _ = try await StreamReaders.error(CancellationError.self) {
                    _ = try await tooMuch.value
                }
                let rest = try await reader.readToEnd()
                try expectPattern(rest, count: count - 1000, seed: 1000)
            }
            close(fd)
        }
    }

    static func aStandardInputCanBeClosedWhileItIsRead(_ kit: ConformanceKit) throws {
        try running(kit) {
            let before = OpenDescriptors()
            let fd = open("/dev/zero", O_RDONLY | O_CLOEXEC)
            try await replacing(STDIN_FILENO, by: fd) {
                let reader = try Loop.running.standardInput()
                let zeros = try await reader.readExactly(300_000)
                try expect(zeros.allSatisfy { $0 == 0 }, "no zeros")
                let waiting = Loop.running.createTask(eager: true) { try await reader.readToEnd() }
                try await sleep(.zero)
                reader.transport?.close()
                _ = try await waiting.value
                try expect(reader.transport == nil, "it is closed")
                // At once, before anything came.
                let other = try Loop.running.standardInput()
                other.transport?.abort()
                try expect(try await other.readToEnd(), equals: [])
            }
            close(fd)
            try await expectNothingLeft(since: before)
        }
        // A loop that is closed meanwhile.
        let loop = try kit.makeLoop()
        let fd = open("/dev/zero", O_RDONLY | O_CLOEXEC)
        let task = loop.createTask {
            try await replacing(STDIN_FILENO, by: fd) {
                let reader = try Loop.running.standardInput()
                _ = try await reader.readExactly(1)
            }
        }
        try kit.complete(task, on: loop)
        close(fd)
        try loop.close()
        let deadline = ContinuousClock.now + .seconds(20)
        func isOpen() -> Bool { OpenDescriptors().targets.values.contains("/dev/zero") }
        while isOpen(), ContinuousClock.now < deadline { usleep(1000) }
        try expect(!isOpen(), "a thread reads on")
    }

    static func theStandardOutputMayBeAFile(_ kit: ConformanceKit) throws {
        try running(kit) {
            let before = OpenDescriptors()
            for (standard, open) in [
                (STDOUT_FILENO, Loop.standardOutput), (STDERR_FILENO, Loop.standardError),
            ] {
                let fd = try file(holding: Array("before\n".utf8))
                lseek(fd, 0, SEEK_END)
                try await replacing(standard, by: fd) {
                    let writer = try open(Loop.running)()
                    try expect(isBlocking(standard), "nothing is changed")
                    try writer.writeLines(["one\n", "two\n"])
                    try expect(position(of: fd), equals: 15, "it is written at once")
                    for _ in 0..<100 { try writer.write(pattern(10_000)) }
                    try await writer.drain()
                    writer.close()
                    try await writer.waitClosed()
                    try expect(fcntl(standard, F_GETFD) >= 0, "it is open")
                }
                try expect(position(of: fd), equals: 1_000_015)
                var bytes = [UInt8](repeating: 0, count: 10_015)
                try expect(pread(fd, &bytes, bytes.count, 0), equals: bytes.count)
                try expect(
                    StreamReaders.text(Array(bytes[..<15])), equals: "before\none\ntwo\n")
                try expectPattern(Array(bytes[15...]), count: 10_000)
                close(fd)
            }
            let null = open("/dev/null", O_WRONLY | O_CLOEXEC)
            try await replacing(STDOUT_FILENO, by: null) {
                let writer = try Loop.running.standardOutput()
                try writer.write(pattern(3_000_000))
                try writer.writeEOF()
                try await writer.waitClosed()
            }
            close(null)
            try await expectNothingLeft(since: before)
        }
    }

    static func aFullDeviceIsAnErrorOfTheStandardOutput(_ kit: ConformanceKit) throws {
        try running(kit) {
            let full = open("/dev/full", O_WRONLY | O_CLOEXEC)
            try await replacing(STDOUT_FILENO, by: full) {
                let writer = try Loop.running.standardOutput()
                try writer.write("nobody will read this\n")
                let error = try await StreamReaders.error(LoopError.self) {
                    try await writer.waitClosed()
                }
                try expect(error.errno, equals: ENOSPC)
                let again = try await StreamReaders.error(LoopError.self) {
                    try await writer.drain()
                }
                try expect(again.errno, equals: ENOSPC)
            }
            close(full)
        }
    }
}
