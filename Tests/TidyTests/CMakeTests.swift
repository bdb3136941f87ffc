// SPDX-License-Identifier: Apache-2.0

import Testing

/// CMake builds what SwiftPM builds, from lists kept by hand.
@Suite("CMake says the same as Package.swift")
struct CMakeTests {
    private static let targets = [
        "CGyre", "GyreCore", "GyreDispatch", "GyreTasks", "GyreNet", "Gyre",
        "GyreGlobalExecutor", "GyreTesting",
    ]

    @Test("Each source list names the files of its folder", arguments: targets)
    func sourceLists(target: String) throws {
        let folder = "Sources/\(target)/"
        let list = try Repository.file(folder + "CMakeLists.txt")
        let listed = list.text.split { " \n()".contains($0) }.map(String.init)
            .filter { $0.hasSuffix(".swift") || $0.hasSuffix(".c") }
        let present = Repository.files.map(\.path)
            .filter { $0.hasPrefix(folder) && ($0.hasSuffix(".swift") || $0.hasSuffix(".c")) }
            .map { String($0.dropFirst(folder.count)) }
        #expect(Set(listed) == Set(present), "\(list) does not name what is there")
        #expect(listed == listed.sorted(), "\(list) is not sorted")
    }

    @Test("Every target is built")
    func targetsAreBuilt() throws {
        let top = try Repository.file("CMakeLists.txt").text
        let built = top.matches(of: /add_subdirectory\(Sources\/(\w+)\)/).map { String($0.1) }
        #expect(built == Self.targets)
        let folders = try Repository.entries(of: "Sources")
            .filter { $0 != "CMake" && $0 != "Examples" && !$0.hasPrefix(".") }
        #expect(Set(folders) == Set(Self.targets))
    }

    @Test("The settings are the same")
    func settings() throws {
        let manifest = try Repository.file("Package.swift").text
        let settings = try Repository.file("Sources/CMake/GyreLibrary.cmake").text
        let here = manifest.matches(of: /enableUpcomingFeature\("(\w+)"\)/).map { $0.1 }
        let there = settings.matches(of: /-enable-upcoming-feature (\w+)"/).map { $0.1 }
        #expect(!here.isEmpty && here == there)
        #expect(manifest.contains("name: \"gyre\""))
        #expect(settings.contains("-package-name gyre\""))
        #expect(manifest.contains("swiftLanguageModes: [.v6]"))
        let top = try Repository.file("CMakeLists.txt").text
        #expect(top.contains("set(CMAKE_Swift_LANGUAGE_VERSION 6)"))
        #expect(manifest.contains(".trait(\n            name: \"IOUring\""))
        #expect(settings.contains("$<$<BOOL:${GYRE_IO_URING}>:-DIOUring>"))
    }
}
