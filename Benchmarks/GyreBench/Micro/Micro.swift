// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

/// `gyre-bench micro`.
struct Micro: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measures what single operations cost."
    )
}
