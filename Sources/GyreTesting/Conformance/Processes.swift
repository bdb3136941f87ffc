// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Processes, looked after by protocol objects.
enum Processes {
    static let behaviours: [Behaviour] = [
        // Alone: a process that is being started by another test has the pipes for a moment.
        Behaviour(
            "processCallbacksComeInOrder", [116], .processes, isProcessWide: true,
            processCallbacksComeInOrder),
        Behaviour(
            "aPipeThatAnotherKeepsHoldsNobodyUp", [], .processes,
            aPipeThatAnotherKeepsHoldsNobodyUp),
        Behaviour("aPausedPipeIsReadAfterTheExit", [], .processes, aPausedPipeIsReadAfterTheExit),
        Behaviour("aPauseDoesNotHoldTheExit", [], .processes, aPauseDoesNotHoldTheExit),
        Behaviour(
            "aPipeMayGetAnotherProtocol", [], .processes, aPipeMayGetAnotherProtocol),
        Behaviour(
            "aMissingProgramLeavesNothing", [118], .processes, isProcessWide: true,
            aMissingProgramLeavesNothing),
        Behaviour(
            "aChildInheritsNothingOfTheLoop", [118], .processes, isProcessWide: true,
            aChildInheritsNothingOfTheLoop),
        Behaviour(
            "aChildGetsThePassedDescriptors", [], .processes, isProcessWide: true,
            aChildGetsThePassedDescriptors),
        Behaviour(
            "exitsAreNoticedBesideOthersOfSIGCHLD", [119], .processes, isProcessWide: true,
            exitsAreNoticedBesideOthersOfSIGCHLD),
        Behaviour(
            "loopsOfSeveralThreadsHaveChildren", [119], .processes,
            loopsOfSeveralThreadsHaveChildren),
        Behaviour(
            "anExitThatSomebodyElseTookIsSaid", [], .processes, isProcessWide: true,
            anExitThatSomebodyElseTookIsSaid),
        Behaviour(
            "closingAProcessKillsIt", [], .processes, closingAProcessKillsIt),
        Behaviour(
            "closingALoopLeavesNoZombie", [], .processes, closingALoopLeavesNoZombie),
    ]

    /// A protocol object that notes what it is told.
    final class Watcher: LoopSubprocessProtocol {
        private(set) var events: [String] = []
        private(set) var output = ""
        private(set) var transport: LoopSubprocessTransport?
        private(set) var errors: [CInt: any Error] = [:]
        var onEvent: (String) -> Void = { _ in }

        private func note(_ event: String) {
            if events.last != event { events.append(event) }
            onEvent(event)
        }

        func connectionMade(_ transport: LoopSubprocessTransport) {
            self.transport = transport
            note("made")
        }

        func pipeDataReceived(_ fd: CInt, _ data: RawSpan) {
            // SAFETY: the bytes are copied before the borrow ends.
            data.withUnsafeBytes { output += String(decoding: $0, as: UTF8.self) }
            note("data \(fd)")
        }

        func pipeConnectionLost(_ fd: CInt, _ error: (any Error)?) {
            errors[fd] = error
            note("pipe lost \(fd)")
        }

        func processExited() { note("exited") }

        func connectionLost(_ error: (any Error)?) {
            note("lost")
            onEvent = { _ in }
        }
    }

    private static func watcher(stopping loop: Loop) -> Watcher {
        let watcher = Watcher()
        watcher.onEvent = { if $0 == "lost" { loop.stop() } }
        return watcher
    }

    static func processCallbacksComeInOrder(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        for round in 0..<5 {
            let watcher = watcher(stopping: loop)
            let transport = try loop.subprocessShell(
                "printf out; printf err >&2; exit \(round)", options: .piped
            ) { watcher }
            try expect(watcher.events, equals: ["made"], "before the call returned")
            try expect(transport.pipeTransport(1) != nil, "there is a pipe")
            try expect(transport.returnCode, equals: nil)
            try kit.run(loop)
            try expect(transport.returnCode, equals: CInt(round))
            try expect(watcher.events.first, equals: "made")
            try expect(watcher.events.suffix(2), equals: ["exited", "lost"])
            for fd in 1...2 {
                let data = watcher.events.firstIndex(of: "data \(fd)") ?? -1
                let lost = watcher.events.firstIndex(of: "pipe lost \(fd)") ?? -1
                try expect(0 < data && data < lost, "\(watcher.events)")
                try expect(watcher.errors[CInt(fd)] == nil, "an end is no error")
            }
            // Nobody closed its input: it is the process that left.
            try expect((watcher.errors[0] as? LoopError)?.code, equals: .brokenPipe)
            try expect(watcher.events.count, equals: 8, "\(watcher.events)")
            try expect(watcher.output.count, equals: 6, watcher.output)
            try expectError(.noSuchProcess) { try transport.terminate() }
        }
        try loop.close()
    }

    static func aPipeThatAnotherKeepsHoldsNobodyUp(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let watcher = watcher(stopping: loop)
        var options = LoopProcessOptions()
        options.stdout = .pipe
        let note = watcher.onEvent
        watcher.onEvent = { event in
            // The other one, that the process left behind.
            if event == "exited", let pid = pid_t(watcher.output.dropLast()) { kill(pid, SIGKILL) }
            note(event)
        }
        try loop.subprocessShell("sleep 60 & echo $!", options: options) { watcher }
        try kit.run(loop)
        try expect(watcher.events, equals: ["made", "data 1", "exited", "pipe lost 1", "lost"])
        try loop.close()
    }

    static func aPausedPipeIsReadAfterTheExit(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let watcher = watcher(stopping: loop)
        let note = watcher.onEvent
        watcher.onEvent = { event in
            if event == "exited" { watcher.transport?.pipeTransport(1)?.resumeReading() }
            note(event)
        }
        var options = LoopProcessOptions()
        options.stdout = .pipe
        let transport = try loop.subprocessExec("echo", ["late"], options: options) { watcher }
        transport.pipeTransport(1)?.pauseReading()
        try kit.run(loop)
        try expect(watcher.events, equals: ["made", "exited", "data 1", "pipe lost 1", "lost"])
        try expect(watcher.output, equals: "late\n")
        try loop.close()
    }

    /// The exit is noticed with the data; the end of the pipe is still to come when reading is
    /// paused.
    static func aPauseDoesNotHoldTheExit(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var options = LoopProcessOptions()
        (options.stdout, options.stderr) = (.pipe, .pipe)
        for paused in [1, 2] as [CInt] {
            let watcher = watcher(stopping: loop)
            let note = watcher.onEvent
            watcher.onEvent = { event in
                let pipe = watcher.transport?.pipeTransport(paused)
                // Unless the exit came first, as it may where somebody has the pipe for a moment: a
                // process that another test is starting.
                if event == "data \(paused)" {
                    loop.callSoon {
                        if !watcher.events.contains("exited") { pipe?.pauseReading() }
                    }
                }
                if event == "exited" { pipe?.resumeReading() }
                note(event)
            }
            let transport = try loop.subprocessShell(
                "printf out; printf err >&2", options: options
            ) { watcher }
            // Both are there when the loop looks.
            var status = siginfo_t()
            let flags = WEXITED | WNOWAIT
            while waitid(P_PID, id_t(transport.pid), &status, flags) < 0, errno == EINTR {}
            try kit.run(loop)
            try expect(watcher.events.count { $0 == "exited" }, equals: 1, "\(watcher.events)")
            try expect(watcher.events.last, equals: "lost")
            try expect(watcher.output.count, equals: 6, watcher.output)
        }
        try loop.close()
    }

    static func aPipeMayGetAnotherProtocol(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let watcher = watcher(stopping: loop)
        var options = LoopProcessOptions()
        (options.stdin, options.stdout) = (.pipe, .pipe)
        let transport = try loop.subprocessExec("cat", options: options) { watcher }
        let reader = Recorder()
        let writer = Recorder()
        transport.pipeTransport(1)?.setProtocol(reader)
        transport.pipeTransport(0)?.setProtocol(writer)
        try transport.pipeTransport(0)?.write("taken over")
        transport.pipeTransport(0)?.close()
        try kit.run(loop)
        try expect(watcher.events, equals: ["made", "exited", "lost"])
        try expect(String(decoding: reader.received, as: UTF8.self), equals: "taken over")
        try expect(reader.events, equals: [.data, .end, .lost])
        try expect(writer.events, equals: [.lost])
        try loop.close()
        // One that is closed first tells nobody, whatever its pipes are.
        let second = try kit.makeLoop()
        let other = Watcher()
        let process = try second.subprocessExec("true", options: options) { other }
        process.pipeTransport(1)?.pauseReading()
        while process.returnCode == nil { try kit.run(second, .once) }
        let events = other.events
        try expect(events.last != "lost", "a pipe is open")
        try second.close()
        try expect(other.events, equals: events, "a closed loop calls nobody")
    }

    static func aMissingProgramLeavesNothing(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        func count() -> Int { OpenDescriptors().targets.values.count { $0.contains("pipe:") } }
        let before = count()
        for number in 0..<100 {
            let program = number % 2 == 0 ? "/nowhere/to/be/found" : "gyre-no-such-program"
            let error = try expectError(LoopError.self) {
                try loop.subprocessExec(program, options: .piped) { Watcher() }
            }
            try expect(error.errno, equals: ENOENT)
            try expect(error.code, equals: .notFound)
            try expect(error.detail, equals: program)
        }
        // Fewer, when what watched an earlier run let go of its own meanwhile.
        let after = count()
        try expect(after <= before, "\(after) pipes are open after \(before)")
        try expectError(.notPermitted) { try loop.subprocessExec("/etc/passwd") { Watcher() } }
        try expectError(.notFound) { try loop.subprocessExec("") { Watcher() } }
        try expectError(.invalidArgument) { try loop.subprocessExec("a\0b") { Watcher() } }
        try expectError(.invalidArgument) {
            let options = LoopProcessOptions(stdout: .standardOutput)
            try loop.subprocessExec("true", options: options) { Watcher() }
        }
        var options = LoopProcessOptions()
        options.workingDirectory = "/nowhere"
        let error = try expectError(LoopError.self) {
            try loop.subprocessExec("true", options: options) { Watcher() }
        }
        try expect(error.detail, equals: "the working directory /nowhere")
        // None was started, and none is left to be collected.
        try expect(waitpid(-1, nil, WNOHANG), equals: -1)
        try expect(loop.statistics.operationCount, equals: 0, "operations are left")
        try loop.close()
        try expectError(.closed) { try loop.subprocessExec("true") { Watcher() } }
    }

    static func aChildInheritsNothingOfTheLoop(_ kit: ConformanceKit) throws {
        signal(SIGPIPE, SIG_IGN)
        defer { signal(SIGPIPE, SIG_DFL) }
        let pair = try ConnectedPair(kit)
        let loop = pair.loop
        try loop.addSignalHandler(SIGUSR1) {}
        // Somebody's descriptor that is not closed on exec.
        let leaky = dup(STDIN_FILENO)
        let watcher = watcher(stopping: loop)
        var options = LoopProcessOptions()
        options.stdin = .discard
        options.stdout = .pipe
        try loop.subprocessShell(
            "ls /proc/self/fd | sort -n | tr '\\n' ' '; grep -E '^Sig(Blk|Ign)' /proc/self/status",
            options: options
        ) { watcher }
        try kit.run(loop)
        close(leaky)
        let lines = watcher.output.split(separator: "\n").map { $0.split { " \t".contains($0) } }
        try expect(lines.count, equals: 2, watcher.output)
        // Its own streams, and the folder that ls reads.
        try expect(lines[0].prefix { $0 != "SigBlk:" }, equals: ["0", "1", "2", "3"])
        try expect(lines[0].last, equals: "0000000000000000", "no signal is blocked")
        let ignored = lines[1].last.flatMap { UInt64($0, radix: 16) } ?? .max
        try expect(ignored & (1 << (SIGPIPE - 1)), equals: 0, "SIGPIPE is not ignored")
        try pair.close()
    }

    static func aChildGetsThePassedDescriptors(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var ends: [CInt] = [-1, -1]
        try expect(pipe(&ends), equals: 0)
        let (first, second) = (ends[0], ends[1])
        _ = fcntl(first, F_SETFD, FD_CLOEXEC)
        // In between, and not closed on exec by itself.
        let third = fcntl(second, F_DUPFD, second + 8)
        let leaky = fcntl(second, F_DUPFD, second + 1)
        let watcher = watcher(stopping: loop)
        var options = LoopProcessOptions(stdin: .discard, stdout: .pipe)
        options.passedDescriptors = [third, first, third]
        try loop.subprocessShell(
            "echo passed > /proc/self/fd/\(third); ls /proc/self/fd | sort -n | tr '\\n' ' '",
            options: options
        ) { watcher }
        try kit.run(loop)
        // Its own streams, the folder that ls reads, and what it was given.
        let open = Set(watcher.output.split(separator: " ").compactMap { CInt($0) })
        try expect(open.isSuperset(of: [0, 1, 2, first, third]), watcher.output)
        try expect(open.count, equals: 6, watcher.output)
        var bytes: [UInt8] = Array(repeating: 0, count: 16)
        try expect(read(first, &bytes, bytes.count), equals: 7, "it was written to")
        try expect(fcntl(first, F_GETFD) & FD_CLOEXEC, equals: FD_CLOEXEC, "it changed here")
        for fd in [first, second, third, leaky] { close(fd) }

        options.passedDescriptors = [third]
        let closed = try expectError(LoopError.self) {
            try loop.subprocessExec("true", options: options) { Watcher() }
        }
        try expect(closed.errno, equals: EBADF)
        // Nor one that only the start of the process opens.
        let free = dup(STDIN_FILENO)
        close(free)
        options.passedDescriptors = [free]
        let early = try expectError(LoopError.self) {
            try loop.subprocessExec("true", options: options) { Watcher() }
        }
        try expect(early.errno, equals: EBADF)
        options.passedDescriptors = [1]
        try expectError(.invalidArgument) {
            try loop.subprocessExec("true", options: options) { Watcher() }
        }
        try loop.close()
    }

    static func exitsAreNoticedBesideOthersOfSIGCHLD(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        // The user's own handler, and the user's own child.
        var calls = 0
        try loop.addSignalHandler(SIGCHLD) { calls += 1 }
        let watchers = (0..<10).map { _ in Watcher() }
        var left = watchers.count
        for (code, watcher) in watchers.enumerated() {
            watcher.onEvent = { event in
                if event == "lost" { left -= 1 }
                if left == 0 { loop.callLater(.milliseconds(1)) { loop.stop() } }
            }
            try loop.subprocessShell("exit \(code)") { watcher }
        }
        var own: pid_t = 0
        var words: [UnsafeMutablePointer<CChar>?] = [strdup("/bin/true"), nil]
        try expect(posix_spawn(&own, "/bin/true", nil, nil, &words, environ), equals: 0)
        free(words[0])
        try kit.run(loop)
        try expect(
            watchers.map { $0.transport?.returnCode }, equals: (0..<10).map { CInt($0) })
        try expect(waitpid(own, nil, 0), equals: own, "nobody took the user's child")
        try expect(calls >= 1, "the user's handler was called")
        try loop.close()
    }

    static func loopsOfSeveralThreadsHaveChildren(_ kit: ConformanceKit) throws {
        let threads = try (0..<3).map { number in
            try TestThread {
                let loop = try kit.makeLoop()
                let watchers = (0..<10).map { _ in Watcher() }
                var left = watchers.count
                for (code, watcher) in watchers.enumerated() {
                    watcher.onEvent = { event in
                        if event == "lost" { left -= 1 }
                        if left == 0 { loop.stop() }
                    }
                    try loop.subprocessShell("exit \(10 * number + code)") { watcher }
                }
                try kit.run(loop)
                let codes = watchers.map { $0.transport?.returnCode }
                try expect(codes, equals: (0..<10).map { CInt(10 * number + $0) })
                try loop.close()
            }
        }
        for thread in threads { try thread.join() }
    }

    static func anExitThatSomebodyElseTookIsSaid(_ kit: ConformanceKit) throws {
        signal(SIGCHLD, SIG_IGN)
        defer { signal(SIGCHLD, SIG_DFL) }
        let loop = try kit.makeLoop()
        for _ in 0..<10 {
            let watcher = watcher(stopping: loop)
            let transport = try loop.subprocessExec("true") { watcher }
            try kit.run(loop)
            try expect(transport.returnCode, equals: 255)
            try expect(watcher.events, equals: ["made", "exited", "lost"])
        }
        try loop.close()
    }

    static func closingAProcessKillsIt(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let watcher = watcher(stopping: loop)
        let transport = try loop.subprocessExec("sleep", ["60"], options: .piped) { watcher }
        loop.callSoon { transport.close() }
        try kit.run(loop)
        try expect(transport.returnCode, equals: -SIGKILL)
        try expect(watcher.events.suffix(2), equals: ["exited", "lost"])
        try expect(watcher.events.count, equals: 6, "\(watcher.events)")
        try expect(loop.statistics.operationCount, equals: 0, "operations are left")
        try loop.close()
    }

    static func closingALoopLeavesNoZombie(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let watcher = Watcher()
        let transport = try loop.subprocessExec("sleep", ["60"], options: .piped) { watcher }
        try kit.drain(loop)
        try loop.close()
        try expect(watcher.events, equals: ["made"], "a closed loop calls nobody")
        // It is collected on another thread, as soon as it is gone.
        let deadline = LoopClock.monotonic.now.advanced(by: .seconds(10))
        while kill(transport.pid, 0) == 0 {
            try expect(LoopClock.monotonic.now < deadline, "the process is still there")
            usleep(1000)
        }
    }
}
