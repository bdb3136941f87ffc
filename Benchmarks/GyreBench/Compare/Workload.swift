// SPDX-License-Identifier: Apache-2.0

/// What a server has to do.
enum Workload: String, CaseIterable {
    /// Echo messages over TCP connections.
    case tcp
    /// Echo datagrams.
    case udp
    /// Echo messages over connections of a Unix socket.
    case unix
    /// Echo messages that come by one pipe into another.
    case pipe
    /// Start a process and wait for its end.
    case spawn
    /// Accept a connection, echo one byte, close.
    case accept

    /// What is counted.
    var unit: Unit {
        switch self {
        case .tcp, .udp, .unix: .message
        case .pipe: .mebibyte
        case .spawn: .process
        case .accept: .connection
        }
    }

    /// Whether a case of it says how large a message is.
    var hasSizes: Bool { self != .spawn && self != .accept }

    /// Whether messages come by pipes that the server inherits.
    var usesPipes: Bool { self == .pipe || self == .spawn }

    /// What ``spawn`` starts: something that ends at once.
    static let program = "/bin/true"
}

/// What the figures of a case are for one of.
enum Unit: String {
    case message
    case mebibyte = "mib"
    case process
    case connection

    /// For keys: `messages_per_second`.
    var plural: String {
        switch self {
        case .message: "messages"
        case .mebibyte: "mib"
        case .process: "processes"
        case .connection: "connections"
        }
    }

    /// For heads of columns: `msgs/s`, `CPU µs/msg`.
    var short: (one: String, many: String) {
        switch self {
        case .message: ("msg", "msgs")
        case .mebibyte: ("MiB", "MiB")
        case .process: ("proc", "procs")
        case .connection: ("conn", "conns")
        }
    }

    /// For people.
    var title: String {
        switch self {
        case .mebibyte: "MiB"
        default: rawValue
        }
    }
}
