// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// A ``LoopFuture``, whatever its value is.
///
/// For lists of futures of several types, as `wait(_:timeout:returnWhen:)` takes them.
/// Only futures of this library conform.
public protocol AnyLoopFuture: AnyObject, Sendable {
    /// The handle of the loop it belongs to.
    var handle: LoopHandle { get }
    /// Where it was made.
    var site: CallSite { get }
    /// Whether it has a value, an error, or was cancelled.
    var isDone: Bool { get }
    /// Whether it was cancelled.
    var isCancelled: Bool { get }
    /// Cancels it, as the future or the task itself would be.
    ///
    /// False when it was done already.
    @discardableResult func cancel() -> Bool
    /// Waits until it is done, in whatever way, which is not looked at.
    func waitUntilDone() async throws
}

/// Something that is told when futures are done, as done-callbacks are: in a later iteration.
package protocol FutureObserver: AnyObject {
    /// The future that was observed under `index` is done.
    func futureIsDone(_ index: Int)
}

/// What combinators need of a future.
protocol ObservableFuture: AnyLoopFuture {
    /// Tells `observer` once this is done.
    func addObserver(_ observer: any FutureObserver, index: Int)
    /// Forgets `observer`.
    func removeObserver(_ observer: any FutureObserver)
    /// Whether it ended with an error; does not count as looking at it.
    var hasFailed: Bool { get }
    /// The error it ended with, which is looked at now.
    func takeError() -> (any Error)?
}

extension LoopFuture: AnyLoopFuture {}

extension LoopFuture: ObservableFuture {
    package func addObserver(_ observer: any FutureObserver, index: Int) {
        add(.observer(observer, index))
    }

    var hasFailed: Bool {
        if case .failure = outcome { return true }
        return false
    }

    func takeError() -> (any Error)? {
        guard case .failure(let error) = outcome else { return nil }
        markErrorAsSeen()
        return error
    }
}

/// The same futures, each once, as combinators see them.
///
/// - Throws: ``LoopError/Code/loopMismatch`` when one is of another loop than `handle`.
func observable(
    _ futures: [any AnyLoopFuture], of handle: LoopHandle, _ operation: String
) throws(LoopError) -> [any ObservableFuture] {
    var known: Set<ObjectIdentifier> = []
    known.reserveCapacity(futures.count)
    var unique: [any ObservableFuture] = []
    unique.reserveCapacity(futures.count)
    for future in futures {
        guard future.handle == handle else {
            throw LoopError(
                .loopMismatch, operation: operation, detail: "a future is another loop's")
        }
        guard let future = future as? any ObservableFuture else {
            throw LoopError(
                .invalidArgument, operation: operation, detail: "\(type(of: future)) is no future")
        }
        if known.insert(ObjectIdentifier(future)).inserted { unique.append(future) }
    }
    return unique
}
