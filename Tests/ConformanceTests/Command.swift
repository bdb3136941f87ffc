// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestPrograms

/// A program of this package, run to its end.
struct Command {
    /// The exit status, or the number of the signal that ended it plus 128.
    let status: Int32
    /// What it wrote, to either stream.
    let lines: [String]

    var output: String { lines.joined(separator: "\n") }

    /// Runs the executable `name`, which lies beside the tests unless it is a path, and gives it
    /// two minutes.
    init(_ name: String, _ arguments: [String], environment: [String: String] = [:]) throws {
        var variables = ProcessInfo.processInfo.environment
        for name in ["GYRE_LOOP", "GYRE_DEBUG"] { variables[name] = nil }
        variables.merge(environment) { $1 }
        let program = try Program(
            name.hasPrefix("/") ? name : Program.path(name), arguments, environment: variables,
            mergesErrors: true,
            patience: 120)
        lines = program.readToEnd()
        status = program.wait()
    }
}
