// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

/// Measures Gyre: by itself, and beside other event loops on the same machine in the same run.
@main
struct GyreBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gyre-bench",
        abstract: "Measures Gyre, by itself and beside other event loops.",
        subcommands: [Doctor.self, Serve.self, Micro.self, Compare.self]
    )
}
