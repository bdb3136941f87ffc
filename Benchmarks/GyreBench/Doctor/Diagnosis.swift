// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
import Gyre

/// What the doctor finds.
struct Diagnosis {
    struct Finding {
        let policy: LoopPolicy
        /// Nil when it is usable.
        let reason: String?
    }

    /// The soft and the hard limit, nil for none.
    struct Limit {
        let soft: UInt64?
        let hard: UInt64?
    }

    struct Fact {
        let name: String
        let value: JSONValue
    }

    let kernel: String
    let processor: String
    let cpuCount: Int
    /// What the kernel gave a ring.
    ///
    /// Empty where there is no ring.
    let ring: [Fact]
    let memlock: Limit
    let descriptors: Limit
    /// kernel.io_uring_disabled: 0 for everybody, 1 for a group, 2 for nobody.
    ///
    /// Nil before 6.6.
    let ringsDisabled: Int?
    let congestion: String?
    let findings: [Finding]
    /// The value of `GYRE_LOOP`.
    let environment: String?
    /// What a program gets that names no policy, and why; or why it gets none.
    let choice: (policy: String?, explanation: String)

    init() {
        kernel = System.kernelName
        processor = System.processorName
        cpuCount = System.allowedCPUs.count
        ring = Diagnosis.ringFacts()
        memlock = Diagnosis.limit(CInt(__RLIMIT_MEMLOCK.rawValue))
        descriptors = Diagnosis.limit(CInt(RLIMIT_NOFILE.rawValue))
        ringsDisabled = System.readFile("/proc/sys/kernel/io_uring_disabled")
            .flatMap { Int($0.trimmed) }
        congestion = System.congestionControl
        findings = LoopPolicy.allCases.filter { $0 != .automatic }
            .map { Finding(policy: $0, reason: Diagnosis.reason(against: $0)) }
        environment = getenv(LoopPolicy.environmentVariable).map { String(cString: $0) }
        choice = Diagnosis.describeChoice()
    }

    private static func reason(against policy: LoopPolicy) -> String? {
        switch policy.probe() {
        case .success: nil
        case .failure(let error): "\(error)"
        }
    }

    private static func describeChoice() -> (policy: String?, explanation: String) {
        do {
            let loop = try makeLoop()
            try loop.close()
            return (loop.selection.policy, "\(loop.selection)")
        } catch {
            return (nil, "\(error)")
        }
    }

    private static func ringFacts() -> [Fact] {
        #if IOUring
        guard let backend = try? IOUringBackend(operations: OperationTable()) else { return [] }
        let features = backend.features
        backend.close()
        return [
            Fact(name: "single_issuer", value: .bool(features.single_issuer)),
            Fact(name: "deferred_task_work", value: .bool(features.deferred_task_work)),
            Fact(name: "cooperative_task_work", value: .bool(features.cooperative_task_work)),
            Fact(name: "multishot_receive", value: .bool(features.multishot_receive)),
            Fact(name: "incremental_buffers", value: .bool(features.incremental_buffers)),
            Fact(name: "no_iowait", value: .bool(features.no_iowait)),
            Fact(name: "submission_entries", value: .integer(Int(features.submission_entries))),
            Fact(name: "completion_entries", value: .integer(Int(features.completion_entries))),
            Fact(name: "buffer_count", value: .integer(Int(features.buffer_count))),
            Fact(name: "buffer_size", value: .integer(Int(features.buffer_size))),
        ]
        #else
        return []
        #endif
    }

    private static func limit(_ resource: CInt) -> Limit {
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0 else { return Limit(soft: nil, hard: nil) }
        func value(_ number: rlim_t) -> UInt64? { number == rlim_t.max ? nil : UInt64(number) }
        return Limit(soft: value(limit.rlim_cur), hard: value(limit.rlim_max))
    }
}

// MARK: For people

extension Diagnosis {
    var text: String {
        var table = TextTable(leftColumns: 2)
        table.append(["kernel", kernel])
        table.append(["processor", "\(processor), \(cpuCount) usable"])
        table.append(["memlock", memlock.text { "\($0 / 1024) KiB" }])
        table.append(["nofile", descriptors.text { "\($0)" }])
        let disabled = ["0, for nobody", "1, outside the group io_uring_group", "2, for everybody"]
        let meaning = ringsDisabled.map { 0..<3 ~= $0 ? disabled[$0] : "\($0)" }
        table.append(["io_uring_disabled", meaning ?? "not known to this kernel"])
        table.append(["congestion control", congestion ?? "unknown"])
        table.appendGap()
        for finding in findings {
            let verdict = finding.reason.map { "not usable: \($0)" } ?? "usable"
            table.append([finding.policy.rawValue, verdict])
        }
        table.append(["GYRE_LOOP", environment ?? "not set"])
        table.append([choice.policy == nil ? "no loop" : "runs", choice.explanation])
        guard !ring.isEmpty else { return table.text }
        table.appendGap()
        for fact in ring { table.append(["ring " + fact.name, fact.value.word]) }
        return table.text
    }
}

extension Diagnosis.Limit {
    fileprivate func text(_ format: (UInt64) -> String) -> String {
        let (low, high) = (soft.map(format) ?? "unlimited", hard.map(format) ?? "unlimited")
        return low == high ? low : "\(low), may be raised to \(high)"
    }
}

extension JSONValue {
    fileprivate var word: String {
        switch self {
        case .bool(let value): value ? "yes" : "no"
        default: text
        }
    }
}

// MARK: For programs

extension Diagnosis {
    var json: JSONValue {
        .object([
            ("kernel", .string(kernel)),
            ("processor", .string(processor)),
            ("cpus", .integer(cpuCount)),
            ("memlock", memlock.json),
            ("nofile", descriptors.json),
            ("io_uring_disabled", .optional(ringsDisabled.map { Double($0) })),
            ("congestion_control", congestion.map { .string($0) } ?? .null),
            ("ring", ring.isEmpty ? .null : .object(ring.map { ($0.name, $0.value) })),
            ("policies", .array(findings.map(\.json))),
            ("gyre_loop", environment.map { .string($0) } ?? .null),
            (
                "choice",
                .object([
                    ("policy", choice.policy.map { .string($0) } ?? .null),
                    ("explanation", .string(choice.explanation)),
                ])
            ),
        ])
    }
}

extension Diagnosis.Finding {
    fileprivate var json: JSONValue {
        .object([
            ("policy", .string(policy.rawValue)), ("usable", .bool(reason == nil)),
            ("reason", reason.map { .string($0) } ?? .null),
        ])
    }
}

extension Diagnosis.Limit {
    /// Null stands for no limit.
    fileprivate var json: JSONValue {
        .object([
            ("soft", .optional(soft.map { Double($0) })),
            ("hard", .optional(hard.map { Double($0) })),
        ])
    }
}
