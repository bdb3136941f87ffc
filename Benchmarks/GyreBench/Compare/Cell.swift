// SPDX-License-Identifier: Apache-2.0

/// One kind of load: the size of a message, and how many connections have one on its way.
struct Cell: Hashable {
    var workload = Workload.tcp
    /// 1 where a message only says that something is to be done.
    let messageBytes: Int
    /// Or pairs of pipes, or processes or short connections at once.
    let connections: Int

    /// The cells of the short comparison: TCP.
    static let all = [
        Cell(messageBytes: 1 << 10, connections: 10),
        Cell(messageBytes: 1 << 10, connections: 200),
        Cell(messageBytes: 1 << 10, connections: 1000),
        Cell(messageBytes: 10 << 10, connections: 10),
        Cell(messageBytes: 10 << 10, connections: 200),
        Cell(messageBytes: 100 << 10, connections: 10),
        Cell(messageBytes: 100 << 10, connections: 200),
    ]

    /// What a whole comparison has beside these.
    static let others = [
        Cell(workload: .udp, messageBytes: 1 << 10, connections: 10),
        Cell(workload: .unix, messageBytes: 1 << 10, connections: 10),
        Cell(workload: .unix, messageBytes: 1 << 10, connections: 200),
        Cell(workload: .pipe, messageBytes: 64 << 10, connections: 4),
        Cell(workload: .accept, messageBytes: 1, connections: 1),
        Cell(workload: .accept, messageBytes: 1, connections: 16),
        Cell(workload: .spawn, messageBytes: 1, connections: 1),
        Cell(workload: .spawn, messageBytes: 1, connections: 8),
    ]

    /// As on the command line: `1k/10`, `udp-1k-10` or `spawn-8`.
    var name: String {
        let size = Cell.sizeName(messageBytes)
        guard workload.hasSizes else { return "\(workload)-\(connections)" }
        guard workload == .tcp else { return "\(workload)-\(size)-\(connections)" }
        return "\(size)/\(connections)"
    }

    /// For people: `1 KiB, 10 connections`.
    var title: String {
        let size =
            messageBytes % 1024 == 0 ? "\(messageBytes >> 10) KiB" : "\(messageBytes) bytes"
        let s = connections == 1 ? "" : "s"
        switch workload {
        case .tcp: return "\(size), \(connections) connection\(s)"
        case .udp: return "UDP, \(size), \(connections) socket\(s)"
        case .unix: return "Unix socket, \(size), \(connections) connection\(s)"
        case .pipe: return "Pipes, \(size), \(connections) pair\(s)"
        case .accept: return "Accept and close, \(connections) at once"
        case .spawn: return "Spawn and wait, \(connections) at once"
        }
    }

    /// How many of the unit of the figures one message is.
    var unitsPerMessage: Double {
        workload.unit == .mebibyte ? Double(messageBytes) / 1_048_576 : 1
    }

    private static func sizeName(_ bytes: Int) -> String {
        if bytes % (1 << 20) == 0 { return "\(bytes >> 20)m" }
        return bytes % 1024 == 0 ? "\(bytes >> 10)k" : "\(bytes)"
    }
}

extension Cell {
    /// The cells that a list names: `1k/10,udp-1k-10,spawn-8`.
    ///
    /// A size alone, or a kind alone as in `pipe`, stands for its usual cells.
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
        if let workload = Workload(rawValue: text) {
            return (all + others).filter { $0.workload == workload }
        }
        for workload in Workload.allCases where text.hasPrefix("\(workload)-") {
            let rest = text.dropFirst("\(workload)-".count)
            guard workload.hasSizes else { return [try parse(count: rest, workload, text)] }
            let parts = rest.split(separator: "-", omittingEmptySubsequences: false)
            return try parse(parts.joined(separator: "/"), workload)
        }
        return try parse(text, .tcp)
    }

    private static func parse(_ text: String, _ workload: Workload) throws -> [Cell] {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let bytes = parseSize(parts[0]), 1...(1 << 28) ~= bytes else {
            let kinds = Workload.allCases.map { "\($0)" }.joined(separator: ", ")
            throw BenchError(
                "\"\(text)\" is none of \(kinds), and does not start with a size such as 1k or 512")
        }
        if parts.count == 1 {
            return try usualCounts(bytes, workload, text).map {
                Cell(workload: workload, messageBytes: bytes, connections: $0)
            }
        }
        guard parts.count == 2, let count = Int(parts[1]), 1...countMax(workload) ~= count else {
            throw BenchError("\"\(text)\" does not end with a number of connections, as in 1k/10")
        }
        return [Cell(workload: workload, messageBytes: bytes, connections: count)]
    }

    private static func usualCounts(
        _ bytes: Int, _ workload: Workload, _ text: String
    ) throws -> [Int] {
        if workload == .pipe { return [4] }
        let counts = all.filter { $0.messageBytes == bytes }.map(\.connections)
        guard !counts.isEmpty else {
            throw BenchError("\"\(text)\" is no size of the usual cases; name one as 512/10")
        }
        return counts
    }

    private static func parse(
        count: Substring, _ workload: Workload, _ text: String
    ) throws -> Cell {
        guard let count = Int(count), 1...countMax(workload) ~= count else {
            throw BenchError("\"\(text)\" does not end with a number, as in \(workload)-8")
        }
        return Cell(workload: workload, messageBytes: 1, connections: count)
    }

    private static func countMax(_ workload: Workload) -> Int {
        workload.usesPipes ? 256 : 65536
    }

    private static func parseSize(_ text: Substring) -> Int? {
        let shift: Int? = text.last.flatMap { ["k": 10, "m": 20][$0] }
        guard let number = Int(shift == nil ? text : text.dropLast()), number < 1 << 28 else {
            return nil
        }
        return number << (shift ?? 0)
    }
}
