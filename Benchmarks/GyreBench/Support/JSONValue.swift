// SPDX-License-Identifier: Apache-2.0

/// A JSON value.
///
/// Written by hand, for people read it too: Foundation's encoder knows no order of members, and
/// puts either all on one line or each on its own.
enum JSONValue: Equatable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSONValue])
    /// The members in the order in which they are printed.
    case object([(String, JSONValue)])

    static func == (left: JSONValue, right: JSONValue) -> Bool { left.text == right.text }

    /// The member `name` of an object.
    subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.0 == name }?.1
    }

    var double: Double? {
        guard case .number(let number) = self else { return nil }
        return number
    }

    static func optional(_ number: Double?) -> JSONValue { number.map { .number($0) } ?? .null }
    static func integer(_ number: Int) -> JSONValue { .number(Double(number)) }
    static func strings(_ strings: [String]) -> JSONValue { .array(strings.map { .string($0) }) }
}

// MARK: Writing

extension JSONValue {
    /// The value on one line.
    var text: String {
        var text = ""
        write(to: &text, indentation: nil)
        return text
    }

    /// The value on several lines; arrays and objects without others inside stay on one.
    var prettyText: String {
        var text = ""
        write(to: &text, indentation: 0)
        return text + "\n"
    }

    private var isFlat: Bool {
        switch self {
        case .array(let items): items.allSatisfy { !$0.isContainer }
        case .object(let members): members.allSatisfy { !$0.1.isContainer }
        default: true
        }
    }

    private var isContainer: Bool {
        switch self {
        case .array, .object: true
        default: false
        }
    }

    private func write(to text: inout String, indentation: Int?) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .number(let number): text += JSONValue.text(of: number)
        case .string(let string): text += JSONValue.quoted(string)
        case .array(let items):
            let parts = items.map { (name: "", value: $0) }
            writeContainer(parts, brackets: ("[", "]"), to: &text, indentation)
        case .object(let members):
            let parts = members.map { (name: JSONValue.quoted($0.0) + ": ", value: $0.1) }
            writeContainer(parts, brackets: ("{", "}"), to: &text, indentation)
        }
    }

    private func writeContainer(
        _ parts: [(name: String, value: JSONValue)], brackets: (String, String),
        to text: inout String, _ indentation: Int?
    ) {
        let inner = isFlat ? nil : indentation.map { $0 + 2 }
        let separator = inner.map { "\n" + String(repeating: " ", count: $0) }
        text += brackets.0
        for (index, part) in parts.enumerated() {
            if index > 0 { text += separator == nil ? ", " : "," }
            text += (separator ?? "") + part.name
            part.value.write(to: &text, indentation: inner)
        }
        if let indentation, inner != nil {
            text += "\n" + String(repeating: " ", count: indentation)
        }
        text += brackets.1
    }

    private static func text(of number: Double) -> String {
        guard number.isFinite else { return "null" }
        if let integer = Int64(exactly: number) { return "\(integer)" }
        // Swift prints exponents for very large and very small numbers; JSON takes them too.
        return "\(number)"
    }

    private static func quoted(_ string: String) -> String {
        var text = "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}
