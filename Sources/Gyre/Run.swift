// SPDX-License-Identifier: Apache-2.0

import GyreCore
public import GyreTasks

/// Runs `body` as the main function of a program: makes a loop, runs `body` on it until it ends,
/// cancels the tasks that are left and waits for them, and closes the loop.
///
/// The loop is made by `policy`, or as ``makeLoop(policy:)`` chooses. The first interrupt (SIGINT,
/// Ctrl-C) cancels `body`, the second leaves the loop at once, see ``LoopRunner``:
///
/// ```swift
/// do {
///     try Gyre.run { try await main() }
/// } catch is LoopInterrupt {
///     print("interrupted")
/// }
/// ```
///
/// - Returns: What `body` returns.
/// - Throws: What `body` throws; ``LoopInterrupt`` after an interrupt; what making the loop throws;
///   ``LoopError/Code/alreadyRunning`` on a thread on which a loop runs.
public func run<Value: Sendable>(
    policy: LoopPolicy? = nil, file: StaticString = #fileID, line: UInt = #line,
    _ body: sending @escaping () async throws -> Value
) throws -> Value {
    let runner = LoopRunner(policy: policy)
    do {
        let value = try runner.run(file: file, line: line, body)
        try runner.close()
        return value
    } catch {
        // The first error is the one to know.
        try? runner.close()
        throw error
    }
}

extension LoopRunner {
    /// A runner with a loop of `policy`, or of the one that ``makeLoop(policy:)`` chooses.
    public convenience init(policy: LoopPolicy? = nil) {
        self.init(makeLoop: { try Gyre.makeLoop(policy: policy) })
    }
}
