// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc

/// A program that runs beside a test, with its output as lines.
package final class Program {
    package struct Failure: Error {
        let what: String
    }

    private let pid: pid_t
    private let output: FileHandle
    private var buffer = Data()
    private let watchdog: DispatchWorkItem

    /// Starts the executable at `path`, which writes its output line by line as on a terminal.
    ///
    /// One that still runs after `patience` seconds is killed, and whoever waits for it sees it
    /// end.
    package init(
        _ path: String, _ arguments: [String] = [], environment: [String: String],
        mergesErrors: Bool = false, patience: Double = 40
    ) throws {
        let pipe = Pipe()
        output = pipe.fileHandleForReading
        let pid = try Self.spawn(
            ["/usr/bin/stdbuf", "-oL", path] + arguments,
            environment.map { "\($0)=\($1)" }, output: pipe.fileHandleForWriting.fileDescriptor,
            mergesErrors: mergesErrors)
        try pipe.fileHandleForWriting.close()
        self.pid = pid
        watchdog = DispatchWorkItem { kill(pid, SIGKILL) }
        DispatchQueue.global().asyncAfter(deadline: .now() + patience, execute: watchdog)
    }

    /// The path of the executable `name` of this package, which lies beside the tests.
    package static func path(_ name: String) throws -> String {
        let tests = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        let path = tests.deletingLastPathComponent().appending(path: name).path()
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw Failure(what: "\(path) is not built: build the whole package, not only its tests")
        }
        return path
    }

    /// Not by Foundation's `Process`: its children inherit the signals that the calling thread
    /// blocks, and the threads that tests run on block all.
    private static func spawn(
        _ arguments: [String], _ environment: [String], output: CInt, mergesErrors: Bool
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        if mergesErrors { posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        // Nor those that who started the tests ignores, as a shell does for what it runs beside.
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        let words = arguments.map { strdup($0) } + [nil]
        let variables = environment.map { strdup($0) } + [nil]
        defer { for text in words + variables { free(text) } }
        var child: pid_t = 0
        let error = posix_spawn(&child, arguments[0], &actions, &attributes, words, variables)
        guard error == 0 else {
            throw Failure(what: "\(arguments) did not start: \(String(cString: strerror(error)))")
        }
        return child
    }

    /// The next line that the program prints, nil when it ended.
    package func readLine() -> String? {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: buffer[..<end], as: UTF8.self)
                buffer = Data(buffer[(end + 1)...])
                return line
            }
            let more = output.availableData
            if more.isEmpty {
                defer { buffer = Data() }
                return buffer.isEmpty ? nil : String(decoding: buffer, as: UTF8.self)
            }
            buffer += more
        }
    }

    /// The lines that are left until the end.
    package func readToEnd() -> [String] {
        var lines: [String] = []
        while let line = readLine() { lines.append(line) }
        return lines
    }

    package func send(_ signal: CInt) {
        kill(pid, signal)
    }

    /// Waits for the end; once.
    ///
    /// The status of a program that a signal killed is 128 plus the signal's number.
    package func wait() -> CInt {
        // The number stays the program's until the watchdog is off.
        var info = siginfo_t()
        while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
        watchdog.cancel()
        var status: CInt = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal
    }
}
