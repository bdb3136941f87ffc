// SPDX-License-Identifier: Apache-2.0

import CGyreBench
import Gyre

/// A thing to measure.
///
/// A new one is a line in ``all``.
struct MicroCase: Sendable {
    let name: String
    let about: String
    /// Its process counts allocations.
    var countsAllocations = false
    /// Measures it on a loop of this policy.
    ///
    /// The first result has the name of the case; what else is measured on the way may follow.
    let measure: @Sendable (LoopPolicy) throws -> [MicroResult]

    static let all: [MicroCase] = [
        .callSoon, .timerScheduleCancel, .timerFire, .threadSubmit, .threadWake, .idleConnection,
        .idleAsyncConnection, .futureComplete, .taskYield, .taskSpawnAwait, .continuationResume,
        .asyncEchoAllocations, .jobAllocations,
    ]
}

/// A figure, with the repetitions it is the median of.
struct MicroResult {
    let name: String
    let unit: String
    let values: [Double]
    let sample: Sample

    /// Throws when there is no value at all.
    init(_ name: String, unit: String, _ values: [Double]) throws {
        guard let sample = Sample(values) else { throw BenchError("nothing was measured") }
        self.name = name
        self.unit = unit
        self.values = values
        self.sample = sample
    }

    func json(_ policy: LoopPolicy) -> JSONValue {
        .object([
            ("name", .string(name)),
            ("value", .number((sample.median * 1000).rounded() / 1000)),
            ("unit", .string(unit)),
            ("policy", .string(policy.rawValue)),
        ])
    }

    func row(_ policy: LoopPolicy) -> [String] {
        [
            name, policy.rawValue, sample.median.shortText, unit,
            (sample.spread * 100).formatted(digits: 0), "\(sample.count)",
        ]
    }
}

// MARK: From process to process

extension MicroResult {
    /// All of it, for ``init(record:)`` in the process that asked.
    var record: JSONValue {
        .object([
            ("name", .string(name)), ("unit", .string(unit)),
            ("values", .array(values.map { .number($0) })),
        ])
    }

    init?(record: JSONValue) {
        guard case .string(let name)? = record["name"], case .string(let unit)? = record["unit"],
            case .array(let values)? = record["values"],
            let result = try? MicroResult(name, unit: unit, values.compactMap(\.double))
        else { return nil }
        self = result
    }
}

/// CPU time of the calling thread for each of `count` operations that `body` makes, in nanoseconds.
func cpuNanoseconds(per count: Int, _ body: () throws -> Void) rethrows -> Double {
    let start = bench_thread_cpu()
    try body()
    return Double(bench_thread_cpu() - start) / Double(count)
}

/// Numbers that look random and are the same in each run.
struct RandomNumbers {
    private var state: UInt64 = 0x9E37_79B9_7F4A_7C15

    /// A number from 0 up to, but not including, `bound`.
    mutating func next(below bound: UInt64) -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state % bound
    }
}

/// What callbacks leave behind, so that a measurement knows that they ran.
final class Counter {
    var value = 0
}
