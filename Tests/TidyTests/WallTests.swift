// SPDX-License-Identifier: Apache-2.0

import Testing

/// The layers: what each target may import, and where the names of the system below may stand.
@Suite("Walls between the layers")
struct WallTests {
    /// Arrows point down only.
    ///
    /// `Glibc` and `Synchronization` are the toolchain's and free to all.
    private static let allowed: [String: Set<String>] = [
        "GyreCore": ["CGyre"],
        "GyreDispatch": ["GyreCore", "Dispatch"],
        "GyreTasks": ["GyreCore", "CGyre"],
        "GyreNet": ["GyreCore", "GyreTasks", "CGyre"],
        "Gyre": ["GyreCore", "GyreDispatch", "GyreTasks", "GyreNet"],
        "GyreGlobalExecutor": ["GyreCore"],
        "GyreTesting": ["GyreCore", "GyreTasks", "GyreNet"],
        "Examples": ["Gyre"],
    ]

    private static let free: Set<String> = ["Glibc", "Synchronization", "_Concurrency"]

    /// The files that may name a backend, beside the backend's own.
    private static let namesBackends: Set<String> = ["Sources/Gyre/BackendChoice.swift"]

    @Test("A target imports only what lies below it")
    func importsPointDown() throws {
        #expect(!Repository.sources.isEmpty)
        for file in Repository.sources {
            let target = try #require(file.target, "\(file) lies in no target")
            let allowed = try #require(
                Self.allowed[target], "say in this test what the target \(target) may import")
            for module in SwiftSource.imports(in: file.text)
            where !allowed.contains(module) && !Self.free.contains(module) {
                Issue.record("\(file) imports \(module)")
            }
        }
    }

    @Test("Only ring.c includes liburing")
    func onlyTheRingKnowsLiburing() {
        let users = Repository.files
            .filter { $0.isInSources && $0.text.contains("#include <liburing.h>") }
            .map(\.path)
        #expect(users == ["Sources/CGyre/ring.c"])
    }

    @Test("One file beside the backends themselves names a concrete backend")
    func backendsAreNamedInOnePlace() throws {
        let backends = ["IOUringBackend", "EpollBackend", "DispatchBackend"]
        for backend in backends {
            let name = try Regex("\\b\(backend)\\b")
            let users = Repository.sources.filter { $0.code.contains(name) }.map(\.path)
            let others = users.filter {
                !$0.hasSuffix("/\(backend).swift") && !Self.namesBackends.contains($0)
            }
            #expect(others.isEmpty, "\(backend) is named in \(others)")
            #expect(users.count == 2, "\(backend) is named in \(users)")
        }
    }

    @Test("The import rule reads every way to write an import")
    func importsAreFound() {
        let text = """
            import A
            public import B
            @_exported public import C
            package import struct D.Thing
            // import E
            @testable import F
            let import_g = "import G"
            """
        #expect(SwiftSource.imports(in: text) == ["A", "B", "C", "D", "F"])
    }
}
