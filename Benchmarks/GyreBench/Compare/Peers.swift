// SPDX-License-Identifier: Apache-2.0

import Gyre

/// Finds the servers that can take part on this machine.
struct ContenderSearch {
    /// Where `Benchmarks/build-peers` has put what it built.
    let peersFolder: String
    private(set) var found: [Contender] = []
    private(set) var missing: [MissingContender] = []

    init(peersFolder: String) {
        self.peersFolder = peersFolder
    }

    /// Gyre's own servers, in processes of their own.
    mutating func addGyre(_ policies: [LoopPolicy]) {
        let program = System.executablePath ?? "gyre-bench"
        for policy in policies {
            let name = "gyre \(policy)"
            switch policy.probe() {
            case .success:
                let command = [
                    program, "serve", "echo", "--policy", policy.rawValue, "--api", "callback",
                ]
                found.append(Contender(name: name, family: .gyre, command: command))
            case .failure(let error):
                missing.append(MissingContender(name: name, reason: "\(error)"))
            }
        }
    }

    mutating func addPeers(_ groups: [PeerGroup]) {
        for group in groups {
            switch group {
            case .raw: addRaw()
            case .libuv:
                addBuilt("libuv", ["gyre-peer-libuv"])
            case .nio:
                addBuilt("nio handler", ["gyre-peer-nio", "--api", "handler"])
                addBuilt("nio async", ["gyre-peer-nio", "--api", "async"])
            case .python:
                addPython("asyncio")
                addPython("uvloop")
            }
        }
    }

    private mutating func addRaw() {
        for (name, program) in [
            ("raw epoll", "gyre-peer-raw-epoll"), ("raw io_uring", "gyre-peer-raw-io-uring"),
        ] {
            let path = "\(System.executableFolder)/\(program)"
            if System.isExecutable(path) {
                found.append(Contender(name: name, family: .raw, command: [path]))
            } else {
                let reason = "no \(path); swift build --product \(program) makes it"
                missing.append(MissingContender(name: name, reason: reason))
            }
        }
    }

    private mutating func addBuilt(_ name: String, _ command: [String]) {
        let path = "\(peersFolder)/\(command[0])"
        if System.isExecutable(path) {
            let full = [path] + command.dropFirst()
            found.append(Contender(name: name, family: .other, command: full))
        } else {
            let reason = "no \(path); Benchmarks/build-peers makes it"
            missing.append(MissingContender(name: name, reason: reason))
        }
    }

    private mutating func addPython(_ loop: String) {
        addBuilt(loop, ["gyre-peer-python", "--loop", loop])
    }
}
