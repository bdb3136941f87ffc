// SPDX-License-Identifier: Apache-2.0

/// Random numbers that are the same in every run, so that a failure can be had again.
///
/// SplitMix64.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// Makes a generator whose numbers depend on `seed` alone.
    public init(seed: UInt64) {
        state = seed
    }

    /// The next number.
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// The next number, from 0 up to and without `bound`.
    public mutating func next(below bound: Int) -> Int {
        Int.random(in: 0..<bound, using: &self)
    }

    /// A generator of its own for a part that is interleaved with others.
    mutating func fork() -> SeededRandom { SeededRandom(seed: next()) }
}
