// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// The article that says what each method of asyncio is here misses none.
///
/// That what it names exists is checked where the documentation is built: the names are links.
@Suite("Coming from asyncio")
struct AsyncioNamesTests {
    private struct Row {
        let names: [String]
        let here: String
        let remark: String
    }

    private static let article = "Sources/Gyre/Gyre.docc/ComingFromAsyncio.md"

    private static func rows() throws -> [Row] {
        try Repository.file(article).lines.compactMap { line in
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            guard line.hasPrefix("| `"), cells.count >= 2 else { return nil }
            let names = cells[0].matches(of: /`([\w.]+)`/).map { String($0.1) }
            return Row(names: names, here: cells[1], remark: cells.count > 2 ? cells[2] : "")
        }
    }

    private static func names() throws -> [String] {
        try Repository.file("Tests/Support/asyncio-names.txt").lines
            .filter { !$0.isEmpty && !$0.hasPrefix("#") }.map(String.init)
    }

    @Test("Every name of asyncio has one row, and no row is of another name")
    func complete() throws {
        let known = try Self.names()
        let named = try Self.rows().flatMap(\.names)
        #expect(known.count > 200)
        #expect(Set(known).count == known.count)
        let counts = Dictionary(named.map { ($0, 1) }, uniquingKeysWith: +)
        #expect(counts.filter { $0.value > 1 }.keys.sorted() == [], "named twice")
        #expect(Set(known).subtracting(named).sorted() == [], "not in the article")
        #expect(Set(named).subtracting(known).sorted() == [], "not in the list")
    }

    @Test("Every row names what there is here, or says why there is nothing")
    func answered() throws {
        for row in try Self.rows() {
            let isLinked = row.here.contains("``")
            #expect(
                isLinked || (row.here == "*none*" && !row.remark.isEmpty),
                "\(row.names.joined(separator: ", ")): \(row.here)")
        }
    }

    @Test("The list has all that the installed asyncio offers")
    func installed() throws {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        let python = folders.map { "\($0)/python3" }.first {
            FileManager.default.isExecutableFile(atPath: $0)
        }
        guard let python else { try Test.cancel("there is no python3 here") }
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: python)
        process.arguments = [
            Repository.root.appending(path: "Tests/Support/asyncio-names.py").path()
        ]
        process.standardOutput = output
        try process.run()
        let printed = output.fileHandleForReading.readDataToEndOfFile()
        let text = String(decoding: printed, as: UTF8.self)
        process.waitUntilExit()
        let offered = text.split(separator: "\n").map(String.init)
        #expect(process.terminationStatus == 0 && offered.count > 150)
        let known = Set(try Self.names())
        #expect(offered.filter { !known.contains($0) } == [], "not in the list")
    }
}
