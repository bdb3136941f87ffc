// SPDX-License-Identifier: Apache-2.0

extension JSONValue {
    /// The value that `text` says, or nil where it is not JSON.
    init?(parsing text: some StringProtocol) {
        var parser = JSONParser(rest: Array(text.utf8)[...])
        guard let value = parser.parseValue(depth: 0) else { return nil }
        parser.skipBlanks()
        guard parser.rest.isEmpty else { return nil }
        self = value
    }
}

/// Reads what the load generator prints.
private struct JSONParser {
    var rest: ArraySlice<UInt8>

    private static var depthMax: Int { 64 }

    mutating func skipBlanks() {
        rest = rest.drop { $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }
    }

    mutating func parseValue(depth: Int) -> JSONValue? {
        skipBlanks()
        guard depth < JSONParser.depthMax, let first = rest.first else { return nil }
        switch Character(UnicodeScalar(first)) {
        case "{": return parseObject(depth: depth)
        case "[": return parseArray(depth: depth)
        case "\"": return parseString().map { .string($0) }
        case "t": return take("true") ? .bool(true) : nil
        case "f": return take("false") ? .bool(false) : nil
        case "n": return take("null") ? .null : nil
        default: return parseNumber()
        }
    }

    private mutating func take(_ word: String) -> Bool {
        guard rest.starts(with: word.utf8) else { return false }
        rest = rest.dropFirst(word.utf8.count)
        return true
    }

    private mutating func parseNumber() -> JSONValue? {
        let digits = rest.prefix {
            UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || "+-.eE".utf8.contains($0)
        }
        rest = rest.dropFirst(digits.count)
        return Double(String(decoding: digits, as: UTF8.self)).map { .number($0) }
    }

    private mutating func parseString() -> String? {
        guard take("\"") else { return nil }
        var bytes: [UInt8] = []
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: bytes, as: UTF8.self)
            case UInt8(ascii: "\\"):
                guard let escaped = parseEscape() else { return nil }
                bytes += Array(String(escaped).utf8)
            default: bytes.append(byte)
            }
        }
        return nil
    }

    private mutating func parseEscape() -> UnicodeScalar? {
        guard let byte = rest.popFirst() else { return nil }
        switch UnicodeScalar(byte) {
        case "n": return "\n"
        case "t": return "\t"
        case "r": return "\r"
        case "b": return "\u{8}"
        case "f": return "\u{C}"
        case "u":
            let digits = String(decoding: rest.prefix(4), as: UTF8.self)
            rest = rest.dropFirst(4)
            return UInt32(digits, radix: 16).flatMap { UnicodeScalar($0) }
        case let other: return other
        }
    }

    private mutating func parseArray(depth: Int) -> JSONValue? {
        guard take("[") else { return nil }
        var items: [JSONValue] = []
        skipBlanks()
        if take("]") { return .array([]) }
        while let item = parseValue(depth: depth + 1) {
            items.append(item)
            skipBlanks()
            if take("]") { return .array(items) }
            guard take(",") else { return nil }
        }
        return nil
    }

    private mutating func parseObject(depth: Int) -> JSONValue? {
        guard take("{") else { return nil }
        var members: [(String, JSONValue)] = []
        skipBlanks()
        if take("}") { return .object([]) }
        while true {
            skipBlanks()
            guard let name = parseString() else { return nil }
            skipBlanks()
            guard take(":"), let value = parseValue(depth: depth + 1) else { return nil }
            members.append((name, value))
            skipBlanks()
            if take("}") { return .object(members) }
            guard take(",") else { return nil }
        }
    }
}
