// SPDX-License-Identifier: Apache-2.0

/// What messages travel by.
enum Transport: String, CaseIterable {
    case tcp
    case udp
    case unix
}

/// One kind of load: the size of a message, and how many connections have one on its way.
struct Cell: Hashable {
    var transport = Transport.tcp
    let messageBytes: Int
    let connections: Int

    /// The cells of a whole comparison.
    static let all = [
        Cell(messageBytes: 1 << 10, connections: 10),
        Cell(messageBytes: 1 << 10, connections: 200),
        Cell(messageBytes: 1 << 10, connections: 1000),
        Cell(messageBytes: 10 << 10, connections: 10),
        Cell(messageBytes: 10 << 10, connections: 200),
        Cell(messageBytes: 100 << 10, connections: 10),
        Cell(messageBytes: 100 << 10, connections: 200),
    ]

    /// As on the command line: `1k/10`, or `udp-1k-10`.
    var name: String {
        let size = Cell.sizeName(messageBytes)
        guard transport == .tcp else { return "\(transport)-\(size)-\(connections)" }
        return "\(size)/\(connections)"
    }

    /// For people: `1 KiB, 10 connections`.
    var title: String {
        let size =
            messageBytes % 1024 == 0 ? "\(messageBytes >> 10) KiB" : "\(messageBytes) bytes"
        let count = "\(connections) connection\(connections == 1 ? "" : "s")"
        switch transport {
        case .tcp: return "\(size), \(count)"
        case .udp: return "UDP, \(size), \(connections) sockets"
        case .unix: return "Unix socket, \(size), \(count)"
        }
    }

    private static func sizeName(_ bytes: Int) -> String {
        if bytes % (1 << 20) == 0 { return "\(bytes >> 20)m" }
        return bytes % 1024 == 0 ? "\(bytes >> 10)k" : "\(bytes)"
    }

    /// The cells that a list names: `1k/10,udp-1k-10,unix-1k-200`.
    ///
    /// A size alone stands for its cells in ``all``.
    static func parse(list: String) throws -> [Cell] {
        var cells: [Cell] = []
        for part in list.split(separator: ",") {
            let found = try parse(part.lowercased().trimmed)
            cells += found.filter { !cells.contains($0) }
        }
        guard !cells.isEmpty else { throw BenchError("the list of cases is empty") }
        return cells
    }

    private static func parse(_ text: String) throws -> [Cell] {
        for transport in Transport.allCases where text.hasPrefix("\(transport)-") {
            let rest = text.dropFirst("\(transport)-".count)
            return try parse(rest.split(separator: "-").joined(separator: "/")).map {
                Cell(
                    transport: transport, messageBytes: $0.messageBytes,
                    connections: $0.connections)
            }
        }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let bytes = parseSize(parts[0]), 1...(1 << 28) ~= bytes else {
            throw BenchError("\"\(text)\" does not start with a size such as 1k or 512")
        }
        if parts.count == 1 {
            let cells = all.filter { $0.messageBytes == bytes }
            guard !cells.isEmpty else {
                throw BenchError("\"\(text)\" is no size of the usual cases; name one as 512/10")
            }
            return cells
        }
        guard parts.count == 2, let connections = Int(parts[1]), 1...65536 ~= connections else {
            throw BenchError("\"\(text)\" does not end with a number of connections, as in 1k/10")
        }
        return [Cell(messageBytes: bytes, connections: connections)]
    }

    private static func parseSize(_ text: Substring) -> Int? {
        let shift: Int? = text.last.flatMap { ["k": 10, "m": 20][$0] }
        guard let number = Int(shift == nil ? text : text.dropLast()), number < 1 << 28 else {
            return nil
        }
        return number << (shift ?? 0)
    }
}
