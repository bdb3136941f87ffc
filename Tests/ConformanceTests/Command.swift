// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// A program of this package, run to its end.
struct Command {
    /// The exit status, or the number of the signal that ended it plus 128.
    let status: Int32
    /// What it wrote, to either stream.
    let output: String

    var lines: [String] { output.split(separator: "\n").map(String.init) }

    /// Runs the executable `name`, which lies beside the tests, and gives it two minutes.
    init(_ name: String, _ arguments: [String], environment: [String: String] = [:]) throws {
        var variables = ProcessInfo.processInfo.environment
        for name in ["GYRE_LOOP", "GYRE_DEBUG"] { variables[name] = nil }
        variables.merge(environment) { $1 }
        let pipe = Pipe()
        let child = try Self.spawn(
            ["/usr/bin/timeout", "--kill-after=5", "120", try Self.path(name)] + arguments,
            variables.map { "\($0)=\($1)" }, output: pipe.fileHandleForWriting.fileDescriptor)
        try pipe.fileHandleForWriting.close()
        let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
        output = String(decoding: data, as: UTF8.self)
        var state: Int32 = 0
        while waitpid(child, &state, 0) < 0, errno == EINTR {}
        let signal = state & 0x7F
        status = signal == 0 ? (state >> 8) & 0xFF : signal + 128
    }

    /// Not by Foundation, whose children inherit the signal mask of the thread that starts them: on
    /// the threads that run tests everything is blocked.
    private static func spawn(
        _ arguments: [String], _ environment: [String], output: Int32
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, output, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let words = arguments.map { strdup($0) } + [nil]
        let variables = environment.map { strdup($0) } + [nil]
        defer { for text in words + variables { free(text) } }
        var child: pid_t = 0
        let error = posix_spawn(&child, arguments[0], &actions, &attributes, words, variables)
        try #require(error == 0, "cannot start \(arguments): \(String(cString: strerror(error)))")
        return child
    }

    /// The path of the executable `name`.
    static func path(_ name: String) throws -> String {
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let path = URL(fileURLWithPath: tests).deletingLastPathComponent()
            .appendingPathComponent(name).path
        try #require(
            FileManager.default.isExecutableFile(atPath: path),
            "\(path) is not built: build the whole package, not only its tests")
        return path
    }
}
