// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

/// `gyre-bench doctor`: what this machine gives, and which loop would run on it.
struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Says which policies this machine offers, and why not the others."
    )

    @Flag(help: "As JSON.")
    var json = false

    func run() throws {
        let diagnosis = Diagnosis()
        System.printLine(json ? diagnosis.json.prettyText.trimmed : diagnosis.text.trimmed)
    }
}
