// SPDX-License-Identifier: Apache-2.0

package import GyreCore
import GyreDispatch

/// The one place that knows which backends there are.
package enum BackendChoice {
    /// The concrete policies, best first: what `automatic` tries.
    static let candidates: [LoopPolicy] = [.ioUring, .epoll, .dispatch]

    package static func makeBackend(
        _ policy: LoopPolicy, _ operations: OperationTable
    ) throws(LoopError) -> any LoopBackend {
        switch policy {
        case .ioUring:
            #if IOUring
            return try IOUringBackend(operations: operations)
            #else
            throw LoopError(
                .policyUnavailable, operation: "io_uring",
                detail: "this program was built without the trait IOUring")
            #endif
        case .epoll: return try EpollBackend(operations: operations)
        case .dispatch: return try DispatchBackend(operations: operations)
        case .automatic: preconditionFailure("automatic is resolved before a backend is made")
        }
    }

    /// Makes a loop as programs use it: while it runs on the main thread, the main actor runs too.
    static func makeProgramLoop(
        _ choice: LoopPolicy.Choice, clock: LoopClock = .monotonic
    ) throws(LoopError) -> Loop {
        let loop = try makeLoop(choice, clock: clock)
        loop.aroundRun = { loop throws(LoopError) in try loop.serveMainQueue() }
        return loop
    }

    /// Makes the loop that was chosen, on `clock`.
    package static func makeLoop(
        _ choice: LoopPolicy.Choice, clock: LoopClock = .monotonic
    ) throws(LoopError) -> Loop {
        guard choice.policy == .automatic else {
            return try makeLoop(choice.policy, choice, [], clock)
        }
        var rejected: [LoopSelection.Rejection] = []
        for candidate in candidates {
            do throws(LoopError) {
                return try makeLoop(candidate, choice, rejected, clock)
            } catch {
                guard error.code == .policyUnavailable else { throw error }
                rejected.append(
                    LoopSelection.Rejection(policy: candidate.rawValue, reason: error))
            }
        }
        let reasons = rejected.map { "\($0.policy): \($0.reason)" }.joined(separator: "; ")
        throw LoopError(.policyUnavailable, operation: "automatic", detail: reasons)
    }

    private static func makeLoop(
        _ policy: LoopPolicy, _ choice: LoopPolicy.Choice, _ rejected: [LoopSelection.Rejection],
        _ clock: LoopClock
    ) throws(LoopError) -> Loop {
        let selection = LoopSelection(
            policy: policy.rawValue, requested: choice.policy.rawValue, origin: choice.origin,
            rejected: rejected)
        return try Loop(selection: selection, clock: clock) { operations throws(LoopError) in
            try makeBackend(policy, operations)
        }
    }
}
