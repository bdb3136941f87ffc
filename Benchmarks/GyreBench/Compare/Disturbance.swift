// SPDX-License-Identifier: Apache-2.0

/// How much of the machine went to somebody else while a run was measured, in shares of the time.
struct Disturbance: Equatable {
    /// How long the server or the load generator was ready to run but had no CPU.
    let runDelay: Double
    /// What the hypervisor gave to other machines.
    let steal: Double
    /// CPU time of other processes, in cores.
    let others: Double

    // Each is a few times what a quiet machine shows.
    static let runDelayMax = 0.02
    static let stealMax = 0.02
    static let othersMax = 0.06

    /// Above 1 the run is disturbed.
    var degree: Double {
        max(
            runDelay / Disturbance.runDelayMax, steal / Disturbance.stealMax,
            others / Disturbance.othersMax)
    }

    var isTooMuch: Bool { degree > 1 }

    var json: JSONValue {
        .object([
            ("run_delay", .number(runDelay)), ("steal", .number(steal)),
            ("other_processes", .number(others)), ("is_disturbed", .bool(isTooMuch)),
        ])
    }
}

/// The CPU time that the machine has spent so far, in seconds of all CPUs together.
struct MachineTime: Equatable {
    /// In processes, and in interrupts.
    let busy: Double
    /// The part of it in interrupts.
    let interrupts: Double
    let steal: Double

    /// Reads the first line of /proc/stat, which counts hundredths of a second.
    init?(stat: String) {
        let line = stat.prefix { $0 != "\n" }
        let fields = line.split(separator: " ").dropFirst().compactMap { Double($0) }
        guard line.hasPrefix("cpu "), fields.count >= 8 else { return nil }
        // user, nice, system, idle, iowait, irq, softirq, steal
        interrupts = (fields[5] + fields[6]) / 100
        busy = (fields[0] + fields[1] + fields[2]) / 100 + interrupts
        steal = fields[7] / 100
    }

    private init(busy: Double, interrupts: Double, steal: Double) {
        self.busy = busy
        self.interrupts = interrupts
        self.steal = steal
    }

    static var now: MachineTime? { System.readFile("/proc/stat").flatMap { MachineTime(stat: $0) } }

    static func - (end: MachineTime, start: MachineTime) -> MachineTime {
        MachineTime(
            busy: end.busy - start.busy, interrupts: end.interrupts - start.interrupts,
            steal: end.steal - start.steal)
    }
}

/// Whether the CPU time of a process has the time of its interrupts in it.
///
/// TCP over loopback runs in soft interrupts. Most kernels count them with the process that they
/// interrupt; with CONFIG_IRQ_TIME_ACCOUNTING they do not, and then what the machine spent is more
/// than what its processes spent, without anybody else being there.
struct InterruptAccounting {
    private(set) var isWithProcesses = false

    /// Takes a run into account, in which all our processes used `ours` seconds of CPU time.
    mutating func learn(_ machine: MachineTime, ours: Double) {
        // We cannot have used more than all processes did, unless interrupts are in our share.
        let processes = machine.busy - machine.interrupts
        if ours > processes + machine.interrupts / 2 { isWithProcesses = true }
    }

    /// CPU time of other processes.
    func others(_ machine: MachineTime, ours: Double) -> Double {
        let all = isWithProcesses ? machine.busy : machine.busy - machine.interrupts
        return max(0, all - ours)
    }
}
