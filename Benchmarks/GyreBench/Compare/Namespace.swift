// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Fixes the congestion control for everything that is compared.
///
/// Only a network namespace reaches servers which have no option for it. So a comparison starts
/// itself again inside one, with the load generator's help. Where that is impossible, there is the
/// socket option, which every server of the comparison takes.
enum CongestionControl {
    /// The option that says that this has happened.
    static let insideFlag = "--in-namespace"

    /// What sockets of any user may ask for, and does not pace as BBR does.
    static var usual: String {
        let path = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
        let allowed = System.readFile(path)?.split(whereSeparator: \.isWhitespace) ?? []
        return allowed.contains("cubic") ? "cubic" : "reno"
    }

    /// Why the kernel cannot give sockets the congestion control `name`; nil when it has it.
    static func failure(of name: String) -> String? {
        let fd = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        defer { close(fd) }
        let result = setsockopt(
            fd, CInt(IPPROTO_TCP), TCP_CONGESTION, name, socklen_t(name.utf8.count))
        // Not allowed here is no failure: it may be inside a namespace.
        guard result != 0, errno == ENOENT else { return nil }
        let path = "/proc/sys/net/ipv4/tcp_available_congestion_control"
        let available = System.readFile(path)?.split(whereSeparator: \.isWhitespace) ?? []
        return "the kernel has no congestion control \(name); it has "
            + available.joined(separator: ", ")
    }

    /// Continues inside a namespace and does not return.
    ///
    /// Returns why not when that is impossible.
    static func enterNamespace(loadGenerator: String, requested: String?) -> String {
        guard let program = System.executablePath else { return "/proc is not mounted" }
        let choice = requested.map { ["--congestion", $0] } ?? []
        let prefix = [loadGenerator, "--exec-in-namespace"] + choice + ["--"]
        do {
            let trial = try ChildProcess(prefix + ["/bin/true"])
            let status = trial.collect().status
            guard status == 0 else {
                return trial.reason.isEmpty ? "status \(status)" : String(trial.reason.dropFirst(2))
            }
        } catch {
            return "\(error)"
        }
        let command = prefix + [program] + CommandLine.arguments.dropFirst() + [insideFlag]
        let arguments = command.map { strdup($0) } + [nil]
        execv(loadGenerator, arguments)
        return System.errorText(errno)
    }
}
