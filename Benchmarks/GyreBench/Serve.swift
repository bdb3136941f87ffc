// SPDX-License-Identifier: Apache-2.0

import ArgumentParser
import Gyre

/// `gyre-bench serve`: servers for measurements.
struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs a server to measure."
    )
}
