// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet

/// Pipes, and what is read and written like one.
enum Pipes {
    static let behaviours: [Behaviour] = [
        Behaviour("aReadPipeEndsWithItsWriter", [], .pipes, aReadPipeEndsWithItsWriter),
        Behaviour("aPipeCarriesMoreThanItHolds", [], .pipes, aPipeCarriesMoreThanItHolds),
        Behaviour("aPausedPipeMakesItsWriterWait", [], .pipes, aPausedPipeMakesItsWriterWait),
        Behaviour(
            "closingAWritePipeSendsWhatWasWritten", [], .pipes,
            closingAWritePipeSendsWhatWasWritten),
        Behaviour(
            "aReaderThatLeavesIsABrokenPipe", [], .pipes, isProcessWide: true,
            aReaderThatLeavesIsABrokenPipe),
        Behaviour("aPipeIsReadInTurns", [], .pipes, aPipeIsReadInTurns),
        Behaviour("filesAreNoPipes", [], .pipes, filesAreNoPipes),
        Behaviour("theWrongEndOfAPipeIsRefused", [], .pipes, theWrongEndOfAPipeIsRefused),
        Behaviour("aTerminalIsReadAndWritten", [], .pipes, aTerminalIsReadAndWritten),
        Behaviour("socketsServeAsPipes", [], .pipes, socketsServeAsPipes),
        Behaviour(
            "aPipeIsBlockingAgainAtItsEnd", [], .pipes, isProcessWide: true,
            aPipeIsBlockingAgainAtItsEnd),
        Behaviour(
            "moreThanAQueueTakesCanBeAborted", [], .pipes, moreThanAQueueTakesCanBeAborted),
        Behaviour(
            "pipesLeaveNoDescriptors", [], .pipes, isProcessWide: true, pipesLeaveNoDescriptors),
    ]

    /// A recorder that stops `loop` at its end.
    private static func recorder(stopping loop: Loop) -> Recorder {
        let recorder = Recorder()
        recorder.onLost = { loop.stop() }
        return recorder
    }

    private static func isBlocking(_ fd: CInt) -> Bool { fcntl(fd, F_GETFL) & O_NONBLOCK == 0 }

    static func aReadPipeEndsWithItsWriter(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pipe = PipeEnds()
        let recorder = recorder(stopping: loop)
        // A pipe has no other direction that could be kept open.
        recorder.keepsOpen = true
        let transport = try loop.connectReadPipe(pipe.takeReader()) { recorder }
        try expect(recorder.events, equals: [.made], "before the call returned")
        try expect(recorder.transport === transport, "another transport")
        try expect(transport.isReading, "it reads")
        try expectError(.notSupported) { try transport.write("to the reading end") }
        loop.callSoon {
            try pipe.write(pattern(5000))
            pipe.closeWriter()
        }
        try kit.run(loop)
        try expectPattern(recorder.received, count: 5000)
        try expect(recorder.events, equals: [.made, .data, .end, .lost])
        try expect(recorder.error == nil, "an end is no error")
        try expect(transport.isClosing && transport.descriptor == -1, "it is closed")
        try loop.close()
    }

    static func aPipeCarriesMoreThanItHolds(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let count = 3 << 20
        let pipe = PipeEnds()
        let reader = recorder(stopping: loop)
        let writer = Recorder()
        try loop.connectReadPipe(pipe.takeReader()) { reader }
        let transport = try loop.connectWritePipe(pipe.takeWriter()) { writer }
        try expect(!transport.isReading, "the writing end reads nothing")
        // Small pieces and large ones, some in the same iteration.
        var sent = 0
        func writeSome() throws {
            while sent < count, writer.count(of: .paused) == writer.count(of: .resumed) {
                let size = min(count - sent, sent % 3 == 0 ? 100_000 : 777)
                try transport.write(pattern(size, seed: sent))
                sent += size
            }
            if sent == count { transport.close() }
        }
        writer.onResume = { loop.callSoon { try writeSome() } }
        loop.callSoon { try writeSome() }
        try kit.run(loop)
        try kit.drain(loop)
        if let error = writer.error ?? reader.error { throw error }
        try expectPattern(reader.received, count: count)
        try expect(writer.count(of: .paused) > 1, "the writer was told to wait")
        try expect(writer.events.last, equals: .lost)
        try loop.close()
    }

    static func aPausedPipeMakesItsWriterWait(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pipe = PipeEnds()
        let recorder = recorder(stopping: loop)
        let transport = try loop.connectReadPipe(pipe.takeReader()) { recorder }
        recorder.onData = {
            let count = recorder.received.count
            transport.pauseReading()
            try pipe.write(pattern(1000, seed: count))
            loop.callLater(.milliseconds(5)) {
                try expect(recorder.received.count, equals: count, "while it was paused")
                if count == 2000 {
                    recorder.onData = {}
                    pipe.closeWriter()
                }
                transport.resumeReading()
                try expect(recorder.received.count, equals: count, "inside the call")
            }
        }
        try pipe.write(pattern(1000))
        try kit.run(loop)
        try expectPattern(recorder.received, count: 3000)
        try loop.close()
    }

    static func closingAWritePipeSendsWhatWasWritten(_ kit: ConformanceKit) throws {
        for ending in ["close", "writeEOF"] {
            let loop = try kit.makeLoop()
            let pipe = PipeEnds()
            let recorder = recorder(stopping: loop)
            let transport = try loop.connectWritePipe(pipe.takeWriter()) { recorder }
            let all = SharedValue<[UInt8]>([])
            let fd = pipe.reader
            loop.callSoon {
                try transport.write(pattern(400_000))
                if ending == "close" { transport.close() } else { transport.writeEOF() }
                try expect(transport.writeBufferSize > 0, "a pipe holds less")
                try transport.write("dropped")
            }
            let thread = try TestThread {
                while true {
                    let bytes = try PipeEnds.read(fd)
                    if bytes.isEmpty { return }
                    all.update { $0 += bytes }
                }
            }
            try kit.run(loop)
            try thread.join()
            try expectPattern(all.value, count: 400_000)
            try expect(recorder.error == nil, "\(ending) is no error")
            try loop.close()
            withExtendedLifetime(pipe) {}
        }
    }

    static func aReaderThatLeavesIsABrokenPipe(_ kit: ConformanceKit) throws {
        // So that the signal would end this process.
        signal(SIGPIPE, SIG_DFL)
        var wanted = sigset_t()
        sigemptyset(&wanted)
        sigaddset(&wanted, SIGPIPE)
        pthread_sigmask(SIG_UNBLOCK, &wanted, nil)

        // Nothing is written; something waits to be sent; something is written when it left.
        for waiting in [0, 1_000_000, -1] {
            let loop = try kit.makeLoop()
            let pipe = PipeEnds()
            let recorder = recorder(stopping: loop)
            let transport = try loop.connectWritePipe(pipe.takeWriter()) { recorder }
            loop.callSoon {
                if waiting > 0 { try transport.write(pattern(waiting)) }
                loop.callSoon {
                    pipe.closeReader()
                    if waiting < 0 { try transport.write("too late") }
                }
            }
            try kit.run(loop)
            try expect(recorder.events.last, equals: .lost)
            try expect((recorder.error as? LoopError)?.code, equals: .brokenPipe)
            try expect((recorder.error as? LoopError)?.errno, equals: EPIPE)
            try loop.close()
        }
    }

    /// A pipe that is never empty does not keep others waiting.
    static func aPipeIsReadInTurns(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let busy = PipeEnds()
        let quiet = PipeEnds()
        let first = Recorder()
        first.onData = {
            try busy.write([1])
            if first.pieces == 5 { quiet.closeWriter() }
        }
        let second = recorder(stopping: loop)
        try loop.connectReadPipe(busy.takeReader()) { first }
        try loop.connectReadPipe(quiet.takeReader()) { second }
        try busy.write([1])
        try kit.run(loop)
        try expect(first.pieces >= 5, "the busy pipe was read")
        try loop.close()
        first.forgetClosures()
    }

    static func filesAreNoPipes(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC)
        let folder = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        let null = open("/dev/null", O_RDWR | O_CLOEXEC)
        defer { for fd in [file, folder, null] { close(fd) } }
        for fd in [file, folder, null] {
            let error = try expectError(LoopError.self) {
                try loop.connectReadPipe(fd) { Recorder() }
            }
            try expect(error.detail != nil, "it says why")
            try expect(isBlocking(fd), "it was not touched")
        }
        try expectError(.notSupported) { try loop.connectWritePipe(file) { Recorder() } }
        try expectError(LoopError.self) { try loop.connectWritePipe(null) { Recorder() } }
        try expectError(.system) { try loop.connectReadPipe(-1) { Recorder() } }
        try loop.close()
    }

    static func theWrongEndOfAPipeIsRefused(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pipe = PipeEnds()
        for _ in 0..<2 {
            let errors = [
                try expectError(LoopError.self) {
                    try loop.connectReadPipe(pipe.writer) { Recorder() }
                },
                try expectError(LoopError.self) {
                    try loop.connectWritePipe(pipe.reader) { Recorder() }
                },
            ]
            try expect(errors.map(\.errno), equals: [EBADF, EBADF])
        }
        let recorder = Recorder()
        let transport = try loop.connectReadPipe(pipe.takeReader()) { recorder }
        try expectError(.inUse) {
            try loop.connectReadPipe(transport.descriptor) { Recorder() }
        }
        try loop.close()
        try expectError(.closed) { try loop.connectReadPipe(pipe.writer) { Recorder() } }
    }

    static func aTerminalIsReadAndWritten(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let far = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
        // TIOCSPTLCK and TIOCGPTPEER, which Swift's Glibc module does not show.
        var isLocked: CInt = 0
        try expect(far >= 0 && ioctl(far, 0x4004_5431, &isLocked) == 0, "no terminal")
        let near = ioctl(far, 0x5441, O_RDWR | O_NOCTTY | O_CLOEXEC)
        let copy = fcntl(near, F_DUPFD_CLOEXEC, 0)
        try expect(near >= 0 && copy >= 0, "the terminal opens")
        let reader = recorder(stopping: loop)
        let writer = Recorder()
        try loop.connectReadPipe(near) { reader }
        let transport = try loop.connectWritePipe(copy) { writer }
        reader.onData = {
            try transport.write("heard \(reader.received.count)\n")
            if reader.received.count == 8 { loop.stop() }
        }
        // A terminal hands out one line at a time, however many there are.
        try expect(write(far, "one\ntwo\n", 8), equals: 8)
        try kit.run(loop)
        try expect(String(decoding: reader.received, as: UTF8.self), equals: "one\ntwo\n")
        try expect(reader.pieces, equals: 2)
        var echo = ""
        while !echo.hasSuffix("heard 8\r\n") {
            echo += String(decoding: try PipeEnds.read(far), as: UTF8.self)
        }
        close(far)
        try kit.run(loop)
        try expect(reader.events, equals: [.made, .data, .end, .lost], "at a hang-up")
        try loop.close()
    }

    static func socketsServeAsPipes(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var ends: [CInt] = [-1, -1]
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        try expect(socketpair(AF_UNIX, kind, 0, &ends), equals: 0)
        let back = fcntl(ends[1], F_DUPFD_CLOEXEC, 0)
        let reader = Recorder()
        let writer = recorder(stopping: loop)
        let reading = try loop.connectReadPipe(ends[0]) { reader }
        let transport = try loop.connectWritePipe(ends[1]) { writer }
        // What comes back to the writer, who reads nothing, is no sign of its reader's end.
        try expect(send(ends[0], "x", 1, 0), equals: 1)
        loop.callSoon { try transport.write(pattern(300_000)) }
        reader.onData = {
            if reader.received.count == 300_000 {
                try expect(!transport.isClosing, "the writer goes on")
                reading.abort()
                loop.callLater(.milliseconds(1)) { try transport.write("nobody reads it") }
            }
        }
        try kit.run(loop)
        try expectPattern(reader.received, count: 300_000)
        try expect((writer.error as? LoopError)?.code, equals: .brokenPipe)
        try expect(try PipeEnds.read(back), equals: [UInt8(ascii: "x")])
        close(back)
        try loop.close()
    }

    static func aPipeIsBlockingAgainAtItsEnd(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pipe = PipeEnds()
        // Copies share the open file, as another process would.
        let copies = (0..<2).map { _ in fcntl(pipe.reader, F_DUPFD_CLOEXEC, 0) }
        let recorders = (0..<2).map { _ in recorder(stopping: loop) }
        let transports = try zip([copies[0], pipe.takeReader()], recorders).map { fd, recorder in
            try loop.connectReadPipe(fd) { recorder }
        }
        try expect(!isBlocking(copies[1]), "while it is read")
        for (number, transport) in transports.enumerated() {
            loop.callSoon { transport.close() }
            try kit.run(loop)
            // The first that ends does not take from the other what it needs.
            try expect(isBlocking(copies[1]), equals: number == 1, "after \(number + 1)")
        }
        // A loop that closes gives it back, too, and who was non-blocking before stays it.
        for wasBlocking in [true, false] {
            let loop = try kit.makeLoop()
            if !wasBlocking { _ = fcntl(copies[1], F_SETFL, O_NONBLOCK) }
            let fd = fcntl(copies[1], F_DUPFD_CLOEXEC, 0)
            try loop.connectReadPipe(fd) { Recorder() }
            try loop.close()
            try expect(isBlocking(copies[1]), equals: wasBlocking)
        }
        close(copies[1])
        try loop.close()
    }

    static func pipesLeaveNoDescriptors(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var made: Set<String> = []
        for round in 0..<20 {
            let pipe = PipeEnds()
            made.insert(linkTarget("/proc/self/fd/\(pipe.reader)"))
            let reader = Recorder()
            let writer = Recorder()
            for recorder in [reader, writer] {
                recorder.onLost = { if reader.events.last == writer.events.last { loop.stop() } }
            }
            let reading = try loop.connectReadPipe(pipe.takeReader()) { reader }
            let writing = try loop.connectWritePipe(pipe.takeWriter()) { writer }
            loop.callSoon {
                try writing.write(pattern(100_000))
                switch round % 3 {
                case 0: writing.close()
                case 1: reading.abort()
                default: writing.abort()
                }
            }
            try kit.run(loop)
        }
        try expect(made.count > 1, "the pipes have names")
        try expect(made.intersection(OpenDescriptors().targets.values), equals: [])
        try expect(loop.statistics.operationCount, equals: 0, "operations are left")
        let pipe = PipeEnds()
        made = [linkTarget("/proc/self/fd/\(pipe.reader)")]
        try loop.connectReadPipe(pipe.takeReader()) { Recorder() }
        try loop.connectWritePipe(pipe.takeWriter()) { Recorder() }
        try loop.close()
        try expect(made.intersection(OpenDescriptors().targets.values), equals: [])
    }

    /// Operations that a full submission queue made wait are cancelled as the others are.
    static func moreThanAQueueTakesCanBeAborted(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let ends = (0..<600).map { _ in PipeEnds() }
        var lost = 0
        let transports = try ends.map { pipe in
            let recorder = Recorder()
            recorder.onLost = {
                lost += 1
                if lost == 600 { loop.stop() }
            }
            return try loop.connectReadPipe(pipe.takeReader()) { recorder }
        }
        loop.callSoon { loop.callSoon { for transport in transports { transport.abort() } } }
        try kit.run(loop)
        try expect(loop.statistics.operationCount, equals: 0, "operations are left")
        try loop.close()
    }
}
