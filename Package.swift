// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

let package = Package(
    name: "gyre",
    products: [
        .library(name: "Gyre", targets: ["Gyre"]),
        .library(name: "GyreCore", targets: ["GyreCore"]),
        .library(name: "GyreDispatch", targets: ["GyreDispatch"]),
        .library(name: "GyreTasks", targets: ["GyreTasks"]),
        .library(name: "GyreNet", targets: ["GyreNet"]),
        .library(name: "GyreGlobalExecutor", targets: ["GyreGlobalExecutor"]),
        .library(name: "GyreTesting", targets: ["GyreTesting"]),
        .executable(name: "gyre-bench", targets: ["gyre-bench"]),
        .library(name: "gyre-allocations", type: .dynamic, targets: ["CGyreAllocations"]),
    ],
    traits: [
        .trait(
            name: "IOUring",
            description: "The io_uring backend. Needs liburing (liburing-dev)."),
        .default(enabledTraits: ["IOUring"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
    ],
    targets: [
        // The libraries, from the kernel upwards.
        .target(
            name: "CGyre",
            cSettings: [.define("GYRE_IO_URING", .when(traits: ["IOUring"]))],
            linkerSettings: [.linkedLibrary("uring", .when(traits: ["IOUring"]))]
        ),
        .target(name: "GyreCore", dependencies: ["CGyre"]),
        .target(name: "GyreDispatch", dependencies: ["GyreCore"]),
        .target(name: "GyreTasks", dependencies: ["GyreCore"]),
        .target(name: "GyreNet", dependencies: ["GyreCore", "GyreTasks", "CGyre"]),
        .target(name: "Gyre", dependencies: ["GyreCore", "GyreDispatch", "GyreTasks", "GyreNet"]),
        .target(name: "GyreGlobalExecutor", dependencies: ["GyreCore"]),
        .target(name: "GyreTesting", dependencies: ["GyreCore", "GyreNet", "GyreTasks"]),

        // The benchmark: Gyre's servers, the raw C servers it is held against, and the load.
        .executableTarget(
            name: "gyre-bench",
            dependencies: [
                "Gyre", "CGyre", "CGyreBench",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Benchmarks/GyreBench"
        ),
        .target(name: "CGyreBench", path: "Benchmarks/Support"),
        .target(name: "CGyreAllocations", path: "Benchmarks/Allocations"),
        .executableTarget(name: "gyre-load", path: "Benchmarks/Load"),
        .executableTarget(name: "gyre-peer-raw-epoll", path: "Benchmarks/RawEpoll"),
        .executableTarget(
            name: "gyre-peer-raw-io-uring",
            path: "Benchmarks/RawIOUring",
            cSettings: [.define("GYRE_IO_URING", .when(traits: ["IOUring"]))],
            linkerSettings: [.linkedLibrary("uring", .when(traits: ["IOUring"]))]
        ),

        // The behaviours that every loop must show, on every policy.
        .testTarget(
            name: "ConformanceTests",
            dependencies: [
                "CGyre", "Gyre", "GyreCore", "GyreTesting", "TestPrograms", "gyre-run-top-level",
                "gyre-run-main", "gyre-run-async-main", "gyre-run-tasks", "gyre-global-async-main",
                "gyre-global-top-level",
            ]),
        .executableTarget(
            name: "gyre-conformance",
            dependencies: [
                "Gyre", "GyreCore", "GyreTesting",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Tests/ConformanceRunner"
        ),
        .executableTarget(name: "gyre-deny", path: "Tests/Deny"),
        // The runner in each kind of main function.
        .executableTarget(
            name: "gyre-run-top-level", dependencies: ["Gyre"],
            path: "Tests/RunnerPrograms/TopLevel"),
        .executableTarget(
            name: "gyre-run-main", dependencies: ["Gyre"], path: "Tests/RunnerPrograms/Main"),
        .executableTarget(
            name: "gyre-run-async-main", dependencies: ["Gyre"],
            path: "Tests/RunnerPrograms/AsyncMain"),
        .executableTarget(
            name: "gyre-run-tasks", dependencies: ["Gyre"], path: "Tests/RunnerPrograms/Tasks"),

        // A loop as the executor of a whole program.
        .executableTarget(
            name: "gyre-global-async-main", dependencies: ["Gyre", "GyreGlobalExecutor"],
            path: "Tests/GlobalExecutorPrograms/AsyncMain"),
        .executableTarget(
            name: "gyre-global-top-level", dependencies: ["Gyre", "GyreGlobalExecutor"],
            path: "Tests/GlobalExecutorPrograms/TopLevel"),

        // The parts of the core, each by itself.
        .testTarget(
            name: "GyreCoreTests", dependencies: ["CGyre", "Gyre", "GyreCore", "GyreTesting"]),
        // What is special to Dispatch.
        .testTarget(
            name: "GyreDispatchTests", dependencies: ["GyreCore", "GyreDispatch", "GyreTesting"]),

        // The backend that the article "Adding a backend" builds.
        .testTarget(name: "BackendTutorialTests", dependencies: ["GyreCore", "GyreTesting"]),

        // Programs to learn from. Tests/ExampleTests runs each of them.
        .executableTarget(
            name: "gyre-example-echo", dependencies: ["Gyre"], path: "Sources/Examples/Echo"),
        .executableTarget(
            name: "gyre-example-chat", dependencies: ["Gyre"], path: "Sources/Examples/Chat"),
        .executableTarget(
            name: "gyre-example-stream-echo", dependencies: ["Gyre"],
            path: "Sources/Examples/StreamEcho"),
        .executableTarget(
            name: "gyre-example-first-steps", dependencies: ["Gyre"],
            path: "Sources/Examples/FirstSteps"),
        .executableTarget(
            name: "gyre-example-name-responder", dependencies: ["Gyre"],
            path: "Sources/Examples/NameResponder"),
        .executableTarget(
            name: "gyre-example-port-forwarder", dependencies: ["Gyre"],
            path: "Sources/Examples/PortForwarder"),
        .executableTarget(
            name: "gyre-example-policy-swap", dependencies: ["Gyre"],
            path: "Sources/Examples/PolicySwap"),
        .executableTarget(
            name: "gyre-example-stop-on-interrupt", dependencies: ["Gyre"],
            path: "Sources/Examples/StopOnInterrupt"),
        .executableTarget(
            name: "gyre-example-file-server", dependencies: ["Gyre"],
            path: "Sources/Examples/FileServer"),
        .executableTarget(
            name: "gyre-example-future-errors", dependencies: ["Gyre"],
            path: "Sources/Examples/FutureErrors"),
        .executableTarget(
            name: "gyre-example-gather-versus-wait", dependencies: ["Gyre"],
            path: "Sources/Examples/GatherVersusWait"),
        .executableTarget(
            name: "gyre-example-scheduled-calls", dependencies: ["Gyre"],
            path: "Sources/Examples/ScheduledCalls"),
        .executableTarget(
            name: "gyre-example-stop-on-signal", dependencies: ["Gyre"],
            path: "Sources/Examples/StopOnSignal"),
        .executableTarget(
            name: "gyre-example-tasks-inside-tasks", dependencies: ["Gyre"],
            path: "Sources/Examples/TasksInsideTasks"),
        .executableTarget(
            name: "gyre-example-process-pipeline", dependencies: ["Gyre"],
            path: "Sources/Examples/ProcessPipeline"),
        .executableTarget(
            name: "gyre-example-wait-any", dependencies: ["Gyre"],
            path: "Sources/Examples/WaitAny"),
        .testTarget(
            name: "ExampleTests",
            dependencies: [
                "gyre-example-name-responder", "gyre-example-port-forwarder",
                "Gyre", "TestPrograms", "gyre-example-chat", "gyre-example-echo",
                "gyre-example-file-server", "gyre-example-first-steps",
                "gyre-example-future-errors",
                "gyre-example-gather-versus-wait", "gyre-example-policy-swap",
                "gyre-example-scheduled-calls",
                "gyre-example-stop-on-interrupt", "gyre-example-stop-on-signal",
                "gyre-example-stream-echo", "gyre-example-tasks-inside-tasks",
                "gyre-example-process-pipeline", "gyre-example-wait-any",
            ],
            exclude: ["echo_client.py"]),

        // The arithmetic of the benchmark, and how it runs other programs.
        .testTarget(
            name: "BenchTests",
            dependencies: [
                "gyre-bench", "gyre-load", "gyre-peer-raw-epoll",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        // Runs programs beside a test.
        .target(name: "TestPrograms", path: "Tests/Programs"),

        // The tests of the text itself: walls, sizes, unsafe code, layout.
        .testTarget(name: "TidyTests"),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .c11
)

// The same checks everywhere, so that no target is laxer than its neighbour.
for target in package.targets where target.type != .plugin {
    target.swiftSettings =
        (target.swiftSettings ?? []) + [
            .enableUpcomingFeature("ExistentialAny"),  // SE-0335
            .enableUpcomingFeature("MemberImportVisibility"),  // SE-0444
            .enableUpcomingFeature("InternalImportsByDefault"),  // SE-0409
            .enableUpcomingFeature("NonisolatedNonsendingByDefault"),  // SE-0461
        ]
    // No warnings: held where the tests decide, so that a newer compiler breaks nobody's build.
    if Context.environment["CI"] == "true" {
        target.swiftSettings?.append(.treatAllWarnings(as: .error))
        target.cSettings = (target.cSettings ?? []) + [.treatAllWarnings(as: .error)]
    }
}

// What CMake reads beside the sources of a library.
for target in package.targets where target.type == .regular && target.path == nil {
    target.exclude.append("CMakeLists.txt")
}
