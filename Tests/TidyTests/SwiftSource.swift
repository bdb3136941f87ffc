// SPDX-License-Identifier: Apache-2.0

/// Reads source text as far as the rules need it: no parser, but it knows comments and strings.
enum SwiftSource {
    /// `text` with comments and the insides of string literals replaced by blanks.
    ///
    /// Line breaks stay, so line numbers do too.
    static func code(of text: String) -> String {
        var scanner = Scanner(text)
        return scanner.run()
    }

    private struct Scanner {
        private let input: [UInt8]
        private var output: [UInt8] = []
        private var position = 0

        init(_ text: String) {
            input = Array(text.utf8)
            output.reserveCapacity(input.count)
        }

        mutating func run() -> String {
            while position < input.count {
                if starts(with: "//") {
                    skip { $0.starts(with: "\n") }
                } else if starts(with: "/*") {
                    skip { $0.starts(with: "*/") }
                    blank("*/".utf8.count)
                } else if starts(with: "\"\"\"") {
                    blank(3)
                    skip { $0.starts(with: "\"\"\"") }
                    blank(3)
                } else if starts(with: "\"") {
                    skipLiteral()
                } else {
                    output.append(input[position])
                    position += 1
                }
            }
            return String(decoding: output, as: UTF8.self)
        }

        func starts(with text: String) -> Bool {
            input[position...].starts(with: text.utf8)
        }

        private mutating func skipLiteral() {
            blank(1)
            while position < input.count, !starts(with: "\""), !starts(with: "\n") {
                blank(starts(with: "\\") ? 2 : 1)
            }
            blank(1)
        }

        private mutating func skip(until isEnd: (Self) -> Bool) {
            while position < input.count, !isEnd(self) { blank(1) }
        }

        private mutating func blank(_ count: Int) {
            for _ in 0..<count where position < input.count {
                output.append(input[position] == UInt8(ascii: "\n") ? UInt8(ascii: "\n") : 32)
                position += 1
            }
        }
    }

    // MARK: Functions

    struct Function: Equatable {
        let name: String
        /// Of its first line, from one.
        let line: Int
        let length: Int
    }

    /// The functions, initializers and closures' hosts of a Swift file with their lengths in lines,
    /// from the declaration to the closing brace.
    static func swiftFunctions(in text: String) -> [Function] {
        let lines = code(of: text).split(separator: "\n", omittingEmptySubsequences: false)
        return lines.indices.compactMap { start in
            guard let name = declaredFunction(lines[start]),
                let end = end(ofBodyFrom: start, in: lines)
            else { return nil }
            return Function(name: name, line: start + 1, length: end - start + 1)
        }
    }

    private static func declaredFunction(_ line: Substring) -> String? {
        let pattern =
            #/
            ^\s*
            (?: @\w+(?:\([^)]*\))?\s+ | [a-z]+(?:\(\w+\))?\s+ )*
            (?: func\s+([^\s(<]+) | (init|subscript)[?(<] | (deinit)\b )
            /#
        guard let match = line.prefixMatch(of: pattern) else { return nil }
        return String(match.1 ?? match.2 ?? match.3 ?? "")
    }

    /// The line of the brace that closes the first one opened at or after `start`; nil for a
    /// declaration without a body.
    private static func end(ofBodyFrom start: Int, in lines: [Substring]) -> Int? {
        let indentation = lines[start].prefix { $0 == " " }.count
        var depth = 0
        for index in start..<lines.count {
            let line = lines[index]
            let isNext =
                index > start && depth == 0 && line.prefix { $0 == " " }.count <= indentation
            if isNext, let first = line.first(where: { $0 != " " }), !")]{-w>".contains(first) {
                return nil
            }
            for character in line where character == "{" || character == "}" {
                depth += character == "{" ? 1 : -1
                if depth == 0 { return index }
                if depth < 0 { return nil }
            }
        }
        return nil
    }

    /// The functions of a C file: a body that starts in the first column and ends there.
    static func cFunctions(in text: String) -> [Function] {
        let lines = code(of: text).split(separator: "\n", omittingEmptySubsequences: false)
        var functions: [Function] = []
        var start: Int?
        for (index, line) in lines.enumerated() {
            if let first = line.first, first.isLetter, line.contains("(") { start = index }
            guard line == "}", let begin = start else { continue }
            let name = lines[begin].prefix { $0 != "(" }.split(separator: " ").last.map(String.init)
            functions.append(
                Function(name: name ?? "", line: begin + 1, length: index - begin + 1))
            start = nil
        }
        return functions
    }

    // MARK: Imports

    /// The modules a Swift file imports.
    static func imports(in text: String) -> [String] {
        code(of: text).split(separator: "\n").compactMap { line in
            let pattern =
                #/
                ^\s*
                (?: @\S+\s+ )*
                (?: (?:public|package|internal|fileprivate|private)\s+ )?
                import\s+
                (?: (?:struct|class|enum|protocol|func|var|let|typealias)\s+ )?
                (\w+)
                /#
            return line.prefixMatch(of: pattern).map { String($0.1) }
        }
    }
}
