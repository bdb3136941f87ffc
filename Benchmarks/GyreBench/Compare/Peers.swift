// SPDX-License-Identifier: Apache-2.0

import Gyre

/// Finds the servers that can take part on this machine.
struct ContenderSearch {
    let installation: Installation
    private(set) var found: [Contender] = []
    private(set) var missing: [MissingContender] = []

    init(_ installation: Installation) {
        self.installation = installation
    }

    /// Gyre's own servers, in processes of their own.
    mutating func addGyre(_ policies: [LoopPolicy], _ apis: [ServerAPI]) {
        for policy in policies {
            switch policy.probe() {
            case .success: for api in apis { addGyre(policy, api) }
            case .failure(let error):
                missing.append(MissingContender(name: "gyre \(policy)", reason: "\(error)"))
            }
        }
    }

    private mutating func addGyre(_ policy: LoopPolicy, _ api: ServerAPI) {
        let command = [
            System.executablePath ?? "gyre-bench", "serve", "echo",
            "--policy", policy.rawValue, "--api", api.rawValue,
        ]
        let name = api == .callback ? "gyre \(policy)" : "gyre \(policy) \(api)"
        let workloads = Set(Workload.allCases.filter { $0 != .udp || api != .stream })
        found.append(
            Contender(name: name, family: .gyre, command: command, workloads: workloads))
    }

    mutating func addPeers(_ groups: [PeerGroup]) {
        for group in groups {
            switch group {
            case .raw: addRaw()
            case .libuv: addLibuv()
            case .nio: addNIO()
            case .python: addPython()
            }
        }
    }

    private mutating func addRaw() {
        let programs = [
            ("raw epoll", "gyre-peer-raw-epoll"), ("raw io_uring", "gyre-peer-raw-io-uring"),
        ]
        for (name, program) in programs {
            add(
                name, .raw, ["\(installation.programs)/\(program)"],
                hint: "swift build --product \(program) makes it",
                workloads: Set(Workload.allCases))
        }
    }

    private mutating func addLibuv() {
        add(
            "libuv", .other, ["\(installation.peers)/gyre-peer-libuv"], hint: Self.hint,
            workloads: Set(Workload.allCases))
    }

    private mutating func addNIO() {
        let folder = "\(installation.root ?? installation.programs)/.build-nio/release"
        for api in ["handler", "async"] {
            add(
                "nio \(api)", .other, ["\(folder)/gyre-peer-nio", "--api", api], hint: Self.hint,
                workloads: [.tcp, .accept, .pipe])
        }
    }

    private mutating func addPython() {
        guard let root = installation.root else {
            for name in ["asyncio", "uvloop"] {
                missing.append(MissingContender(name: name, reason: "no Benchmarks/Peers/python"))
            }
            return
        }
        let script = "\(root)/Benchmarks/Peers/python/echo.py"
        let environment = "\(installation.peers)/venv/bin/python"
        // The same interpreter for both, where there is a choice.
        let interpreter =
            System.isExecutable(environment)
            ? environment : System.findProgram("python3") ?? "/usr/bin/python3"
        add("asyncio", .other, [interpreter, script, "--loop", "asyncio"], hint: "install python3")
        add(
            "uvloop", .other, [environment, script, "--loop", "uvloop"],
            hint: Self.hint + " with --python")
    }

    private static let hint = "Benchmarks/build-peers makes it"

    private mutating func add(
        _ name: String, _ family: Contender.Family, _ command: [String], hint: String,
        workloads: Set<Workload> = [.tcp, .accept]
    ) {
        if System.isExecutable(command[0]) {
            found.append(
                Contender(name: name, family: family, command: command, workloads: workloads))
        } else {
            let reason = "no \(command[0]); \(hint)"
            missing.append(MissingContender(name: name, reason: reason))
        }
    }
}
