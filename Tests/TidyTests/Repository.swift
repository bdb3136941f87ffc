// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The files of this repository, read from the folder that this file lies in.
enum Repository {
    /// A text file, with its path from the top.
    struct File: Sendable, CustomStringConvertible {
        let path: String
        let text: String
        /// The text without comments and without what stands in string literals.
        let code: String

        init(path: String, text: String) {
            self.path = path
            self.text = text
            let isCode = [".swift", ".c", ".h"].contains { path.hasSuffix($0) }
            code = isCode ? SwiftSource.code(of: text) : text
        }

        var description: String { path }
        var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
        var isSwift: Bool { path.hasSuffix(".swift") }
        var isC: Bool { path.hasSuffix(".c") || path.hasSuffix(".h") }
        var isInSources: Bool { path.hasPrefix("Sources/") }

        /// The folder below `Sources` that the file belongs to.
        var target: String? {
            let parts = path.split(separator: "/")
            guard parts.count > 2, parts[0] == "Sources" else { return nil }
            return String(parts[1])
        }
    }

    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Everything written by hand: sources, tests, benchmarks, scripts and the files at the top.
    static let files: [File] = {
        var paths = ["Sources", "Tests", "Benchmarks", ".ci"].flatMap(paths(below:))
        paths += ["Package.swift", "CMakeLists.txt", "README.md"].filter(exists)
        return paths.sorted().compactMap { path in
            guard let text = try? String(contentsOf: root.appending(path: path), encoding: .utf8)
            else { return nil }
            return File(path: path, text: text)
        }
    }()

    static var sources: [File] { files.filter { $0.isInSources && $0.isSwift } }

    static func file(_ path: String) throws -> File {
        let text = try String(contentsOf: root.appending(path: path), encoding: .utf8)
        return File(path: path, text: text)
    }

    static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: root.appending(path: path).path())
    }

    /// The names of what lies directly in the folder `path`.
    static func entries(of path: String = "") throws -> [String] {
        try FileManager.default.contentsOfDirectory(
            atPath: root.appending(path: path).path()
        ).sorted()
    }

    /// Folders that a tool made, with nothing in them that was written by hand.
    private static func isMade(_ component: String) -> Bool {
        component.hasPrefix(".build") || component == "__pycache__" || component == ".swiftpm"
            || component == "build" || component == "node_modules"
    }

    private static func paths(below folder: String) -> [String] {
        let top = root.appending(path: folder).path()
        guard let walk = FileManager.default.enumerator(atPath: top) else { return [] }
        var paths: [String] = []
        while let path = walk.nextObject() as? String {
            let name = path.split(separator: "/").last.map(String.init) ?? path
            let isFolder = walk.fileAttributes?[.type] as? FileAttributeType == .typeDirectory
            if isFolder {
                if isMade(name) { walk.skipDescendants() }
            } else {
                paths.append("\(folder)/\(path)")
            }
        }
        return paths
    }
}
