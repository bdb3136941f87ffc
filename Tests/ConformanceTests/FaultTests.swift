// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms
import Testing

/// System calls that fail now and then, or once: `strace` puts the errors in.
///
/// What a signal interrupts, or what would block after all, goes on as if nothing had been. Other
/// errors come out where the call was made, with their name, and soon: nothing hangs or spins.
@Suite("System calls that fail")
struct FaultTests {
    /// An error, and the behaviours that meet it.
    struct Fault: Sendable, CustomTestStringConvertible {
        let rule: String
        let behaviours: [String]
        /// What the failure says; nil when there is none.
        var error: String?
        /// Not on a ring, which makes no such calls there.
        var isForPollers = false
        var testDescription: String { "\(rule), \(behaviours.joined(separator: ", "))" }
    }

    private static let strace = "/usr/bin/strace"

    /// It is there, and may trace.
    static let canTrace =
        (try? Command(strace, ["-o", "/dev/null", "/bin/true"]))?.status == 0

    private static let waits = "epoll_wait,epoll_pwait2"
    private static let streams = ["aStreamServerEchoesEveryByte", "anAsyncServerEchoesEveryByte"]
    private static let sockets = ["socketsAreConnectedAndAccepted", "sendingAllWaitsForASlowPeer"]
    private static let files = ["aFileIsSentInItsExactRange"]

    private static let faults = [
        // Nothing is to be seen of these.
        Fault(
            rule: "sendto,recvfrom,accept4,sendfile,\(waits):error=EINTR:when=1+3",
            behaviours: streams + sockets + files),
        Fault(rule: "accept4,recvfrom,sendto:error=EAGAIN:when=1+2", behaviours: [sockets[0]]),
        Fault(rule: "sendfile:error=EAGAIN:when=1+2", behaviours: files),
        Fault(rule: "accept4:error=ECONNABORTED:when=1", behaviours: sockets),
        Fault(
            rule: "accept4:error=ECONNABORTED:when=1", behaviours: streams, isForPollers: true),
        // These are errors.
        Fault(
            rule: "recvfrom:error=ECONNRESET:when=2", behaviours: [streams[0]],
            error: "connectionReset", isForPollers: true),
        Fault(
            rule: "sendto:error=EPIPE:when=2", behaviours: [streams[0]], error: "brokenPipe",
            isForPollers: true),
        Fault(
            rule: "sendto:error=ENOBUFS:when=2", behaviours: [streams[0]], error: "noMemory",
            isForPollers: true),
        Fault(
            rule: "accept4:error=EMFILE:when=1", behaviours: [streams[0]],
            error: "A server cannot accept connections for now", isForPollers: true),
        Fault(
            rule: "accept4:error=EMFILE:when=1", behaviours: [sockets[0]], error: "noDescriptors"),
        Fault(
            rule: "connect:error=ENETUNREACH:when=1", behaviours: [sockets[0]],
            error: "unreachable"),
        Fault(rule: "sendfile:error=EPIPE:when=2", behaviours: files, error: "brokenPipe"),
    ]

    /// A fault on a policy that meets it.
    struct Case: Sendable, CustomTestStringConvertible {
        let fault: Fault
        let policy: String
        var testDescription: String { "\(fault.testDescription) on \(policy)" }
    }

    private static let cases = faults.flatMap { fault in
        PolicyUnderTest.usable.map(\.name)
            .filter { ["io_uring", "epoll", "dispatch"].contains($0) }
            .filter { !(fault.isForPollers && $0 == "io_uring") }
            .map { Case(fault: fault, policy: $0) }
    }

    @Test(
        "Retried, or told", .enabled(if: canTrace, "strace cannot trace here"), arguments: cases)
    func fault(_ example: Case) throws {
        let fault = example.fault
        let log = FileManager.default.temporaryDirectory
            .appendingPathComponent("gyre-faults-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: log) }
        let program = try Program.path("gyre-conformance")
        let command = try Command(
            Self.strace,
            ["-f", "-qq", "-o", log.path, "-e", "inject=\(fault.rule)", program]
                + ["--policy", example.policy] + fault.behaviours,
            // A traced process cannot look for its own leaks.
            environment: ["ASAN_OPTIONS": "detect_leaks=0"])
        let injected = try String(contentsOf: log, encoding: .utf8).contains("(INJECTED)")
        #expect(injected, "the fault never came: \(command.output)")
        if let error = fault.error {
            #expect(command.status == 1, "\(command.output)")
            #expect(command.output.contains(error), "\(command.output)")
        } else {
            #expect(command.status == 0, "\(command.output)")
        }
    }
}
