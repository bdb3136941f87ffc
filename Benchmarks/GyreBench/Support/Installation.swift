// SPDX-License-Identifier: Apache-2.0

/// Where the programs lie that belong to the benchmark.
struct Installation {
    /// What the package builds lies beside this program.
    let programs: String
    /// Where `Benchmarks/build-peers` puts the servers that the package does not build.
    let peers: String
    /// The folder of `Package.swift`, if this program lies below it or was started below it.
    let root: String?

    init(peers: String? = nil) {
        programs = System.executableFolder
        root =
            Installation.findRoot(above: programs)
            ?? Installation.findRoot(above: System.currentFolder)
        self.peers = peers ?? (root ?? programs) + "/.build-peers"
    }

    var loadGenerator: String { "\(programs)/gyre-load" }

    /// The library that counts allocations.
    var allocationCounter: String { "\(programs)/libgyre-allocations.so" }

    private static func findRoot(above folder: String) -> String? {
        var folder = folder[...]
        while !folder.isEmpty {
            if System.exists("\(folder)/Benchmarks/Peers") { return String(folder) }
            guard let end = folder.lastIndex(of: "/") else { return nil }
            folder = folder[..<end]
        }
        return nil
    }
}
