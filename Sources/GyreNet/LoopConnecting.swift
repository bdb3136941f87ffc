// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// A connection that is being made: the handle that `createConnection` returns.
public final class LoopConnecting {
    /// How it ended.
    public typealias Outcome = Result<LoopTransport, LoopError>

    private let loop: Loop
    private let options: LoopConnectionOptions
    private var makeProtocol: (() -> any LoopStreamProtocol)?
    private var completion: ((Outcome) -> Void)?

    /// Held by the loop while it is under way.
    private weak var lookUps: LookUps?
    private var remaining: ArraySlice<LoopAddress> = []
    /// The addresses to connect from; nil leaves it to the system.
    private var locals: [LoopAddress]?
    private var running: [ConnectAttempt] = []
    private var failures: [LoopError] = []
    private var nextAttempt: LoopTimer?
    private var limit: LoopTimer?
    /// Why it was given up.
    private var reason: LoopError?
    /// The outcome is decided, and the completion will be told.
    private var isDecided = false

    init(
        loop: Loop, options: LoopConnectionOptions,
        makeProtocol: @escaping () -> any LoopStreamProtocol,
        completion: @escaping (Outcome) -> Void
    ) {
        self.loop = loop
        self.options = options
        self.makeProtocol = makeProtocol
        self.completion = completion
    }

    // MARK: Giving up

    /// Gives up.
    ///
    /// The completion is called with ``LoopError/Code/cancelled`` in a later iteration,
    /// the socket closed. Does nothing when the connection was made, or failed.
    public func cancel() {
        loop.checkThread("cancel", instead: "handle.callSoonThreadSafe")
        giveUp(LoopError(.cancelled, operation: "connect"))
    }

    private func giveUp(_ error: LoopError) {
        guard reason == nil, !isDecided else { return }
        reason = error
        remaining = []
        nextAttempt?.cancel()
        limit?.cancel()
        if let lookUps {
            self.lookUps = nil
            lookUps.cancel()
            finishLater(.failure(error))
        }
        for attempt in running { attempt.cancel() }
    }

    private func timeOut(_ timeout: Duration) {
        var detail = "the limit was \(timeout)"
        if !failures.isEmpty { detail += "; \(list(failures))" }
        giveUp(LoopError(.timedOut, operation: "connect", detail: detail, causes: failures))
    }

    // MARK: Names

    /// Where to connect to.
    enum Target {
        case host(String, port: Int)
        case addresses([LoopAddress])
    }

    /// There is nothing that can be tried.
    func begin(failing error: LoopError) { finishLater(.failure(error)) }

    func begin(_ target: Target) {
        if let timeout = options.timeout {
            limit = loop.callLaterPlainly(timeout) { [self] in timeOut(timeout) }
        }
        var queries: [Resolver.Query] = []
        if case .host(let host, let port) = target {
            queries = [
                Resolver.Query(host: host, port: port, isPassive: false, family: options.family)
            ]
        }
        if options.localHost != nil || options.localPort != 0 {
            queries.append(
                Resolver.Query(host: options.localHost, port: options.localPort, isPassive: true))
        }
        let lookUps = LookUps(queries, on: loop) { [self] result in
            self.lookUps = nil
            switch result {
            case .success(let found): connect(to: target, found)
            case .failure(let error): finishLater(.failure(error))
            }
        }
        self.lookUps = lookUps
        lookUps.begin()
    }

    // MARK: Attempts

    /// `found` are the addresses of the names, in the order of the queries.
    private func connect(to target: Target, _ found: [[LoopAddress]]) {
        var found = found[...]
        let addresses =
            switch target {
            case .host: found.popFirst() ?? []
            case .addresses(let addresses): addresses
            }
        let usual = options.happyEyeballsDelay == nil ? 0 : 1
        remaining = interleaved(addresses, first: options.interleave ?? usual)[...]
        locals = found.first
        connectToNext()
    }

    /// Begins the next attempt that can be begun; fails when there is none, and none is under way.
    private func connectToNext() {
        while let next = remaining.popFirst() {
            do throws(LoopError) {
                running.append(
                    try ConnectAttempt(to: next, from: locals, options, owner: self, on: loop))
                return scheduleNext()
            } catch {
                failures.append(error)
            }
        }
        if running.isEmpty { finishLater(.failure(combinedFailure())) }
    }

    private func scheduleNext() {
        guard let delay = options.happyEyeballsDelay, !remaining.isEmpty else { return }
        nextAttempt = loop.callLaterPlainly(delay) { [self] in connectToNext() }
    }

    func attemptEnded(_ attempt: ConnectAttempt, _ result: CInt) {
        running.removeAll { $0 === attempt }
        if let reason {
            attempt.close()
            if running.isEmpty, !isDecided { finish(.failure(reason)) }
            return
        }
        guard !isDecided, let makeProtocol else { return attempt.close() }
        guard result == 0 else {
            attempt.close()
            failures.append(
                LoopError(errno: -result, operation: "connect", detail: attempt.peer.description))
            nextAttempt?.cancel()
            return connectToNext()
        }
        isDecided = true
        remaining = []
        nextAttempt?.cancel()
        for other in running { other.cancel() }
        let transport = LoopTransport(
            fd: attempt.takeDescriptor(), loop: loop, proto: makeProtocol(), server: nil,
            kind: options.passesDescriptors ? .passing : .socket)
        transport.begin()
        finish(.success(transport))
    }

    // MARK: The end

    private func combinedFailure() -> LoopError {
        guard failures.count != 1, let last = failures.last else {
            return failures.first
                ?? LoopError(.nameNotResolved, operation: "connect", detail: "no address")
        }
        return LoopError(
            last.code, operation: "connect", errno: last.errno, detail: list(failures),
            causes: failures)
    }

    private func list(_ errors: [LoopError]) -> String {
        errors.map(\.description).joined(separator: "; ")
    }

    /// The completion is never called inside a call of the user's.
    private func finishLater(_ outcome: Outcome) {
        isDecided = true
        loop.callSoonPlainly { [self] in finish(outcome) }
    }

    private func finish(_ outcome: Outcome) {
        isDecided = true
        limit?.cancel()
        makeProtocol = nil
        let completion = completion.take()
        completion?(outcome)
    }

    func loopDidClose() {
        running = []
        makeProtocol = nil
        completion = nil
    }
}

/// `addresses` in the order in which RFC 8305 tries them: `first` of the first family, then one of
/// each family in turn.
///
/// With 0 the order stays.
package func interleaved(_ addresses: [LoopAddress], first: Int) -> [LoopAddress] {
    guard first > 0, let family = addresses.first?.family else { return addresses }
    var families: [(family: CInt, addresses: ArraySlice<LoopAddress>)] = []
    for address in addresses {
        if let index = families.firstIndex(where: { $0.family == address.family }) {
            families[index].addresses.append(address)
        } else {
            families.append((address.family, [address]))
        }
    }
    var order: [LoopAddress] = []
    if let index = families.firstIndex(where: { $0.family == family }) {
        order += families[index].addresses.prefix(first - 1)
        families[index].addresses = families[index].addresses.dropFirst(first - 1)
    }
    while order.count < addresses.count {
        for index in families.indices {
            if let next = families[index].addresses.popFirst() { order.append(next) }
        }
    }
    return order
}

@available(*, unavailable)
extension LoopConnecting: Sendable {}
