// SPDX-License-Identifier: Apache-2.0

import Testing

/// The articles show code that is built and tested, and name files that are there.
@Suite("Articles")
struct ArticleTests {
    private static let article = "Sources/GyreCore/GyreCore.docc/AddingABackend.md"

    @Test("The code of \"Adding a backend\" is the code that is tested")
    func tutorial() throws {
        let sources = try ["PollBackend", "BackendTutorialTests"].map { name in
            try Repository.file("Tests/BackendTutorialTests/\(name).swift").text
        }
        let article = try Repository.file(Self.article).text
        let parts = article.components(between: "```swift\n", and: "```")
        #expect(parts.count >= 10)
        for part in parts where !sources.contains(where: { $0.contains(part) }) {
            Issue.record("not in Tests/BackendTutorialTests:\n\(part)")
        }
    }

    @Test("The code of the first steps is the code of the examples")
    func firstSteps() throws {
        let sources = try ["FirstSteps", "Chat"].map { name in
            try Repository.file("Sources/Examples/\(name)/main.swift").text
        }
        let article = try Repository.file("Sources/Gyre/Gyre.docc/FirstSteps.md").text
        let parts = article.components(between: "```swift\n", and: "```")
        #expect(parts.count >= 8)
        for part in parts where !sources.contains(where: { $0.contains(part) }) {
            Issue.record("not in the examples:\n\(part)")
        }
    }

    @Test("Files that the articles name exist")
    func paths() throws {
        let articles = Repository.files.filter { $0.path.hasSuffix(".md") }
        #expect(articles.count >= 5)
        for article in articles {
            for match in article.text.matches(of: /`((?:Sources|Tests|Benchmarks)\/[\w\/.+]+)`/) {
                #expect(Repository.exists(String(match.1)), "\(article) names \(match.1)")
            }
            for match in article.text.matches(of: /`(\w+\.(?:swift|c))`/) {
                let isThere = Repository.files.contains { $0.path.hasSuffix("/\(match.1)") }
                #expect(isThere, "\(article) names \(match.1)")
            }
        }
    }
}

extension String {
    /// What stands between each `start` and the next `end` behind it.
    fileprivate func components(between start: String, and end: String) -> [String] {
        split(separator: start, omittingEmptySubsequences: false).dropFirst().compactMap { part in
            part.split(separator: end, omittingEmptySubsequences: false).first.map(String.init)
        }
    }
}
