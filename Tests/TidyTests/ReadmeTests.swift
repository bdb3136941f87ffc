// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// What the README shows and says is what there is.
@Suite("README")
struct ReadmeTests {
    private static func readme() throws -> Repository.File { try Repository.file("README.md") }

    @Test("The example is the program that is built and tested")
    func example() throws {
        let text = try Self.readme().text
        let start = try #require(text.range(of: "```swift\n")).upperBound
        let end = try #require(text.range(of: "\n```\n", range: start..<text.endIndex)).lowerBound
        let source = try Repository.file("Sources/Examples/Echo/main.swift").text
        #expect("// SPDX-License-Identifier: Apache-2.0\n\n\(text[start..<end])\n" == source)
    }

    @Test("Paths that are named exist")
    func paths() throws {
        let pattern = /`((?:Sources|Benchmarks|Tests|GyreCore)\/[\w\/.]+)`/
        let named = try Self.readme().text.matches(of: pattern).map { String($0.1) }
        #expect(named.count >= 4)
        for path in named {
            #expect(
                Repository.exists(path) || Repository.exists("Sources/" + path),
                "the README names \(path)")
        }
    }

    @Test("The map names every folder of Sources")
    func map() throws {
        let text = try Self.readme().text
        // Settings of CMake, no module.
        for folder in try Repository.entries(of: "Sources") where folder != "CMake" {
            #expect(text.contains("| `\(folder)` |"), "\(folder) is not in the map")
        }
    }

    @Test("The table names every policy")
    func policies() throws {
        let text = try Self.readme().text
        let source = try Repository.file("Sources/Gyre/LoopPolicy.swift").text
        let cases = source.matches(of: /\n    case (\w+)(?: = "(\w+)")?/)
        #expect(cases.count == 4)
        for policy in cases {
            #expect(text.contains("| `\(policy.2 ?? policy.1)` |"))
        }
    }
}
