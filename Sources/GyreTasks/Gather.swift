// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// One future of the values of all `futures`, in their order.
///
/// It fails with the first error, and is cancelled when one of them is; the others go on all the
/// same. Cancelling it cancels all of them that are not done, and it ends when the first of them
/// is cancelled or fails, or when all of them ended; those that clean up may take longer. A future
/// that stands there twice gives its value twice. Without any, the future is done at once.
///
/// An error that it could not pass on, since another came first, is reported like any error that
/// nobody looked at. Futures of several loops are ``LoopError/Code/loopMismatch``.
///
/// - Important: On the loop's thread only.
public func gather<Value: Sendable>(
    _ futures: [LoopFuture<Value>], file: StaticString = #fileID, line: UInt = #line
) -> LoopFuture<[Value]> {
    gathering(futures, CallSite(file: file, line: line)) { try futures.map { try $0.result() } }
}

/// One future of the values of all `futures`, see `gather(_:)`.
///
/// - Important: On the loop's thread only.
public func gather<each Value: Sendable>(
    _ futures: repeat LoopFuture<each Value>, file: StaticString = #fileID, line: UInt = #line
) -> LoopFuture<(repeat each Value)> {
    let all = (repeat each futures)
    var list: [any AnyLoopFuture] = []
    for future in repeat each futures { list.append(future) }
    return gathering(list, CallSite(file: file, line: line)) { (repeat try (each all).result()) }
}

/// One future of how all `futures` ended, in their order; a cancelled one gives a
/// `CancellationError`.
///
/// It never fails because of one of them. Cancelling it cancels all of them that are not done, and
/// once they ended it is cancelled.
///
/// - Important: On the loop's thread only.
public func gather<Value: Sendable>(
    errorsAsResults futures: [LoopFuture<Value>],
    file: StaticString = #fileID, line: UInt = #line
) -> LoopFuture<[Result<Value, any Error>]> {
    gathering(futures, failsEarly: false, CallSite(file: file, line: line)) {
        futures.map { future in Result { try future.result() } }
    }
}

/// One future of how all `futures` ended, see `gather(errorsAsResults:)`.
///
/// - Important: On the loop's thread only.
public func gather<First: Sendable, each Value: Sendable>(
    errorsAsResults first: LoopFuture<First>, _ others: repeat LoopFuture<each Value>,
    file: StaticString = #fileID, line: UInt = #line
) -> LoopFuture<(Result<First, any Error>, repeat Result<each Value, any Error>)> {
    let all = (repeat each others)
    var list: [any AnyLoopFuture] = [first]
    for future in repeat each others { list.append(future) }
    return gathering(list, failsEarly: false, CallSite(file: file, line: line)) {
        (outcome(of: first), repeat outcome(of: each all))
    }
}

private func outcome<Value: Sendable>(of future: LoopFuture<Value>) -> Result<Value, any Error> {
    Result { try future.result() }
}

private func gathering<Value: Sendable>(
    _ futures: [any AnyLoopFuture], failsEarly: Bool = true, _ site: CallSite,
    _ collect: @escaping () throws -> Value
) -> LoopFuture<Value> {
    let handle = futures.first?.handle ?? Loop.running.handle
    let outer = DelegatingFuture<Value>("gather", on: handle, site: site)
    do {
        let children = try observable(futures, of: handle, "gather")
        if children.isEmpty {
            outer.end(.value(try collect()))
        } else {
            Gathering(outer, children, failsEarly: failsEarly, collect).start()
        }
    } catch {
        outer.end(.failure(error))
    }
    return outer
}

/// Waits for the futures that `gather(_:)` was given.
private final class Gathering<Value: Sendable>: FutureObserver {
    private let outer: DelegatingFuture<Value>
    private var children: [any ObservableFuture]
    private var unfinished: Int
    private let failsEarly: Bool
    private let collect: () throws -> Value
    private var isCancelled = false

    init(
        _ outer: DelegatingFuture<Value>, _ children: [any ObservableFuture], failsEarly: Bool,
        _ collect: @escaping () throws -> Value
    ) {
        self.outer = outer
        self.children = children
        unfinished = children.count
        self.failsEarly = failsEarly
        self.collect = collect
    }

    func start() {
        outer.canceller = { [self] _ in cancel() }
        for (index, child) in children.enumerated() { child.addObserver(self, index: index) }
    }

    private func cancel() -> Bool {
        var isTaken = false
        for child in children where child.cancel() { isTaken = true }
        if isTaken { isCancelled = true }
        return isTaken
    }

    func futureIsDone(_ index: Int) {
        guard !outer.isDone else { return end(.cancelled) }
        unfinished -= 1
        let child = children[index]
        if failsEarly {
            guard !child.isCancelled else { return end(.cancelled) }
            if let error = child.takeError() { return end(.failure(error)) }
        }
        guard unfinished == 0 else { return }
        guard !isCancelled else { return end(.cancelled) }
        do { end(.value(try collect())) } catch { end(.failure(error)) }
    }

    /// Ends the future, and leaves the children alone from now on.
    private func end(_ outcome: LoopFuture<Value>.Outcome) {
        outer.end(outcome)
        for child in children { child.removeObserver(self) }
        children = []
    }
}
