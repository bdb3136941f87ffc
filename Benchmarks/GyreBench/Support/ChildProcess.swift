// SPDX-License-Identifier: Apache-2.0

import CGyreBench
import Glibc

/// What goes wrong in a benchmark; the text says all there is to say.
struct BenchError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// A program that runs beside this one.
///
/// It dies with it.
final class ChildProcess {
    let name: String
    let pid: pid_t
    private let output: CInt
    private let errors: CInt
    private var pending: [UInt8] = []
    private var isCollected = false

    /// Starts `command` on one CPU, or any when `cpu` is nil.
    ///
    /// It inherits the descriptors `inherited`.
    init(_ command: [String], cpu: Int? = nil, inherited: [CInt] = []) throws {
        name = command[0].split(separator: "/").last.map(String.init) ?? command[0]
        var child = bench_child()
        var arguments = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        let error = bench_spawn(
            &arguments, CInt(cpu ?? -1), inherited, CInt(inherited.count), &child)
        guard error == 0 else {
            throw BenchError("cannot start \(command[0]): \(System.errorText(error))")
        }
        pid = child.pid
        output = child.output
        errors = child.errors
    }

    deinit {
        if !isCollected {
            kill(pid, SIGKILL)
            var seconds = 0.0
            bench_collect(pid, &seconds)
        }
        close(output)
        close(errors)
    }

    /// The descriptor of what it prints, for who wants to watch it.
    var outputDescriptor: CInt { output }

    /// The next line it prints, without the line end.
    ///
    /// Nil at the end of its output.
    ///
    /// Throws when nothing comes in `timeout` seconds.
    func readLine(timeout: Double) throws -> String? {
        let deadline = System.monotonicSeconds + timeout
        while true {
            if let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
                defer { pending.removeFirst(end + 1) }
                return String(decoding: pending[..<end], as: UTF8.self)
            }
            var item = pollfd(fd: output, events: Int16(POLLIN), revents: 0)
            let remaining = max(0, deadline - System.monotonicSeconds)
            let count = poll(&item, 1, CInt((remaining * 1000).rounded(.up)))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                throw BenchError("\(name) said nothing for \(timeout.shortText) s\(reason)")
            }
            var chunk = [UInt8](repeating: 0, count: 65536)
            let size = read(output, &chunk, chunk.count)
            if size <= 0 { return nil }
            pending += chunk[..<size]
        }
    }

    /// How what it wrote to standard error begins, to put behind a message.
    var reason: String {
        lseek(errors, 0, SEEK_SET)
        // A crash report goes on for pages.
        let lines = (System.readAll(errors) ?? "").split(separator: "\n").map { String($0).trimmed }
        let text = lines.filter { !$0.isEmpty }.prefix(3).joined(separator: " / ").prefix(400)
        return text.isEmpty ? "" : ": \(text)"
    }

    func signal(_ number: CInt) { kill(pid, number) }

    /// Waits for its end.
    ///
    /// It stays a zombie, whose counters can still be read, until ``collect()``.
    func awaitEnd() { bench_await_end(pid) }

    /// Waits for its end, and gives its exit status and the CPU time it used.
    func collect() -> (status: CInt, cpuSeconds: Double) {
        var seconds = 0.0
        let status = bench_collect(pid, &seconds)
        isCollected = true
        return (status, seconds)
    }

    /// CPU time so far, in seconds.
    var cpuSeconds: Double { max(0, bench_process_cpu(pid)) }

    /// CPU time of its own children that it has collected, in seconds, to a hundredth.
    var childrenCPUSeconds: Double { max(0, bench_children_cpu(pid)) }

    /// How long its threads were ready to run but had no CPU, in seconds.
    var runDelaySeconds: Double {
        // The file of the process itself counts its first thread only.
        guard let folder = opendir("/proc/\(pid)/task") else { return 0 }
        defer { closedir(folder) }
        var nanoseconds = 0.0
        while let entry = readdir(folder) {
            let thread = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard Int(thread) != nil else { continue }
            let fields = System.readFile("/proc/\(pid)/task/\(thread)/schedstat")?
                .split(whereSeparator: \.isWhitespace)
            if let fields, fields.count == 3 { nanoseconds += Double(fields[1]) ?? 0 }
        }
        return nanoseconds / 1e9
    }
}
