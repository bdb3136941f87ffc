// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// When `wait(_:timeout:returnWhen:)` returns.
public enum LoopWaitCondition: Sendable, Hashable {
    /// When all are done.
    case allCompleted
    /// When one is done: with a value, with an error, or cancelled.
    case firstCompleted
    /// When one ended with an error; cancellation is none. Without errors, when all are done.
    case firstError
}

/// Waits until `futures` are done, or one of them is, or `timeout` passed.
///
/// Never cancels any of them, and looks at no outcome: not when the time is up, which is no error,
/// and not when the task that waits is cancelled.
///
/// - Returns: Those that are done and those that are not, each once, in the order of `futures`.
/// - Throws: `CancellationError` when the task is cancelled; ``LoopError/Code/loopMismatch`` when
///   one is of another loop than the task; ``LoopError/Code/invalidArgument`` without any.
public func wait<Future: AnyLoopFuture>(
    _ futures: [Future], timeout: Duration? = nil, returnWhen: LoopWaitCondition = .allCompleted,
    file: StaticString = #fileID, line: UInt = #line
) async throws -> (done: [Future], pending: [Future]) {
    let site = CallSite(file: file, line: line)
    try await waitForSome(futures, timeout, returnWhen, site)
    return split(futures)
}

/// Waits for futures of several types, see `wait(_:timeout:returnWhen:)`.
@_disfavoredOverload
public func wait(
    _ futures: [any AnyLoopFuture], timeout: Duration? = nil,
    returnWhen: LoopWaitCondition = .allCompleted,
    file: StaticString = #fileID, line: UInt = #line
) async throws -> (done: [any AnyLoopFuture], pending: [any AnyLoopFuture]) {
    let site = CallSite(file: file, line: line)
    try await waitForSome(futures, timeout, returnWhen, site)
    var known: Set<ObjectIdentifier> = []
    let unique = futures.filter { known.insert(ObjectIdentifier($0)).inserted }
    return (unique.filter(\.isDone), unique.filter { !$0.isDone })
}

private func split<Future: AnyLoopFuture>(
    _ futures: [Future]
) -> (done: [Future], pending: [Future]) {
    var known: Set<ObjectIdentifier> = []
    let unique = futures.filter { known.insert(ObjectIdentifier($0)).inserted }
    return (unique.filter(\.isDone), unique.filter { !$0.isDone })
}

private func waitForSome(
    _ futures: [any AnyLoopFuture], _ timeout: Duration?, _ condition: LoopWaitCondition,
    _ site: CallSite
) async throws {
    let loop = try currentLoop("wait")
    guard !futures.isEmpty else {
        throw LoopError(.invalidArgument, operation: "wait", detail: "no futures")
    }
    let children = try observable(futures, of: loop.handle, "wait")
    let waiting = Waiting(
        DelegatingFuture("wait", on: loop.handle, site: site), children, until: condition)
    for (index, child) in children.enumerated() { child.addObserver(waiting, index: index) }
    let timer = timeout.map { timeout in
        loop.callLaterPlainly(timeout) { waiting.end.end(.value(())) }
    }
    defer {
        timer?.cancel()
        for child in children { child.removeObserver(waiting) }
    }
    try await waiting.end.suspend()
    try waiting.end.result()
}

/// The loop whose thread this is.
///
/// - Throws: ``LoopError/Code/loopMismatch`` outside a loop.
func currentLoop(_ operation: String) throws(LoopError) -> Loop {
    guard let loop = Loop.current else {
        throw LoopError(
            .loopMismatch, operation: operation, detail: "the task does not run on a loop")
    }
    return loop
}

private final class Waiting: FutureObserver {
    let end: DelegatingFuture<Void>
    private let children: [any ObservableFuture]
    private let condition: LoopWaitCondition
    private var unfinished: Int

    init(
        _ end: DelegatingFuture<Void>, _ children: [any ObservableFuture],
        until condition: LoopWaitCondition
    ) {
        self.end = end
        self.children = children
        self.condition = condition
        unfinished = children.count
    }

    func futureIsDone(_ index: Int) {
        unfinished -= 1
        let isEnough =
            switch condition {
            case .allCompleted: false
            case .firstCompleted: true
            case .firstError: children[index].hasFailed
            }
        if isEnough || unfinished == 0 { end.end(.value(())) }
    }
}
