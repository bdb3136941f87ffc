// SPDX-License-Identifier: Apache-2.0

/// The result as a picture: for each case a group of bars, the server's CPU time per message (or
/// MiB, process, connection), the user part of it dark.
///
/// Each group has its own scale, since a large message costs ten times as much as a small one.
struct ComparisonPicture {
    private let comparison: Comparison

    private static let width = 1120.0
    private static let margin = 32.0
    private static let columnGap = 40.0
    private static let headHeight = 118.0
    private static let barHeight = 18.0
    private static let rowHeight = 26.0
    private static let titleHeight = 34.0
    private static let groupGap = 18.0
    private static let nameWidth = 112.0
    private static let valueWidth = 116.0

    init(_ comparison: Comparison) {
        self.comparison = comparison
    }

    private struct Colours {
        let system: String
        let user: String

        init(_ family: Contender.Family) {
            switch family {
            case .gyre: (system, user) = ("#7fb3e6", "#1f5fa8")
            case .raw: (system, user) = ("#b9bec6", "#5b6370")
            case .other: (system, user) = ("#f0c48f", "#b8701a")
            }
        }
    }

    var svg: String {
        let groups = comparison.plan.cells
            .map { (cell: $0, summaries: comparison.summaries(of: $0)) }
            .filter { !$0.summaries.isEmpty }
        var body = head
        var top = Self.headHeight
        let columnWidth = (Self.width - 2 * Self.margin - Self.columnGap) / 2
        for pair in stride(from: 0, to: groups.count, by: 2) {
            var height = 0.0
            for (column, group) in groups[pair..<min(pair + 2, groups.count)].enumerated() {
                let left = Self.margin + Double(column) * (columnWidth + Self.columnGap)
                body += self.group(
                    group.cell, group.summaries, left: left, top: top, width: columnWidth)
                let rows = Double(
                    group.summaries.count + comparison.absentees(of: group.cell).count)
                height = max(height, Self.titleHeight + rows * Self.rowHeight)
            }
            top += height + Self.groupGap
        }
        return document(body, height: top)
    }

    private func document(_ body: String, height: Double) -> String {
        let size = "\(Self.width.formatted(digits: 0)) \(height.formatted(digits: 0))"
        return """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(size)" role="img" \
            width="\(Self.width.formatted(digits: 0))" height="\(height.formatted(digits: 0))" \
            font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif" font-size="12">
            <title>\(title)</title>
            <rect width="100%" height="100%" fill="#ffffff"/>
            \(body)</svg>

            """
    }

    // MARK: The head

    private var title: String {
        let isAllMessages = comparison.plan.cells.allSatisfy { $0.workload.unit == .message }
        return isAllMessages
            ? "Server CPU per echoed message, microseconds" : "Server CPU, microseconds"
    }

    private var head: String {
        let plan = comparison.plan
        let about =
            "Median of \(plan.rounds) rounds of \(plan.seconds.shortText) s, whiskers from the "
            + "lowest to the highest round; less is better. ×: against the better raw C server "
            + "(dashed) in the same rounds."
            + (comparison.runs.contains { $0.disturbance.isTooMuch } ? " !: disturbed." : "")
        var text = element(title, 32, 34, size: 18, bold: true)
        text += element(about, 32, 54, colour: "#4a4f57")
        text += element(
            comparison.environment.lines.joined(separator: "; "), 32, 71, size: 11,
            colour: "#4a4f57")
        var left = Self.margin
        for (family, label) in [
            (Contender.Family.gyre, "Gyre"), (.raw, "raw C"), (.other, "other event loops"),
        ] {
            let colours = Colours(family)
            text += box(left, 84, 14, 12, colours.user) + box(left + 14, 84, 22, 12, colours.system)
            text += element("\(label): user, kernel", left + 43, 94)
            left += 66 + Double(label.count + 14) * 6.8
        }
        return text
    }

    // MARK: A group

    private func group(
        _ cell: Cell, _ summaries: [Comparison.Summary], left: Double, top: Double, width: Double
    ) -> String {
        let start = left + Self.nameWidth
        let highest = summaries.map(\.cpu.maximum).max() ?? 1
        let scale = (width - Self.nameWidth - Self.valueWidth) / max(highest, 1e-9)
        var text = element(
            "\(cell.title), per \(cell.workload.unit.title)", left, top + 14, size: 14, bold: true)
        let rowsTop = top + Self.titleHeight - 8
        let rowsHeight = Double(summaries.count) * Self.rowHeight
        for (index, summary) in summaries.enumerated() {
            let rowTop = rowsTop + Double(index) * Self.rowHeight
            text += element(
                summary.contender.name, start - 8, rowTop + 13.5, anchor: "end",
                bold: summary.contender.family == .gyre)
            text += bar(summary, left: start, top: rowTop, scale: scale)
        }
        for (index, contender) in comparison.absentees(of: cell).enumerated() {
            let rowTop = rowsTop + rowsHeight + Double(index) * Self.rowHeight
            text += element(contender.name, start - 8, rowTop + 13.5, anchor: "end")
            text += element("does not have it", start + 7, rowTop + 13.5, colour: "#8a9099")
        }
        let raw = summaries.filter { $0.contender.family == .raw }.map(\.cpu.median).min()
        if let raw {
            let x = start + raw * scale
            text += line(
                x, rowsTop - 4, x, rowsTop + rowsHeight - 4, "#c0392b",
                extra: "stroke-dasharray=\"4 3\"")
        }
        text += line(start, rowsTop - 4, start, rowsTop + rowsHeight - 4, "#8a9099")
        return text
    }

    private func bar(
        _ summary: Comparison.Summary, left: Double, top: Double, scale: Double
    ) -> String {
        let colours = Colours(summary.contender.family)
        let length = summary.cpu.median * scale
        let user = min(summary.user, summary.cpu.median) * scale
        var text = box(left, top, length, Self.barHeight, colours.system)
        text += box(left, top, user, Self.barHeight, colours.user)
        let (low, high) = (left + summary.cpu.minimum * scale, left + summary.cpu.maximum * scale)
        let middle = top + Self.barHeight / 2
        text += line(low, middle, high, middle, "#20242a")
        text += line(low, middle - 3, low, middle + 3, "#20242a")
        text += line(high, middle - 3, high, middle + 3, "#20242a")
        var label = summary.cpu.median.formatted(digits: 2)
        if let ratio = summary.cpuRatio {
            label += "  ×" + ratio.median.formatted(digits: 2)
        }
        if summary.disturbed > 0 { label += " !" }
        return text + element(label, max(left + length, high) + 7, top + 13.5)
    }

    // MARK: Elements

    private func element(
        _ text: String, _ x: Double, _ y: Double, size: Int = 12, anchor: String = "start",
        bold: Bool = false, colour: String = "#20242a"
    ) -> String {
        var escaped = ""
        for character in text {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            default: escaped.append(character)
            }
        }
        let weight = bold ? " font-weight=\"bold\"" : ""
        return "<text x=\"\(short(x))\" y=\"\(short(y))\" font-size=\"\(size)\" "
            + "text-anchor=\"\(anchor)\" fill=\"\(colour)\"\(weight)>\(escaped)</text>\n"
    }

    private func box(
        _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ colour: String
    ) -> String {
        "<rect x=\"\(short(x))\" y=\"\(short(y))\" width=\"\(short(max(0, width)))\" "
            + "height=\"\(short(height))\" fill=\"\(colour)\"/>\n"
    }

    private func line(
        _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ colour: String, extra: String = ""
    ) -> String {
        "<line x1=\"\(short(x1))\" y1=\"\(short(y1))\" x2=\"\(short(x2))\" y2=\"\(short(y2))\" "
            + "stroke=\"\(colour)\" \(extra)/>\n"
    }

    private func short(_ number: Double) -> String { number.formatted(digits: 1) }
}
