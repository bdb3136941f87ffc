// swift-tools-version: 6.3
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

// What a stranger's package looks like. Its own trait hands Gyre's through.
let package = Package(
    name: "client",
    traits: ["IOUring", .default(enabledTraits: ["IOUring"])],
    dependencies: [
        .package(
            name: "gyre", path: "../../..",
            traits: [.trait(name: "IOUring", condition: .when(traits: ["IOUring"]))])
    ],
    targets: [
        .executableTarget(
            name: "client",
            dependencies: [.product(name: "Gyre", package: "gyre")])
    ],
    swiftLanguageModes: [.v6]
)
