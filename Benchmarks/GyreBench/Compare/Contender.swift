// SPDX-License-Identifier: Apache-2.0

import Gyre

/// A server that takes part.
struct Contender: Equatable {
    /// Where it comes from; the colour of its bar.
    enum Family: String, Equatable {
        case gyre
        case raw
        case other
    }

    let name: String
    let family: Family
    /// Starts it.
    ///
    /// Host, port and congestion control are added.
    let command: [String]
    /// What it can do.
    var workloads: Set<Workload> = [.tcp, .accept]

    /// `path` is where it serves a Unix socket, and `pipes` are the descriptors that it inherits.
    func command(
        congestion: String?, for workload: Workload = .tcp, path: String = "",
        pipes: [PipePair] = []
    ) -> [String] {
        let address = ["--host", "127.0.0.1", "--port", "0"]
        switch workload {
        case .tcp, .accept:
            return command + address + (congestion.map { ["--congestion", $0] } ?? [])
        case .udp: return command + address + ["--udp"]
        case .unix: return command + ["--unix", path]
        case .pipe: return command + ["--pipes", pipes.text]
        case .spawn: return command + ["--pipes", pipes.text, "--spawn", Workload.program]
        }
    }
}

/// A server that was asked for and cannot take part.
struct MissingContender: Equatable {
    let name: String
    let reason: String
}

/// The groups of peers that `--peers` names.
enum PeerGroup: String, CaseIterable {
    case raw
    case libuv
    case nio
    case python

    static func parse(list: String) throws -> [PeerGroup] {
        guard list != "none" else { return [] }
        return try list.split(separator: ",").map { part in
            guard let group = PeerGroup(rawValue: String(part).trimmed) else {
                let known = PeerGroup.allCases.map(\.rawValue).joined(separator: ", ")
                throw BenchError("no peers called \"\(part)\"; there are \(known), or none")
            }
            return group
        }
    }
}
