// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
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
        /// Those that make such calls.
        var policies: Set<String> = ["io_uring", "epoll", "dispatch"]
        var testDescription: String { "\(rule), \(behaviours.joined(separator: ", "))" }
    }

    private static let pollers: Set<String> = ["epoll", "dispatch"]
    private static let strace = "/usr/bin/strace"

    /// It is there, and may trace.
    static let canTrace =
        (try? Command(strace, ["-o", "/dev/null", "/bin/true"]))?.status == 0

    /// Their runtime reads files and starts threads, too, and what cannot be counted cannot be hit.
    private static let isSanitized =
        dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil

    private static let waits = "epoll_wait,epoll_pwait2"
    private static let streams = ["aStreamServerEchoesEveryByte", "anAsyncServerEchoesEveryByte"]
    private static let sockets = ["socketsAreConnectedAndAccepted", "sendingAllWaitsForASlowPeer"]
    private static let files = ["aFileIsSentInItsExactRange"]
    private static let passing = ["descriptorsArriveWithTheirBytes"]
    private static let datagrams = ["datagramsGoOverUnixSockets"]
    private static let pipes = ["aPipeCarriesMoreThanItHolds"]
    private static let processes = ["communicateCarriesMoreThanPipesHold"]

    /// Nothing is to be seen of these.
    private static let retried = [
        Fault(
            rule: "sendto,recvfrom,accept4,sendfile,\(waits):error=EINTR:when=1+3",
            behaviours: streams + sockets + files),
        Fault(
            rule: "sendmsg,recvmsg,sendmmsg,recvmmsg:error=EINTR:when=1+3",
            behaviours: passing + datagrams),
        Fault(rule: "pwritev2:error=EINTR:when=1+2", behaviours: pipes),
        Fault(rule: "poll,waitid:error=EINTR:when=1+3", behaviours: processes),
        Fault(
            rule: "io_uring_enter:error=EINTR:when=2+3", behaviours: streams + pipes,
            policies: ["io_uring"]),
        Fault(
            rule: "io_uring_enter:error=EAGAIN:when=3+3", behaviours: streams + pipes,
            policies: ["io_uring"]),
        Fault(
            rule: "io_uring_enter:error=EBUSY:when=3+3", behaviours: streams + pipes,
            policies: ["io_uring"]),
        Fault(rule: "accept4,recvfrom,sendto:error=EAGAIN:when=1+2", behaviours: [sockets[0]]),
        Fault(rule: "sendfile:error=EAGAIN:when=1+2", behaviours: files),
        Fault(rule: "sendmsg,recvmsg:error=EAGAIN:when=2+3", behaviours: passing),
        Fault(rule: "pwritev2:error=EAGAIN:when=1+2", behaviours: pipes),
        Fault(rule: "accept4:error=ECONNABORTED:when=1", behaviours: sockets),
        Fault(
            rule: "accept4:error=ECONNABORTED:when=1", behaviours: streams, policies: pollers),
    ]

    /// These are errors.
    private static let told =
        [
            Fault(
                rule: "recvfrom:error=ECONNRESET:when=2", behaviours: [streams[0]],
                error: "connectionReset", policies: pollers),
            Fault(
                rule: "recvfrom:error=ENOBUFS:when=2", behaviours: [streams[0]],
                error: "receive: noMemory", policies: pollers),
            Fault(
                rule: "sendto:error=EPIPE:when=2", behaviours: [streams[0]], error: "brokenPipe",
                policies: pollers),
            Fault(
                rule: "sendto:error=ENOBUFS:when=2", behaviours: [streams[0]],
                error: "noMemory", policies: pollers),
            Fault(
                rule: "sendto:error=ECONNRESET:when=2", behaviours: [streams[0]],
                error: "send: connectionReset"),
        ] + serversAndClients + others

    /// Those that servers and clients meet, and a loop that is made.
    private static let serversAndClients = [
        Fault(
            rule: "accept4:error=EMFILE:when=1", behaviours: [streams[0]],
            error: "A server cannot accept connections for now", policies: pollers),
        Fault(
            rule: "accept4:error=ENFILE:when=1", behaviours: [streams[0]],
            error: "A server cannot accept connections for now", policies: pollers),
        Fault(
            rule: "accept4:error=ENOBUFS:when=1", behaviours: [streams[0]],
            error: "A server cannot accept connections for now", policies: pollers),
        Fault(
            rule: "accept4:error=EMFILE:when=1", behaviours: [sockets[0]], error: "noDescriptors"),
        Fault(
            rule: "connect:error=ENETUNREACH:when=1", behaviours: [sockets[0]],
            error: "unreachable"),
        Fault(
            rule: "connect:error=ECONNRESET:when=1", behaviours: [sockets[0]],
            error: "connect: connectionReset"),
        Fault(
            rule: "connect:error=ENOBUFS:when=1", behaviours: [streams[0]],
            error: "connect: noMemory", policies: pollers),
        // That of the server, and that of the first client.
        Fault(
            rule: "socket:error=EMFILE:when=1", behaviours: [streams[0]],
            error: "socket: noDescriptors"),
        Fault(
            rule: "socket:error=ENOBUFS:when=2", behaviours: [streams[0]],
            error: "socket: noMemory"),
        // A family that the system does not have is left out, unless it is the only one.
        Fault(
            rule: "socket:error=EAFNOSUPPORT:when=1",
            behaviours: ["aHostThatRepeatsIsListenedAtOnce"], error: "got [\"127.0.0.2\"]"),
        Fault(
            rule: "socket:error=EAFNOSUPPORT:when=1", behaviours: [streams[0]], error: "errno 97"),
        Fault(
            rule: "listen:error=EADDRINUSE:when=1", behaviours: [streams[0]],
            error: "listen: addressInUse"),
        Fault(
            rule: "epoll_ctl:error=ENOSPC:when=2", behaviours: [streams[0]], error: "errno 28",
            policies: ["epoll"]),
        Fault(
            rule: "epoll_ctl:error=ENOMEM:when=4", behaviours: [streams[0]], error: "errno 12",
            policies: ["epoll"]),
        Fault(
            rule: "epoll_create1:error=EMFILE:when=1", behaviours: [streams[0]],
            error: "epoll_create1: noDescriptors", policies: ["epoll"]),
        Fault(
            rule: "eventfd2:error=EMFILE:when=1", behaviours: [streams[0]],
            error: "eventfd: noDescriptors", policies: ["io_uring", "epoll"]),
    ]

    /// Those of files, passed descriptors, datagrams, pipes and processes.
    private static let others = [
        Fault(rule: "sendfile:error=EPIPE:when=2", behaviours: files, error: "brokenPipe"),
        Fault(
            rule: "sendfile:error=ECONNRESET:when=2", behaviours: files,
            error: "sendfile: connectionReset"),
        Fault(
            rule: "sendfile:error=ENOBUFS:when=2", behaviours: files, error: "sendfile: noMemory"),
        Fault(rule: "sendmsg:error=EPIPE:when=2", behaviours: passing, error: "brokenPipe"),
        Fault(rule: "sendmsg:error=ENOBUFS:when=1", behaviours: passing, error: "noMemory"),
        Fault(
            rule: "recvmsg:error=ECONNRESET:when=2", behaviours: passing,
            error: "connectionReset"),
        Fault(
            rule: "sendmmsg:error=ENOBUFS:when=1", behaviours: datagrams, error: "send: noMemory"),
        Fault(
            rule: "recvmmsg:error=ENOBUFS:when=1", behaviours: datagrams,
            error: "receive: noMemory"),
        Fault(rule: "pwritev2:error=EPIPE:when=1", behaviours: pipes, error: "brokenPipe"),
        Fault(rule: "pwritev2:error=ENOBUFS:when=1", behaviours: pipes, error: "noMemory"),
        Fault(
            rule: "pidfd_open:error=EMFILE:when=1", behaviours: processes,
            error: "start a process: noDescriptors"),
    ]

    /// These count calls that a sanitizer makes as well, and a program that is being loaded.
    private static let counted =
        isSanitized
        ? []
        : [
            Fault(
                rule: "read:error=EINTR:when=60+3",
                behaviours: pipes + ["shortWritesOfPipesLoseNothing"]),
            Fault(rule: "read:error=EAGAIN:when=60+3", behaviours: pipes),
            // Those before are of threads and latches of the test.
            Fault(
                rule: "clone,clone3:error=EAGAIN:when=2", behaviours: processes,
                error: "start a process: system"),
            Fault(
                rule: "pipe2:error=EMFILE:when=4", behaviours: processes,
                error: "pipe: noDescriptors"),
        ]

    /// A fault on a policy that meets it.
    struct Case: Sendable, CustomTestStringConvertible {
        let fault: Fault
        let policy: String
        var testDescription: String { "\(fault.testDescription) on \(policy)" }
    }

    private static let cases = (retried + told + counted).flatMap { fault in
        PolicyUnderTest.usable.map(\.name).filter(fault.policies.contains)
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
