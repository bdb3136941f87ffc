// SPDX-License-Identifier: Apache-2.0
//
// gyre-conformance: the conformance suite without a test framework, for surroundings in which the
// test runner itself would not work, such as one with system calls refused.

import ArgumentParser
import Glibc
import Gyre
import GyreCore
import GyreTesting

struct Conformance: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gyre-conformance", abstract: "Checks that loops show the behaviours.")

    @Option(
        help: """
            The loops to check. (default: as in a program: by GYRE_LOOP, by --default, or automatic)
            """,
        transform: LoopPolicy.init(named:))
    var policy: LoopPolicy?
    @Option(name: .customLong("default"), help: "The default that the program sets.")
    var programDefaults: [String] = []
    @Flag(name: .customLong("selection"), help: "Say which loop is made, and why.")
    var showsSelection = false
    @Flag(name: .customLong("list"), help: "Name the behaviours.")
    var listsNames = false
    @Option(
        name: .customLong("fuzz"), parsing: .upToNextOption,
        help: "Cancel tasks at random points, --operations operations for every seed.")
    var fuzzSeeds: [UInt64] = []
    @Option(help: "Run the one round again that --fuzz named.")
    var replay: UInt64?
    @Option(
        name: .customLong("traffic"), parsing: .upToNextOption,
        help: """
            Cancel clients of connections, streams, datagrams and processes at random points, \
            which send --operations bytes each, for every seed.
            """)
    var trafficSeeds: [UInt64] = []
    @Option(help: "How much --fuzz and --traffic do.")
    var operations = 1_000_000
    @Option(
        name: .customLong("soak"),
        help: """
            Keep --connections connections open for so many seconds that end at random, and \
            count every byte; a second process has the ends that connect.
            """)
    var soakSeconds: Int?
    @Option(help: "How many connections --soak keeps open.")
    var connections = 10_000
    @Option(help: "The seed of --soak.")
    var seed: UInt64 = 1
    /// The addresses that this process connects to: it was started by one that soaks.
    @Option(name: .customLong("soak-clients-of"), help: .hidden)
    var soakServers: String?
    @Argument(help: "The behaviours to check. (default: all)")
    var names: [String] = []

    func validate() throws {
        let unknown = Set(names).subtracting(Behaviour.all.map(\.name)).sorted()
        guard unknown.isEmpty else {
            throw ValidationError("no behaviours: \(unknown.joined(separator: ", ")); see --list")
        }
    }

    func run() throws {
        for name in programDefaults { try LoopPolicy.setDefault(LoopPolicy(named: name)) }
        if showsSelection {
            try showSelection(policy)
        } else if replay != nil || !fuzzSeeds.isEmpty {
            try fuzz(self)
        } else if !trafficSeeds.isEmpty {
            try runTraffic(self)
        } else if let soakSeconds {
            try soak(self, seconds: soakSeconds)
        } else if listsNames {
            for behaviour in behaviours { print(behaviour) }
        } else if try check(behaviours, policy) > 0 {
            throw ExitCode.failure
        }
    }

    /// Those that are named, or all.
    var behaviours: [Behaviour] {
        names.isEmpty ? Behaviour.all : Behaviour.all.filter { names.contains($0.name) }
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
func fuzz(_ arguments: Conformance) throws {
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
func runTraffic(_ arguments: Conformance) throws {
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
func soak(_ arguments: Conformance, seconds: Int) throws {
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

Conformance.main()
