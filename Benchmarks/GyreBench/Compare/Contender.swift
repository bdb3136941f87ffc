// SPDX-License-Identifier: Apache-2.0

import Glibc
import Gyre

/// An echo server that takes part.
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
    /// What it serves.
    var transports: Set<Transport> = [.tcp]

    func command(congestion: String?, over transport: Transport = .tcp) -> [String] {
        let address = ["--host", "127.0.0.1", "--port", "0"]
        switch transport {
        case .tcp: return command + address + (congestion.map { ["--congestion", $0] } ?? [])
        case .udp: return command + address + ["--udp"]
        case .unix: return command + ["--unix", Contender.socketPath]
        }
    }

    /// Where servers at Unix sockets listen, one at a time.
    static let socketPath = "/tmp/gyre-bench-\(getpid()).sock"
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
