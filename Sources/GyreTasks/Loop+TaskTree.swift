// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore

extension Loop {
    /// The tasks that did not end yet, one in a line: its name, where it was made, and what it
    /// waits for.
    ///
    /// A task stands below the one that made it, or at the top when that has ended.
    public var taskTree: String {
        let tasks = allTasks
        let numbers = Set(tasks.map(\.number))
        let children = Dictionary(grouping: tasks) {
            numbers.contains($0.parentNumber) ? $0.parentNumber : 0
        }
        let count = tasks.count == 1 ? "1 task" : "\(tasks.count) tasks"
        var lines = ["\(count) on \(selection.policy)"]
        func add(_ parent: UInt64, depth: Int) {
            for task in children[parent] ?? [] {
                let indent = String(repeating: "  ", count: depth)
                lines.append("\(indent)- \(task), \(state(of: task))")
                add(task.number, depth: depth + 1)
            }
        }
        add(0, depth: 0)
        return lines.joined(separator: "\n")
    }

    private func state(of task: any AnyLoopTask) -> String {
        let wait = task.waitsFor.map { "waits for \($0)" } ?? "waits for nothing of the loop"
        guard task.cancelling > 0 else { return wait }
        return wait + ", cancelled"
            + (task.cancellationReason.map { " (\($0))" } ?? "")
    }

    /// Writes the ``taskTree`` to the ``Loop/diagnosticSink`` whenever the process
    /// receives `signal`.
    ///
    /// - Throws: As ``Loop/addSignalHandler(_:file:line:_:)``.
    public func printTasks(
        on signal: CInt, file: StaticString = #fileID, line: UInt = #line
    ) throws(LoopError) {
        try addSignalHandler(signal, file: file, line: line) { [unowned self] in
            diagnosticSink(taskTree)
        }
    }

    /// Does that for the signal that the environment variable `GYRE_TASKS_SIGNAL` names, as `USR1`.
    func printTasksAsTheOperatorWants() throws(LoopError) {
        guard let value = getenv("GYRE_TASKS_SIGNAL") else { return }
        let name = String(cString: value)
        guard !name.isEmpty else { return }
        let known = ["HUP": SIGHUP, "QUIT": SIGQUIT, "USR1": SIGUSR1, "USR2": SIGUSR2]
        guard let signal = known[name.hasPrefix("SIG") ? String(name.dropFirst(3)) : name] else {
            throw LoopError(
                .invalidSignal, operation: "GYRE_TASKS_SIGNAL",
                detail: "\"\(name)\" is none of \(known.keys.sorted().joined(separator: ", "))")
        }
        try printTasks(on: signal)
    }
}
