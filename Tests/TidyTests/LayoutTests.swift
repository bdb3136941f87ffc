// SPDX-License-Identifier: Apache-2.0

import Testing

/// What lies where, and what every file begins with.
@Suite("Layout")
struct LayoutTests {
    @Test("The top level holds nothing else")
    func topLevel() throws {
        let allowed: Set<String> = [
            "Package.swift", "Sources", "Tests", "Benchmarks", "CMakeLists.txt", "README.md",
            "LICENSE",
            // Written by SwiftPM, ignored by git.
            "Package.resolved",
        ]
        let found = try Repository.entries().filter { !$0.hasPrefix(".") }
        #expect(Set(found).subtracting(allowed) == [])
    }

    @Test("Every source file names its licence in the first two lines")
    func licence() {
        let sources = Repository.files.filter { file in
            file.isSwift || file.isC || file.text.hasPrefix("#!")
                || file.path.hasSuffix(".sh") || file.path.hasSuffix(".py")
                || file.path.hasSuffix("CMakeLists.txt")
        }
        #expect(sources.count > 50)
        let licence = " SPDX-License-Identifier: Apache-2.0"
        let unlicensed = sources.filter { file in
            !file.lines.prefix(2).contains { $0 == "//" + licence || $0 == "#" + licence }
        }
        #expect(unlicensed.map(\.path) == [])
    }

    @Test("Nothing is left to do later")
    func nothingIsLeftOpen() {
        // Put together here, so that this file does not find itself.
        let marks = ["TO" + "DO", "FIX" + "ME", "XX" + "X"]
        for file in Repository.files {
            for (index, line) in file.lines.enumerated() {
                for mark in marks where line.contains(mark) {
                    Issue.record("\(file):\(index + 1): \(line)")
                }
            }
        }
    }

    @Test("Every file ends with one line break and has no blanks at line ends")
    func whitespace() {
        let untidy = Repository.files.filter { file in
            guard !file.text.isEmpty else { return false }
            return !file.text.hasSuffix("\n") || file.text.hasSuffix("\n\n")
                || file.lines.contains { $0.hasSuffix(" ") || $0.hasSuffix("\t") }
        }
        #expect(untidy.map(\.path) == [])
    }
}
