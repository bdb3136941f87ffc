// SPDX-License-Identifier: Apache-2.0

import CGyreBench
import Glibc

/// What the machine says about itself.
enum System {
    /// The text of a file, as far as it is text; nil when it cannot be read.
    static func readFile(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return readAll(descriptor)
    }

    /// Everything up to the end of `descriptor`, from where it stands.
    static func readAll(_ descriptor: CInt) -> String? {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            if count > 0 {
                bytes += chunk[..<count]
            } else if count == 0 {
                return String(decoding: bytes, as: UTF8.self)
            } else if errno != EINTR {
                return nil
            }
        }
    }

    /// Writes the whole text to a file that is made or replaced.
    ///
    /// False, with errno, if that fails.
    static func writeFile(_ path: String, _ text: String) -> Bool {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return false }
        let isWritten = writeAll(descriptor, text)
        return close(descriptor) == 0 && isWritten
    }

    @discardableResult
    static func writeAll(_ descriptor: CInt, _ text: String) -> Bool {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                bytes = bytes.dropFirst(count)
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }

    /// Writes a line to standard error, where all that is not a result goes.
    static func note(_ line: String) { writeAll(STDERR_FILENO, line + "\n") }

    /// Prints a result at once, also into a pipe.
    static func printLine(_ line: String) { writeAll(STDOUT_FILENO, line + "\n") }

    static func errorText(_ number: CInt) -> String {
        strerror(number).map { String(cString: $0) } ?? "error \(number)"
    }

    static var monotonicSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    static var kernelName: String {
        let type = readFile("/proc/sys/kernel/ostype")?.trimmed ?? "unknown kernel"
        let release = readFile("/proc/sys/kernel/osrelease")?.trimmed ?? ""
        return "\(type) \(release)".trimmed
    }

    static var processorName: String {
        let lines = readFile("/proc/cpuinfo")?.split(separator: "\n") ?? []
        let line = lines.first { $0.hasPrefix("model name") }
        guard let name = line?.split(separator: ":", maxSplits: 1).last else {
            return "unknown processor"
        }
        return String(name).trimmed
    }

    /// The default congestion control of this process's network namespace.
    static var congestionControl: String? {
        readFile("/proc/sys/net/ipv4/tcp_congestion_control")?.trimmed
    }

    /// The file that is running.
    static var executablePath: String? {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        guard count > 0, count < buffer.count else { return nil }
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The folder in which it lies.
    static var executableFolder: String {
        let path = executablePath ?? "/"
        return String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)])
    }

    static var currentFolder: String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        guard getcwd(&buffer, buffer.count) != nil else { return "/" }
        let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    static func isExecutable(_ path: String) -> Bool { access(path, X_OK) == 0 }

    /// The file that a shell would run as `name`.
    static func findProgram(_ name: String) -> String? {
        guard let folders = getenv("PATH").map({ String(cString: $0) }) else { return nil }
        return folders.split(separator: ":").map { "\($0)/\(name)" }.first(where: isExecutable)
    }

    // MARK: CPUs

    /// The CPUs that this process may use, lowest first.
    static var allowedCPUs: [Int] {
        var cpus = [CInt](repeating: 0, count: 1024)
        let count = Int(bench_allowed_cpus(&cpus, CInt(cpus.count)))
        return cpus[..<min(count, cpus.count)].map { Int($0) }
    }

    /// The CPUs of the server and of who talks to it: two cores, not two threads of one core, and
    /// the same one twice only if there is no other.
    static var pair: (server: Int, load: Int) {
        let allowed = allowedCPUs
        guard let first = allowed.first else { return (0, 0) }
        let path = "/sys/devices/system/cpu/cpu\(first)/topology/thread_siblings_list"
        let siblings = parseList(readFile(path) ?? "\(first)")
        let other = allowed.first { !siblings.contains($0) } ?? allowed.dropFirst().first
        return (first, other ?? first)
    }

    /// A list as the kernel writes it: "0,4-6".
    static func parseList(_ text: String) -> Set<Int> {
        var numbers: Set<Int> = []
        for part in text.trimmed.split(separator: ",") {
            let ends = part.split(separator: "-").compactMap { Int($0) }
            guard let low = ends.first, let high = ends.last, low <= high else { continue }
            numbers.formUnion(low...high)
        }
        return numbers
    }
}
