// SPDX-License-Identifier: Apache-2.0

/// What is said about a few repetitions of one measurement.
struct Sample: Equatable {
    let median: Double
    let minimum: Double
    let maximum: Double
    let count: Int

    /// Nil when there is no value.
    init?(_ values: [Double]) {
        guard !values.isEmpty else { return nil }
        let sorted = values.sorted()
        let middle = sorted.count / 2
        median =
            sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
        minimum = sorted[0]
        maximum = sorted[sorted.count - 1]
        count = sorted.count
    }

    /// Half the range as a share of the median.
    ///
    /// With the handful of rounds there are, that says more than a deviation would.
    var spread: Double { median == 0 ? 0 : (maximum - minimum) / 2 / median.magnitude }

    var json: JSONValue {
        .object([
            ("median", .number(median)), ("min", .number(minimum)), ("max", .number(maximum)),
            ("spread", .number(spread)), ("count", .integer(count)),
        ])
    }
}
