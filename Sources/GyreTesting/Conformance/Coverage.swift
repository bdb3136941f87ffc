// SPDX-License-Identifier: Apache-2.0

/// Which lines of the list of behaviours the suite covers, and why not the others.
public enum Coverage {
    /// What is known of a line that no behaviour covers alone.
    public enum Gap: Sendable, Hashable {
        /// No behaviour covers it yet.
        case missing(String)
        /// Behaviours cover a part; the reason says what is missing.
        case partial(String)
        /// It is tested, but not as a behaviour: the reason says where.
        case elsewhere(String)
    }

    /// The numbers of the list.
    public static let lines = 1...122

    /// The lines that no behaviour covers alone.
    public static let gaps: [Int: Gap] = {
        var gaps: [Int: Gap] = [:]
        for (numbers, gap) in table {
            for number in numbers {
                precondition(gaps[number] == nil, "line \(number) stands twice")
                gaps[number] = gap
            }
        }
        return gaps
    }()

    private static let table: [([Int], Gap)] = [
        ([26], .elsewhere("a trap needs a process: ForeignThreadTests")),
        (Array(120...122), .missing("TLS: not written yet")),
    ]

    /// What is wrong with the table: lines that are neither covered nor excused, and excuses that
    /// do not hold any more.
    ///
    /// Empty when all is well.
    public static func mistakes(in behaviours: [Behaviour]) -> [String] {
        let covered = Set(behaviours.flatMap(\.numbers))
        var mistakes = lines.compactMap { number -> String? in
            switch (covered.contains(number), gaps[number]) {
            case (true, nil), (true, .partial), (false, .missing), (_, .elsewhere): nil
            case (false, nil): "line \(number) is neither covered nor excused"
            case (false, .partial): "line \(number) is said to be covered in part"
            case (true, .missing): "line \(number) is covered, and excused as missing"
            }
        }
        for number in covered.union(gaps.keys).subtracting(lines).sorted() {
            mistakes.append("there is no line \(number)")
        }
        var names: Set<String> = []
        for behaviour in behaviours where !names.insert(behaviour.name).inserted {
            mistakes.append("\(behaviour.name) stands twice")
        }
        return mistakes
    }
}
