// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// A look-up of a name that is under way: the handle that `getAddressInfo` and `getNameInfo` return
/// to callbacks.
public final class LoopLookUp {
    private let loop: Loop
    private var token: UInt64?
    private var fail: ((LoopError) -> Void)?

    /// Begins with `numeric`, which has the answer when it takes no look-up; otherwise `start`
    /// begins one and gives its token.
    ///
    /// `completion` is called in a later iteration.
    init<Value: Sendable>(
        on loop: Loop, numeric: Result<Value, LoopError>?,
        start: (@escaping (Result<Value, LoopError>) -> Void) throws(LoopError) -> UInt64,
        completion: @escaping (Result<Value, LoopError>) -> Void
    ) {
        self.loop = loop
        fail = { completion(.failure($0)) }
        if let numeric {
            loop.callSoonPlainly { [self] in if end() { completion(numeric) } }
            return
        }
        do throws(LoopError) {
            token = try start { [self] result in if end() { completion(result) } }
        } catch {
            loop.callSoonPlainly { [self] in if end() { completion(.failure(error)) } }
        }
    }

    private func end() -> Bool {
        token = nil
        return fail.take() != nil
    }

    /// Gives up.
    ///
    /// The completion is called with ``LoopError/Code/cancelled`` in a later iteration. A look-up
    /// that was begun cannot be interrupted; its thread is free when it ends, and its answer is
    /// dropped. Does nothing when the look-up has ended.
    public func cancel() {
        loop.checkThread("cancel", instead: "handle.callSoonThreadSafe")
        guard let fail = fail.take() else { return }
        if let token = token.take() { loop.forget(token) }
        loop.callSoonPlainly { fail(LoopError(.cancelled, operation: "getaddrinfo")) }
    }
}

@available(*, unavailable)
extension LoopLookUp: Sendable {}

/// Looks up several hosts, one after the other, for the library itself; most lists have one.
final class LookUps {
    private let loop: Loop
    private var queries: ArraySlice<Resolver.Query>
    private var found: [[LoopAddress]] = []
    private var token: UInt64?
    private var then: ((Result<[[LoopAddress]], LoopError>) -> Void)?

    /// Calls `then` with the addresses of each query, perhaps inside ``begin()``.
    init(
        _ queries: [Resolver.Query], on loop: Loop,
        then: @escaping (Result<[[LoopAddress]], LoopError>) -> Void
    ) {
        self.loop = loop
        self.queries = queries[...]
        self.then = then
    }

    func begin() {
        do throws(LoopError) {
            while let query = queries.popFirst() {
                if let addresses = try Resolver.resolveNumeric(query) {
                    found.append(addresses)
                    continue
                }
                token = try Resolver.resolve(query, on: loop) { [self] result in
                    token = nil
                    switch result {
                    case .success(let addresses):
                        found.append(addresses)
                        begin()
                    case .failure(let error): end(.failure(error))
                    }
                }
                return
            }
            end(.success(found))
        } catch {
            end(.failure(error))
        }
    }

    private func end(_ result: Result<[[LoopAddress]], LoopError>) { then.take()?(result) }

    /// Gives up; nobody is told.
    func cancel() {
        then = nil
        if let token = token.take() { loop.forget(token) }
    }
}
