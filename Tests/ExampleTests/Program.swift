// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc

/// A running program, with its output as lines.
final class Program {
    struct Failure: Error {
        let call: String
        let errno: CInt
    }

    private let pid: pid_t
    private let output: FileHandle
    private var buffer = Data()
    private let watchdog: DispatchWorkItem

    /// A program that hangs is killed after this time, and whoever waits for it sees it end.
    private static let patience = 40.0

    /// Starts `path` with its output line by line, as on a terminal.
    ///
    /// Not by Foundation's `Process`: its children inherit the signals that the calling thread
    /// blocks, and the threads that tests run on block all.
    init(_ path: String, _ arguments: [String] = [], environment: [String: String]) throws {
        let pipe = Pipe()
        output = pipe.fileHandleForReading
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(
            &actions, pipe.fileHandleForWriting.fileDescriptor, STDOUT_FILENO)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))

        let words = ["/usr/bin/stdbuf", "-oL", path] + arguments
        var argv = words.map { strdup($0) } + [nil]
        var envp = environment.map { strdup("\($0)=\($1)") } + [nil]
        defer { for word in argv + envp { free(word) } }
        var child: pid_t = 0
        let error = posix_spawn(&child, words[0], &actions, &attributes, &argv, &envp)
        guard error == 0 else { throw Failure(call: "posix_spawn", errno: error) }
        try pipe.fileHandleForWriting.close()
        let pid = child
        self.pid = pid
        watchdog = DispatchWorkItem { kill(pid, SIGKILL) }
        DispatchQueue.global().asyncAfter(deadline: .now() + Self.patience, execute: watchdog)
    }

    /// The next line that the program prints, nil when it ended.
    func readLine() -> String? {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: buffer[..<end], as: UTF8.self)
                buffer = Data(buffer[(end + 1)...])
                return line
            }
            let more = output.availableData
            guard !more.isEmpty else { return nil }
            buffer += more
        }
    }

    /// The lines that are left until the end.
    func readToEnd() -> [String] {
        var lines: [String] = []
        while let line = readLine() { lines.append(line) }
        return lines
    }

    func send(_ signal: CInt) {
        kill(pid, signal)
    }

    /// Waits for the end; once.
    ///
    /// The status of a program that a signal killed is the signal's negative number.
    func wait() -> CInt {
        // The number stays the program's until the watchdog is off.
        var info = siginfo_t()
        while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
        watchdog.cancel()
        var status: CInt = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : -signal
    }
}
