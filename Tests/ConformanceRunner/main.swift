// SPDX-License-Identifier: Apache-2.0
//
// gyre-conformance: the conformance suite without a test framework, for surroundings in which the
// test runner itself would not work, such as one with system calls refused.
//
//     gyre-conformance [--policy POLICY] [NAME ...]   checks the behaviours, or those named
//     gyre-conformance --selection [--policy POLICY]  says which loop is made, and why
//     gyre-conformance --list                         names the behaviours
//     gyre-conformance [--policy POLICY] --fuzz SEED ... [--operations COUNT]
//                                                     cancels tasks at random points, COUNT
//                                                     operations (a million) for every seed
//     gyre-conformance [--policy POLICY] --replay SEED
//                                                     runs one round of that again
//     gyre-conformance [--policy POLICY] --traffic SEED ... [--operations COUNT]
//                                                     cancels clients of connections, streams,
//                                                     datagrams and processes at random points,
//                                                     which send COUNT bytes (a million) each
//
//     gyre-conformance [--policy POLICY] --soak SECONDS [--connections COUNT] [--seed SEED]
//                                                     keeps COUNT connections (ten thousand) open
//                                                     that end at random, and counts every byte;
//                                                     a second process has the ends that connect
//
// Without a policy the loops are made as a program's are: by GYRE_LOOP, by the default that
// --default POLICY sets, or automatic.

import Glibc
import Gyre
import GyreCore
import GyreTesting

struct Arguments {
    var policy: LoopPolicy?
    var names: Set<String> = []
    var showsSelection = false
    var listsNames = false
    /// The seeds of random cancellation, and the round to run again.
    var fuzzSeeds: [UInt64] = []
    var trafficSeeds: [UInt64] = []
    var operations = 1_000_000
    var replay: UInt64?
    /// How long connections come and go at random, and how many at once.
    var soakSeconds: Int?
    var connections = 10_000
    /// The addresses that this process connects to: it was started by one that soaks.
    var soakServers: String?
    var seed: UInt64 = 1

    init(_ arguments: ArraySlice<String>) throws {
        var rest = arguments
        while let argument = rest.popFirst() {
            switch argument {
            case "--policy": policy = try LoopPolicy(named: rest.popFirst() ?? "")
            case "--default": try LoopPolicy.setDefault(LoopPolicy(named: rest.popFirst() ?? ""))
            case "--selection": showsSelection = true
            case "--list": listsNames = true
            case "--fuzz": fuzzSeeds += Self.seeds(in: &rest)
            case "--traffic": trafficSeeds += Self.seeds(in: &rest)
            case "--operations": operations = rest.popFirst().flatMap { Int($0) } ?? operations
            case "--replay": replay = rest.popFirst().flatMap { UInt64($0) }
            case "--soak": soakSeconds = rest.popFirst().flatMap { Int($0) }
            case "--soak-clients-of": soakServers = rest.popFirst()
            case "--connections":
                connections = rest.popFirst().flatMap { Int($0) } ?? connections
            case "--seed": seed = rest.popFirst().flatMap { UInt64($0) } ?? seed
            default: names.insert(argument)
            }
        }
    }

    private static func seeds(in rest: inout ArraySlice<String>) -> [UInt64] {
        let seeds = rest.prefix { UInt64($0) != nil }
        rest = rest.dropFirst(seeds.count)
        return seeds.compactMap { UInt64($0) }
    }
}

func showSelection(_ policy: LoopPolicy?) throws {
    let loop = try makeLoop(policy: policy)
    let selection = loop.selection
    print("policy=\(selection.policy)")
    print("requested=\(selection.requested)")
    print("origin=\(selection.origin)")
    for rejection in selection.rejected {
        print("rejected=\(rejection.policy): \(rejection.reason)")
    }
    print("description=\(selection)")
    try loop.close()
}

func makeKit(_ policy: LoopPolicy?, quietly: Bool = false) throws -> ConformanceKit {
    let selection = try makeLoop(policy: policy).selection
    if !quietly { print("The loop: \(selection)") }
    let chosen = try LoopPolicy(named: selection.policy)
    return ConformanceKit(policy: selection.policy) { clock in
        try BackendChoice.makeLoop(
            LoopPolicy.Choice(policy: chosen, origin: "gyre-conformance"), clock: clock)
    }
}

/// Cancels at random points, and throws when something was lost.
func fuzz(_ arguments: Arguments) throws {
    let kit = try makeKit(arguments.policy)
    if let seed = arguments.replay {
        print("round \(seed): \(try CancellationFuzz.replay(kit, seed))")
    }
    for seed in arguments.fuzzSeeds {
        var outcome: CancellationFuzz.Outcome?
        let time = try ContinuousClock().measure {
            outcome = try CancellationFuzz.run(
                kit, seed: seed, operations: arguments.operations)
        }
        if let outcome { print("seed \(seed): \(outcome), \(time)") }
    }
}

/// Cancels what reads and writes at random points, and throws when something was lost.
func runTraffic(_ arguments: Arguments) throws {
    let kit = try makeKit(arguments.policy)
    for seed in arguments.trafficSeeds {
        for traffic in FuzzTraffic.allCases {
            let (operations, cancellations) = try traffic.run(
                kit, seed: seed, clientCount: 16, byteCount: arguments.operations)
            print(
                "seed \(seed), \(traffic): \(operations) operations, "
                    + "\(cancellations) ended by cancellation")
        }
    }
}

/// Keeps many connections busy, and throws when something was lost or is left.
func soak(_ arguments: Arguments, seconds: Int) throws {
    let kit = try makeKit(arguments.policy, quietly: arguments.soakServers != nil)
    let (connections, seed) = (arguments.connections, arguments.seed)
    if let servers = arguments.soakServers {
        return try Soak.runClients(
            kit, of: servers, connections: connections, duration: .seconds(seconds), seed: seed)
    }
    let command = [
        try ownPath(), "--policy", kit.policy, "--soak", "\(seconds)",
        "--connections", "\(connections)", "--seed", "\(seed)", "--soak-clients-of",
    ]
    let outcome = try Soak.run(
        kit, connections: connections, duration: .seconds(seconds), seed: seed, command: command)
    print("seed \(seed): \(outcome)")
}

/// The file of this program.
func ownPath() throws -> String {
    guard let path = realpath("/proc/self/exe", nil) else {
        throw ConformanceFailure("/proc is not there")
    }
    defer { free(path) }
    return String(cString: path)
}

/// Returns how many behaviours were not shown.
func check(_ behaviours: [Behaviour], _ policy: LoopPolicy?) throws -> Int {
    let kit = try makeKit(policy)
    var failures = 0
    for behaviour in behaviours {
        do {
            try behaviour.check(kit)
            print("ok \(behaviour)")
        } catch {
            failures += 1
            print("FAILED \(behaviour): \(error)")
        }
    }
    print("\(behaviours.count - failures) passed, \(failures) failed")
    return failures
}

func main() throws -> CInt {
    let arguments = try Arguments(CommandLine.arguments.dropFirst())
    if arguments.showsSelection {
        try showSelection(arguments.policy)
        return EXIT_SUCCESS
    }
    if arguments.replay != nil || !arguments.fuzzSeeds.isEmpty {
        try fuzz(arguments)
        return EXIT_SUCCESS
    }
    if !arguments.trafficSeeds.isEmpty {
        try runTraffic(arguments)
        return EXIT_SUCCESS
    }
    if let seconds = arguments.soakSeconds {
        try soak(arguments, seconds: seconds)
        return EXIT_SUCCESS
    }
    var behaviours = Behaviour.all
    if !arguments.names.isEmpty {
        behaviours = behaviours.filter { arguments.names.contains($0.name) }
        guard behaviours.count == arguments.names.count else {
            print("some of \(arguments.names.sorted()) are no behaviours: see --list")
            return 2
        }
    }
    if arguments.listsNames {
        for behaviour in behaviours { print(behaviour) }
        return EXIT_SUCCESS
    }
    return try check(behaviours, arguments.policy) == 0 ? EXIT_SUCCESS : EXIT_FAILURE
}

do {
    exit(try main())
} catch {
    print("error=\(error)")
    exit(EXIT_FAILURE)
}
