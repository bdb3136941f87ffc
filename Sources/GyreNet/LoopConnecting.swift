// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore

/// A connection that is being made: the handle that `createConnection` returns.
public final class LoopConnecting {
    /// How it ended.
    public typealias Outcome = Result<LoopTransport, LoopError>

    private let loop: Loop
    private let options: LoopConnectionOptions
    private var makeProtocol: (() -> any LoopStreamProtocol)?
    private var completion: ((Outcome) -> Void)?

    private var remaining: [LoopAddress] = []
    private var failures: [LoopError] = []
    private var lookUp: UInt64?
    private var fd: CInt = -1
    private var resource: Int32 = -1
    private var connectID = OperationID.none
    /// The address that is connected to: the kernel reads it until the operation ends.
    private var address: UnsafeMutablePointer<sockaddr_storage>?

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

    deinit { address?.deallocate() }

    /// Gives up.
    ///
    /// The completion is called with ``LoopError/Code/cancelled`` in a later iteration,
    /// the socket closed. Does nothing when the connection was made, or failed.
    public func cancel() {
        loop.checkThread("cancel", instead: "handle.callSoonThreadSafe")
        guard completion != nil else { return }
        remaining = []
        failures = [LoopError(.cancelled, operation: "connect")]
        if let lookUp {
            self.lookUp = nil
            loop.forget(lookUp)
            finishLater(.failure(failures[0]))
        } else if connectID != .none {
            loop.cancel(connectID)
        }
    }

    func begin(_ query: Resolver.Query) {
        do throws(LoopError) {
            if let addresses = try Resolver.resolveNumeric(query) {
                return begin(addresses)
            }
            lookUp = try Resolver.resolve(query, on: loop) { [self] result in
                lookUp = nil
                switch result {
                case .success(let addresses): begin(addresses)
                case .failure(let error): finishLater(.failure(error))
                }
            }
        } catch {
            finishLater(.failure(error))
        }
    }

    private func begin(_ addresses: [LoopAddress]) {
        remaining = addresses
        connectToNext()
    }

    private func connectToNext() {
        while !remaining.isEmpty {
            let next = remaining.removeFirst()
            do throws(LoopError) {
                return try connect(to: next)
            } catch {
                failures.append(error)
            }
        }
        finishLater(.failure(combinedFailure()))
    }

    private func connect(to next: LoopAddress) throws(LoopError) {
        let socket = try Socket.make(next, flags: loop.backend.socketFlags)
        do throws(LoopError) {
            try Socket.setStreamOptions(
                on: socket, noDelay: options.noDelay, keepAlive: options.keepAlive,
                congestionControl: options.congestionControl)
        } catch {
            Glibc.close(socket)
            throw error
        }
        fd = socket
        loop.claimDescriptor(fd)
        resource = loop.register(self)
        // SAFETY: freed in deinit; this object is held by the operation that the kernel reads it
        // for, and changes it only when there is none.
        let pointer = address ?? .allocate(capacity: 1)
        pointer.initialize(to: next.storage)
        address = pointer
        let bytes = UnsafeRawBufferPointer(start: pointer, count: Int(next.length))
        connectID = loop.submitConnect(to: bytes, on: fd, target: self)
    }

    private func combinedFailure() -> LoopError {
        guard failures.count != 1, let last = failures.last else {
            return failures.first
                ?? LoopError(.nameNotResolved, operation: "connect", detail: "no address")
        }
        let all = failures.map(\.description).joined(separator: "; ")
        return LoopError(last.code, operation: "connect", errno: last.errno, detail: all)
    }

    /// The completion is never called inside a call of the user's.
    private func finishLater(_ outcome: Outcome) {
        loop.callSoonPlainly { [self] in finish(outcome) }
    }

    private func finish(_ outcome: Outcome) {
        makeProtocol = nil
        let completion = completion.take()
        completion?(outcome)
    }
}

extension LoopConnecting: OperationTarget, LoopResource {
    package func operationCompleted(_ completion: Completion) {
        connectID = .none
        loop.unregister(resource)
        let isCancelled = failures.first?.code == .cancelled
        guard completion.result == 0, !isCancelled, let makeProtocol else {
            let peer = address.flatMap { LoopAddress(storage: $0.pointee, length: length($0)) }
            loop.closeDescriptor(fd)
            fd = -1
            if !isCancelled {
                failures.append(
                    LoopError(
                        errno: -completion.result, operation: "connect", detail: peer?.description))
            }
            return connectToNext()
        }
        let transport = LoopTransport(fd: fd, loop: loop, proto: makeProtocol(), server: nil)
        fd = -1
        transport.begin()
        finish(.success(transport))
    }

    private func length(_ address: UnsafePointer<sockaddr_storage>) -> socklen_t {
        let isIPv6 = address.pointee.ss_family == AF_INET6
        return socklen_t(
            isIPv6 ? MemoryLayout<sockaddr_in6>.size : MemoryLayout<sockaddr_in>.size)
    }

    package func loopDidClose() {
        if fd >= 0 { loop.closeDescriptor(fd) }
        fd = -1
        makeProtocol = nil
        completion = nil
    }
}

@available(*, unavailable)
extension LoopConnecting: Sendable {}
