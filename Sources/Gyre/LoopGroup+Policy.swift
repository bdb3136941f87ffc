// SPDX-License-Identifier: Apache-2.0

public import GyreNet

extension LoopGroup {
    /// Makes `count` loops, one for each processor unless set, and runs each on a thread of its
    /// own.
    ///
    /// The loops are of `policy`, or as ``makeLoop(policy:)`` chooses.
    ///
    /// - Throws: What making the loops throws; `LoopError` when no thread can be started.
    public convenience init(count: Int? = nil, policy: LoopPolicy? = nil) throws {
        try self.init(count: count, makeLoop: { try Gyre.makeLoop(policy: policy) })
    }
}

/// Runs `body` with a group of loops of `policy`, which are stopped when it has ended; see
/// `LoopGroup`.
public func withLoopGroup<Value>(
    count: Int? = nil, policy: LoopPolicy? = nil, _ body: (LoopGroup) async throws -> Value
) async throws -> Value {
    try await withLoopGroup(
        count: count, makeLoop: { try Gyre.makeLoop(policy: policy) }, body)
}
