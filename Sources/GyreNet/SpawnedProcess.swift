// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
import GyreCore

/// A process that was just started, with what this side has of it.
struct SpawnedProcess {
    private(set) var pid: pid_t = 0
    /// Names the process and no later one of its number; negative when it is gone already.
    private(set) var pidfd: CInt = -1
    /// This side's ends of the pipes to its standard streams, in their order; -1 where there is
    /// none.
    private(set) var pipes: [CInt] = [-1, -1, -1]
    /// What it gets, closed when it has it.
    private var given: [CInt] = []

    init(
        _ program: String, _ arguments: [String], _ options: LoopProcessOptions
    ) throws(LoopError) {
        do throws(LoopError) {
            try start(program, arguments, options)
        } catch {
            closeAll(given + pipes)
            throw error
        }
        closeAll(given)
    }

    private func closeAll(_ descriptors: [CInt]) {
        for fd in descriptors where fd >= 0 { close(fd) }
    }

    private mutating func start(
        _ program: String, _ arguments: [String], _ options: LoopProcessOptions
    ) throws(LoopError) {
        // Before anything is opened, which may get the number of one that is not.
        let passed = try Self.passed(options.passedDescriptors)
        var spawn = gyre_spawn()
        spawn.streams.0 = try stream(0, options.stdin)
        spawn.streams.1 = try stream(1, options.stdout)
        spawn.streams.2 =
            options.stderr == .standardOutput
            ? try output(spawn.streams.1) : try stream(2, options.stderr)
        spawn.new_session = options.startsNewSession
        spawn.group = options.processGroup ?? -1
        let words = try CStrings([program] + arguments)
        let environment = try options.environment.map { variables throws(LoopError) in
            try CStrings(variables.map { "\($0.key)=\($0.value)" })
        }
        let folder = try CStrings(options.workingDirectory.map { [$0] } ?? [])
        // SAFETY: the strings live in the three objects until they are released behind the call.
        spawn.program = words.first
        spawn.arguments = UnsafePointer(words.list)
        spawn.environment = environment.map { UnsafePointer($0.list) }
        spawn.directory = folder.first
        let error = passed.withUnsafeBufferPointer { passed in
            spawn.passed = passed.baseAddress
            spawn.passed_count = CInt(passed.count)
            return gyre_spawn(&spawn, &pid, &pidfd)
        }
        withExtendedLifetime((words, environment, folder)) {}
        guard error == 0 else {
            throw Self.error(error, program, options.workingDirectory)
        }
    }

    /// In rising order, each once.
    private static func passed(_ descriptors: [CInt]) throws(LoopError) -> [CInt] {
        for fd in descriptors {
            guard fd > STDERR_FILENO else {
                throw LoopError(
                    .invalidArgument, operation: "start a process",
                    detail: "descriptor \(fd) cannot be passed: 0 to 2 are the standard streams")
            }
            guard fcntl(fd, F_GETFD) >= 0 else {
                throw LoopError(
                    errno: errno, operation: "start a process", detail: "descriptor \(fd)")
            }
        }
        return Set(descriptors).sorted()
    }

    /// The kernel does not say which of the two it missed.
    private static func error(
        _ number: CInt, _ program: String, _ folder: String?
    ) -> LoopError {
        var detail = program
        if let folder {
            var status = stat()
            let isFolder = stat(folder, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
            if !isFolder { detail = "the working directory \(folder)" }
        }
        return LoopError(errno: number, operation: "start a process", detail: detail)
    }

    /// What the process gets as its standard stream `number`; negative when it inherits ours.
    private mutating func stream(
        _ number: Int, _ kind: LoopStandardStream
    ) throws(LoopError) -> CInt {
        switch kind {
        case .inherit: return -1
        case .discard: return try give(open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null")
        case .file(let path):
            let flags = number == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC
            return try give(open(path, flags | O_CLOEXEC, 0o666), path)
        // A copy, so that what becomes stdout is not overwritten by what becomes stdin.
        case .descriptor(let fd): return try give(copy(of: fd))
        case .pipe:
            var ends: [CInt] = [-1, -1]
            let error = gyre_pipe(&ends)
            guard error == 0 else { throw LoopError(errno: -error, operation: "pipe") }
            pipes[number] = number == 0 ? ends[1] : ends[0]
            return try give(number == 0 ? ends[0] : ends[1], "a pipe")
        case .standardOutput:
            throw LoopError(
                .invalidArgument, operation: "start a process",
                detail: "only stderr can go where stdout goes")
        }
    }

    /// Where standard error goes with standard output.
    private mutating func output(_ fd: CInt) throws(LoopError) -> CInt {
        fd >= 0 ? fd : try give(copy(of: STDOUT_FILENO))
    }

    private func copy(of fd: CInt) throws(LoopError) -> CInt {
        let copy = gyre_copy_descriptor(fd)
        guard copy >= 0 else {
            throw LoopError(
                errno: -copy, operation: "start a process", detail: "descriptor \(fd)")
        }
        return copy
    }

    /// Notes what is closed later.
    ///
    /// Where this process has no standard streams of its own, a new descriptor may stand in their
    /// place and has to make room.
    private mutating func give(_ fd: CInt, _ name: String = "") throws(LoopError) -> CInt {
        guard fd >= 0 else {
            throw LoopError(errno: errno, operation: "start a process", detail: name)
        }
        given.append(fd)
        guard fd < 3 else { return fd }
        let moved = try copy(of: fd)
        given.append(moved)
        return moved
    }
}

/// Strings as C takes a list of them.
private final class CStrings {
    // SAFETY: `list` owns room for the strings and the null behind them, each a copy that is freed
    // with this object.
    let list: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    private let count: Int

    init(_ strings: [String]) throws(LoopError) {
        for string in strings where string.utf8.contains(0) {
            throw LoopError(
                .invalidArgument, operation: "start a process",
                detail: "a string with a zero byte cannot be handed over")
        }
        count = strings.count
        list = .allocate(capacity: count + 1)
        for (index, string) in strings.enumerated() {
            (list + index).initialize(to: strdup(string))
        }
        (list + count).initialize(to: nil)
    }

    deinit {
        for index in 0..<count { free(list[index]) }
        list.deallocate()
    }

    /// The first; nil of an empty list.
    var first: UnsafePointer<CChar>? { list[0].map { UnsafePointer($0) } }
}
