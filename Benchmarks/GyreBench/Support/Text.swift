// SPDX-License-Identifier: Apache-2.0

extension Double {
    /// The number with `digits` digits behind the point.
    func formatted(digits: Int) -> String {
        guard isFinite else { return "-" }
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let scaled = (magnitude * scale).rounded()
        guard let whole = Int64(exactly: scaled) else { return "\(self)" }
        let sign = self < 0 && whole != 0 ? "-" : ""
        let text = String(whole).leftPadded(to: digits + 1, with: "0")
        guard digits > 0 else { return sign + text }
        return sign + text.dropLast(digits) + "." + text.suffix(digits)
    }

    /// The number with about three significant digits, as measurements are read.
    var shortText: String {
        switch magnitude {
        case ..<0.995: formatted(digits: 3)
        case ..<9.95: formatted(digits: 2)
        case ..<99.5: formatted(digits: 1)
        default: formatted(digits: 0)
        }
    }
}

extension Int {
    /// The number with a blank between each three digits.
    var groupedText: String {
        var text = ""
        for (index, digit) in String(magnitude).reversed().enumerated() {
            if index > 0, index % 3 == 0 { text.append(" ") }
            text.append(digit)
        }
        return (self < 0 ? "-" : "") + String(text.reversed())
    }
}

extension String {
    func leftPadded(to width: Int, with filler: Character = " ") -> String {
        String(repeating: filler, count: Swift.max(0, width - count)) + self
    }

    func rightPadded(to width: Int) -> String {
        self + String(repeating: " ", count: Swift.max(0, width - count))
    }

    /// This text without blanks and line ends around it.
    var trimmed: String {
        var rest = self[...]
        while rest.first?.isWhitespace == true { rest.removeFirst() }
        while rest.last?.isWhitespace == true { rest.removeLast() }
        return String(rest)
    }
}

/// Text in aligned columns: the first to the left, the others to the right as numbers are.
struct TextTable {
    /// How many columns from the left hold words.
    var leftColumns = 1
    private(set) var rows: [[String]] = []

    init(leftColumns: Int = 1) {
        self.leftColumns = leftColumns
    }

    mutating func append(_ row: [String]) { rows.append(row) }

    /// Leaves a line empty.
    mutating func appendGap() { rows.append([]) }

    var text: String {
        var widths: [Int] = []
        for row in rows {
            for (column, cell) in row.enumerated() {
                if column == widths.count { widths.append(0) }
                widths[column] = max(widths[column], cell.count)
            }
        }
        var text = ""
        for row in rows {
            let cells = row.enumerated().map { column, cell in
                column < leftColumns
                    ? cell.rightPadded(to: widths[column]) : cell.leftPadded(to: widths[column])
            }
            var line = cells.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            text += line + "\n"
        }
        return text
    }
}
