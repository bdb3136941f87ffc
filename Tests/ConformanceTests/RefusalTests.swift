// SPDX-License-Identifier: Apache-2.0

import Gyre
import TestPrograms
import Testing

/// Machines that refuse rings, or lack what newer kernels have: made by refusing system calls.
@Suite("System calls refused")
struct RefusalTests {
    /// How a machine says no to a ring, and what the operator reads about it.
    struct Refusal: Sendable, CustomTestStringConvertible {
        let rule: String
        let reason: String
        var testDescription: String { rule }
    }

    private static let refusals = [
        // A seccomp profile, kernel.io_uring_disabled.
        Refusal(rule: "io_uring_setup=EPERM", reason: "seccomp profile"),
        Refusal(rule: "io_uring_setup=EACCES", reason: "seccomp profile"),
        // A kernel without rings.
        Refusal(rule: "io_uring_setup=ENOSYS", reason: "the kernel has no io_uring"),
        // A kernel that knows none of the flags.
        Refusal(rule: "io_uring_setup=EINVAL", reason: "Invalid argument"),
        // The memlock limit.
        Refusal(rule: "io_uring_setup=ENOMEM", reason: "memlock"),
        // A kernel without a probe, and so without multishot receive.
        Refusal(rule: "io_uring_register[1:8]=EINVAL", reason: "before 6.0"),
        // A kernel without rings of buffers, and no memory for one.
        Refusal(rule: "io_uring_register[1:22]=EINVAL", reason: "Invalid argument"),
        Refusal(rule: "io_uring_register[1:22]=ENOMEM", reason: "memlock"),
    ]

    private static var hasRing: Bool {
        if case .success = LoopPolicy.ioUring.probe() { true } else { false }
    }

    private func conformance(
        _ rules: [String], _ arguments: [String], environment: [String: String] = [:]
    ) throws -> Command {
        let path = try Program.path("gyre-conformance")
        return try Command("gyre-deny", rules + ["--", path] + arguments, environment: environment)
    }

    // MARK: Which loop

    @Test("automatic falls back to epoll and says why", arguments: refusals)
    func automaticFallsBack(_ refusal: Refusal) throws {
        let command = try conformance([refusal.rule], ["--selection"])
        #expect(command.status == 0, "\(command.output)")
        #expect(command.lines.contains("policy=epoll"), "\(command.output)")
        #expect(command.lines.contains("requested=automatic"))
        let rejected = command.lines.filter { $0.hasPrefix("rejected=") }
        #expect(rejected.count == 1)
        #expect(rejected.first?.hasPrefix("rejected=io_uring: ") == true)
        if Self.hasRing {
            #expect(rejected.first?.contains(refusal.reason) == true, "\(rejected)")
        }
    }

    @Test("A ring that was asked for by name is an error with the reason", arguments: refusals)
    func namedPolicyThrows(_ refusal: Refusal) throws {
        for (arguments, environment) in [
            (["--policy", "io_uring"], [:]), ([], ["GYRE_LOOP": "io_uring"]),
            (["--default", "io_uring"], [:]),
        ] {
            let command = try conformance(
                [refusal.rule], ["--selection"] + arguments, environment: environment)
            #expect(command.status == 1, "\(command.output)")
            #expect(command.output.contains("policyUnavailable"), "\(command.output)")
            if Self.hasRing {
                #expect(command.output.contains(refusal.reason), "\(command.output)")
            }
        }
    }

    @Test(
        "A process without descriptors is told so, and gets no other loop",
        .enabled(if: hasRing, "built without the trait IOUring"))
    func noDescriptorsIsNoFallback() throws {
        let command = try conformance(["io_uring_setup=EMFILE"], ["--selection"])
        #expect(command.status == 1, "\(command.output)")
        #expect(command.output.contains("noDescriptors"), "\(command.output)")
    }

    // MARK: How it behaves

    @Test("automatic shows every behaviour with io_uring refused")
    func automaticBehavesWithRingsRefused() throws {
        let command = try conformance(["io_uring_setup=EPERM"], [])
        #expect(command.status == 0, "\(command.output)")
        #expect(command.lines.first?.contains("epoll") == true)
        #expect(command.lines.last?.hasSuffix(" passed, 0 failed") == true)
    }

    @Test("epoll shows every behaviour without epoll_pwait2", arguments: ["ENOSYS", "EPERM"])
    func epollWithoutNanoseconds(_ error: String) throws {
        let command = try conformance(["epoll_pwait2=\(error)"], ["--policy", "epoll"])
        #expect(command.status == 0, "\(command.output)")
        #expect(command.lines.last?.hasSuffix(" passed, 0 failed") == true)
    }

    @Test(
        "io_uring shows every behaviour without a registered ring descriptor",
        .enabled(if: hasRing, "this machine gives no ring"))
    func ringWithoutRegisteredDescriptor() throws {
        let command = try conformance(
            ["io_uring_register[1:20]=EINVAL"], ["--policy", "io_uring"])
        #expect(command.status == 0, "\(command.output)")
        #expect(command.lines.last?.hasSuffix(" passed, 0 failed") == true)
    }

    // MARK: The tool

    @Test("The tool refuses exactly what it is told, and passes the status on")
    func theToolDenies() throws {
        let denied = try Command("gyre-deny", ["socket=EPERM", "--", "/bin/sh", "-c", "exit 7"])
        #expect(denied.status == 7)
        let unknown = try Command("gyre-deny", ["nonsense=EPERM", "--", "/bin/true"])
        #expect(unknown.status == 2)
        #expect(unknown.output.contains("io_uring_setup"))
        let noCommand = try Command("gyre-deny", ["socket=EPERM"])
        #expect(noCommand.status == 2)
    }
}
