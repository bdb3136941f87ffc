// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Processes in async code.
enum AsyncProcesses {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "communicateCarriesMoreThanPipesHold", [117], .processes,
            communicateCarriesMoreThanPipesHold),
        Behaviour(
            "aProcessThatReadsNoMoreIsNoError", [117], .processes,
            aProcessThatReadsNoMoreIsNoError),
        Behaviour("aProcessIsTalkedToInLines", [], .processes, aProcessIsTalkedToInLines),
        Behaviour("aProcessTakesSignals", [], .processes, aProcessTakesSignals),
        Behaviour("waitingIsCancelledAlone", [], .processes, waitingIsCancelledAlone),
        Behaviour(
            "theStreamsAreFreeBehindACancelledChildTask", [], .processes,
            theStreamsAreFreeBehindACancelledChildTask),
        Behaviour("aProcessStartsAsAskedFor", [], .processes, aProcessStartsAsAskedFor),
        Behaviour("standardStreamsGoWhereAsked", [], .processes, standardStreamsGoWhereAsked),
        Behaviour("aProcessServesOtherThreads", [], .processes, aProcessServesOtherThreads),
    ]

    private static func running(
        _ kit: ConformanceKit, _ body: @escaping @Sendable () async throws -> Void
    ) throws {
        let loop = try kit.makeLoop()
        try kit.complete(loop.createTask { try await body() }, on: loop)
        try kit.drain(loop)
        try expect(loop.allTasks.count, equals: 0, "tasks are left")
        try loop.close()
    }

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    private static func output(
        _ command: String, _ options: LoopProcessOptions = LoopProcessOptions()
    ) async throws -> String {
        var options = options
        options.stdout = .pipe
        let process = try Loop.running.createSubprocessShell(command, options: options)
        return text(try await process.communicate().stdout)
    }

    static func communicateCarriesMoreThanPipesHold(_ kit: ConformanceKit) throws {
        try running(kit) {
            let count = 2_000_000
            let process = try Loop.running.createSubprocessShell(
                "tee /dev/stderr", options: .piped)
            let (output, errors) = try await process.communicate(pattern(count))
            try expectPattern(output, count: count)
            try expectPattern(errors, count: count)
            try expect(process.returnCode, equals: 0)
            try expect(try await process.wait(), equals: 0, "waiting again")
        }
    }

    static func aProcessThatReadsNoMoreIsNoError(_ kit: ConformanceKit) throws {
        try running(kit) {
            for command in ["head -c 5", "exec <&-; printf 01234; sleep 0.02", "printf 01234"] {
                let process = try Loop.running.createSubprocessShell(command, options: .piped)
                let (output, _) = try await process.communicate(
                    Array("01234".utf8) + pattern(1_000_000))
                try expect(text(output), equals: "01234")
                try expect(process.returnCode, equals: 0)
            }
            let process = try Loop.running.createSubprocessExec("true")
            do {
                _ = try await process.communicate([1])
                throw ConformanceFailure("there is nowhere for the input to go")
            } catch let error as LoopError {
                try expect(error.code, equals: .invalidArgument)
            }
            try expect(try await process.communicate().stdout, equals: [])
        }
    }

    static func aProcessIsTalkedToInLines(_ kit: ConformanceKit) throws {
        try running(kit) {
            let process = try Loop.running.createSubprocessShell(
                "while read -r line; do echo \"[$line]\"; done; exit 7", options: .piped)
            guard let stdin = process.stdin, let stdout = process.stdout else {
                throw ConformanceFailure("the streams are piped")
            }
            for number in 0..<20 {
                try stdin.write("line \(number)\n")
                try await stdin.drain()
                try expect(text(try await stdout.readLine()), equals: "[line \(number)]\n")
            }
            try expect(process.returnCode, equals: nil, "it still runs")
            stdin.close()
            try expect(try await stdout.readLine(), equals: [])
            try expect(try await process.wait(), equals: 7)
        }
    }

    static func aProcessTakesSignals(_ kit: ConformanceKit) throws {
        try running(kit) {
            let loop = Loop.running
            let terminated = try loop.createSubprocessExec("sleep", ["60"])
            try terminated.terminate()
            try expect(try await terminated.wait(), equals: -SIGTERM)
            let killed = try loop.createSubprocessExec("sleep", ["60"])
            try killed.kill()
            try expect(try await killed.wait(), equals: -SIGKILL)
            try expectError(.noSuchProcess) { try killed.kill() }
            var options = LoopProcessOptions()
            options.stdout = .pipe
            let handling = try loop.createSubprocessShell(
                "trap 'exit 9' USR1; echo ready; while :; do sleep 0.01; done", options: options)
            try expect(text(try await handling.stdout?.readLine() ?? []), equals: "ready\n")
            try handling.sendSignal(SIGUSR1)
            try expect(try await handling.wait(), equals: 9)
        }
    }

    static func waitingIsCancelledAlone(_ kit: ConformanceKit) throws {
        try running(kit) {
            let process = try Loop.running.createSubprocessExec(
                "sleep", ["60"], options: .piped)
            for usesWait in [true, false] {
                let waiting = Loop.running.createTask(eager: true) {
                    if usesWait {
                        try await process.wait()
                    } else {
                        _ = try await process.communicate(pattern(1_000_000))
                    }
                }
                try await sleep(.milliseconds(1))
                waiting.cancel()
                do {
                    try await waiting.value
                    throw ConformanceFailure("it was cancelled")
                } catch is CancellationError {}
                try expect(process.returnCode, equals: nil, "the process goes on")
            }
            try process.kill()
            try expect(try await process.wait(), equals: -SIGKILL)
        }
    }

    /// A task of Swift's own stays cancelled, and waits nevertheless until they are.
    static func theStreamsAreFreeBehindACancelledChildTask(_ kit: ConformanceKit) throws {
        try running(kit) {
            let process = try Loop.running.createSubprocessExec("cat", options: .piped)
            let isOver = LoopFuture<Void>(on: Loop.running)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    do { _ = try await process.communicate(pattern(8_000_000)) } catch {}
                    for reader in [process.stdout, process.stderr] {
                        do { _ = try await reader?.read(1) } catch is CancellationError {}
                    }
                    try isOver.setResult(())
                }
                try await sleep(.milliseconds(1))
                group.cancelAll()
                try await group.waitForAll()
            }
            try await isOver.value
            try process.kill()
            try expect(try await process.wait(), equals: -SIGKILL)
        }
    }

    static func aProcessStartsAsAskedFor(_ kit: ConformanceKit) throws {
        try running(kit) {
            var options = LoopProcessOptions()
            options.environment = ["GREETING": "hello", "PATH": "/nowhere:/bin:/usr/bin"]
            try expect(try await output("env | grep -c .; echo $GREETING", options) != "", "ran")
            try expect(
                try await output("echo $GREETING$HOME", options), equals: "hello\n")
            options.environment = ["PATH": "/nowhere"]
            do {
                _ = try Loop.running.createSubprocessExec("true", options: options)
                throw ConformanceFailure("it was found along another path")
            } catch let error as LoopError {
                try expect(error.code, equals: .notFound)
            }
            options = LoopProcessOptions()
            options.workingDirectory = "/usr"
            try expect(try await output("pwd", options), equals: "/usr\n")
            options.stdout = .pipe
            // Relative to where it starts.
            let relative = try Loop.running.createSubprocessExec(
                "bin/env", ["echo", "found"], options: options)
            try expect(text(try await relative.communicate().stdout), equals: "found\n")
            // The fifth and sixth word are the group and the session.
            let ids = "read -r _ _ _ _ group session _ < /proc/self/stat; echo $$ $group $session"
            var words = try await output(ids).split { " \n".contains($0) }
            try expect(words.count == 3 && words[0] != words[1], "in our group: \(words)")
            options = LoopProcessOptions()
            options.processGroup = 0
            words = try await output(ids, options).split { " \n".contains($0) }
            try expect(words[0] == words[1] && words[0] != words[2], "a group: \(words)")
            options = LoopProcessOptions()
            options.startsNewSession = true
            words = try await output(ids, options).split { " \n".contains($0) }
            try expect(words[0] == words[1] && words[0] == words[2], "a session: \(words)")
        }
    }

    static func standardStreamsGoWhereAsked(_ kit: ConformanceKit) throws {
        try running(kit) {
            var options = LoopProcessOptions()
            options.stderr = .standardOutput
            try expect(
                try await output("echo one; echo two >&2; echo three", options),
                equals: "one\ntwo\nthree\n")
            options = LoopProcessOptions(stdin: .discard)
            try expect(try await output("cat; echo end", options), equals: "end\n")
            let path = "/tmp/gyre-streams-\(getpid())-\(UInt(pthread_self()))"
            defer { unlink(path) }
            options = LoopProcessOptions(stdout: .file(path), stderr: .discard)
            for _ in 0..<2 {
                let writing = try Loop.running.createSubprocessShell(
                    "echo kept; echo lost >&2", options: options)
                try expect(try await writing.wait(), equals: 0)
                try expect(writing.stdout == nil && writing.stdin == nil, "no pipes")
            }
            options = LoopProcessOptions(stdin: .file(path))
            try expect(try await output("cat", options), equals: "kept\n", "emptied before")
            // Two descriptors of ours, crossed over.
            let pipes = [PipeEnds(), PipeEnds()]
            options = LoopProcessOptions(
                stdout: .descriptor(pipes[0].writer), stderr: .descriptor(pipes[1].writer))
            let crossed = try Loop.running.createSubprocessShell(
                "echo out; echo err >&2", options: options)
            try expect(try await crossed.wait(), equals: 0)
            try expect(try pipes.map { text(try $0.read()) }, equals: ["out\n", "err\n"])
            do {
                options = LoopProcessOptions(stdin: .file("/nowhere/at/all"))
                _ = try Loop.running.createSubprocessExec("true", options: options)
                throw ConformanceFailure("there is no such file")
            } catch let error as LoopError {
                try expect(error.code, equals: .notFound)
            }
        }
    }

    static func aProcessServesOtherThreads(_ kit: ConformanceKit) throws {
        try running(kit) {
            let process = try Loop.running.createSubprocessExec("cat", options: .piped)
            let answer = LoopFuture<[UInt8]>(on: Loop.running)
            Task(executorPreference: ThreadExecutor()) {
                let (output, _) = try await process.communicate("from elsewhere")
                let code = try await process.wait()
                try answer.completeThreadSafe(with: .success(code == 0 ? output : []))
            }
            try expect(text(try await answer.value), equals: "from elsewhere")
        }
    }
}
