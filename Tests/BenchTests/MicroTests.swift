// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing

@testable import gyre_bench

@Suite struct MicroTests {
    private static let isSanitized =
        dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil

    /// The values of `name` and of what is measured with it, on all policies.
    private func measure(_ name: String) throws -> [(name: String, policy: String, value: Double)] {
        let program = "\(System.executableFolder)/gyre-bench"
        let child = try ChildProcess([program, "micro", "--only", name, "--json"])
        var results: [(String, String, Double)] = []
        while let line = try child.readLine(timeout: 120) {
            guard let record = JSONValue(parsing: line), let value = record["value"]?.double,
                case .string(let name)? = record["name"],
                case .string(let policy)? = record["policy"],
                case .string("allocations")? = record["unit"]
            else { throw BenchError("said \(line)") }
            results.append((name, policy, value))
        }
        #expect(child.collect().status == 0, "\(child.reason)")
        return results
    }

    @Test(.disabled(if: isSanitized, "a sanitizer has an allocator of its own"))
    func aStepOfATaskAllocatesNothing() throws {
        let results = try measure("job_allocations")
        #expect(!results.isEmpty)
        for result in results {
            // A debug build allocates at each turn of the loop.
            #expect(result.value < 0.1, "\(result.policy)")
        }
    }

    @Test(.disabled(if: isSanitized, "a sanitizer has an allocator of its own"))
    func anAsyncEchoAllocatesNothingAndAStreamItsBytes() throws {
        let results = try measure("async_echo_allocations")
        for policy in Set(results.map(\.policy)) {
            func made(_ api: String) throws -> Double {
                try #require(
                    results.first { $0.name == "\(api)_echo_allocations" && $0.policy == policy }
                ).value
            }
            // A debug build allocates in what is the same for all of them.
            let callback = try made("callback")
            #expect(try abs(made("async") - callback) < 0.1, "\(policy)")
            #expect(try abs(made("stream") - callback - 1) < 0.1, "\(policy)")
        }
        #expect(results.count.isMultiple(of: 3) && !results.isEmpty)
    }
}
