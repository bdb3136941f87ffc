// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import gyre_bench

@Suite struct TextTests {
    @Test(arguments: [
        (1.0, 2, "1.00"), (0.005, 2, "0.01"), (-0.004, 2, "0.00"), (-1.26, 1, "-1.3"),
        (999.96, 1, "1000.0"), (12.5, 0, "13"), (0.07, 3, "0.070"), (.infinity, 1, "-"),
    ])
    func numbersHaveTheDigitsAskedFor(number: Double, digits: Int, text: String) {
        #expect(number.formatted(digits: digits) == text)
    }

    @Test(arguments: [
        (0.1234, "0.123"), (0.9951, "1.00"), (9.949, "9.95"), (9.96, "10.0"), (99.6, "100"),
        (1234.5, "1235"), (0, "0.000"),
    ])
    func measurementsHaveThreeDigits(number: Double, text: String) {
        #expect(number.shortText == text)
    }

    @Test func largeNumbersAreGrouped() {
        #expect(
            [0, 999, 1000, 1_234_567, -45_678].map(\.groupedText)
                == ["0", "999", "1 000", "1 234 567", "-45 678"])
    }

    @Test func columnsAreAligned() {
        var table = TextTable()
        table.append(["name", "value"])
        table.appendGap()
        table.append(["a longer name", "7"])
        #expect(table.text == "name           value\n\na longer name      7\n")
    }
}

@Suite struct JSONTests {
    @Test func whatIsWrittenIsReadBack() throws {
        let value = JSONValue.object([
            ("nested", .object([("empty", .array([])), ("none", .null), ("yes", .bool(true))])),
            (
                "numbers",
                .array([.number(0), .number(-1.5), .number(1e-9), .number(12_345_678_901)])
            ),
            ("text", .string("a \"quoted\"\n\u{1}tab\t\\ é 😀")),
        ])
        #expect(try #require(JSONValue(parsing: value.text)) == value)
        #expect(try #require(JSONValue(parsing: value.prettyText)) == value)
        #expect(!value.text.contains("\n"))
    }

    @Test(arguments: [
        "", "{", "[1", "{\"a\" 1}", "truth", "\"open", "1 2", "\"\\u12\"",
        String(repeating: "[", count: 100_000),
    ])
    func whatIsNoJSONIsRefused(text: String) {
        #expect(JSONValue(parsing: text) == nil)
    }

    @Test func membersAreFoundByName() {
        let value = JSONValue(parsing: " {\"a\": {\"b\": 2.5}, \"c\": []} ")
        #expect(value?["a"]?["b"]?.double == 2.5)
        #expect(value?["x"] == nil)
        #expect(value?["c"]?.double == nil)
    }

    @Test func aNumberThatIsNoneIsNull() {
        #expect(JSONValue.number(.nan).text == "null")
    }
}

@Suite struct SampleTests {
    @Test func theMedianIsTheMiddle() throws {
        let odd = try #require(Sample([9, 1, 5]))
        #expect(odd.median == 5)
        #expect(odd.minimum == 1)
        #expect(odd.maximum == 9)
        #expect(odd.spread == 0.8)
        #expect(try #require(Sample([4, 1, 3, 2])).median == 2.5)
        #expect(try #require(Sample([0, 0])).spread == 0)
        #expect(Sample([]) == nil)
    }
}
