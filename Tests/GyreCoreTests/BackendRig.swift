// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
import Gyre
import GyreTesting
import Testing

@testable import GyreCore

/// A backend without a loop: the test submits, waits and delivers by itself.
struct BackendRig {
    /// A backend that this machine can make.
    struct Kind: Sendable, CustomTestStringConvertible {
        let testDescription: String
        fileprivate let make: @Sendable (OperationTable) throws(LoopError) -> any LoopBackend

        private init(_ policy: LoopPolicy) {
            testDescription = policy.rawValue
            make = { operations throws(LoopError) in
                try BackendChoice.makeBackend(policy, operations)
            }
        }

        #if IOUring
        private init(_ name: String, options: gyre_ring_options) {
            testDescription = name
            make = { operations throws(LoopError) in
                try IOUringBackend(operations: operations, options: options)
            }
        }
        #endif

        /// Those that can be made here.
        ///
        /// `PolicyAvailabilityTests` says which are missing.
        static let usable: [Kind] = {
            var kinds = [Kind(.epoll), Kind(.dispatch)]
            #if IOUring
            if case .success = LoopPolicy.ioUring.probe() {
                kinds.append(Kind(.ioUring))
                kinds.append(
                    Kind("old io_uring", options: IOUringBackend.optionsOfOldKernels))
                kinds.append(Kind("io_uring, few buffers", options: fewBuffers))
                var fewAndOld = fewBuffers
                fewAndOld.avoids_new_features = true
                kinds.append(Kind("old io_uring, few buffers", options: fewAndOld))
            }
            #endif
            return kinds
        }()

        #if IOUring
        /// So few and small that every test runs out of them.
        private static var fewBuffers: gyre_ring_options {
            var options = IOUringBackend.options
            options.submission_entries = 4
            options.completion_entries = 8
            options.incremental_buffer_count = 2
            options.incremental_buffer_size = 4096
            options.plain_buffer_count = 2
            options.plain_buffer_size = 4096
            return options
        }
        #endif
    }

    let operations = OperationTable()
    let backend: any LoopBackend

    init(_ kind: Kind) throws {
        backend = try kind.make(operations)
    }

    func submit(
        _ kind: Operation.Kind, _ direction: Operation.Direction, on fd: CInt,
        _ target: NotingTarget, bytes: UnsafeRawBufferPointer? = nil
    ) -> OperationID {
        let operation = Operation(
            kind: kind, fd: fd, direction: direction, pointer: bytes?.baseAddress,
            count: bytes?.count ?? 0)
        let id = operations.insert(operation, target: target)
        backend.submit(id)
        return id
    }

    func cancel(_ id: OperationID) {
        guard operations.isActive(id) else { return }
        operations.markCancelled(id)
        backend.cancel(id)
    }

    /// Waits a little and delivers, until `condition` holds; a test that waits longer than twenty
    /// seconds fails.
    func run(
        until condition: () -> Bool, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let deadline = LoopClock.monotonic.now.advanced(by: .seconds(20))
        while !condition() {
            try #require(
                LoopClock.monotonic.now < deadline, "it never came",
                sourceLocation: sourceLocation)
            backend.wait(nanoseconds: 100_000_000)
            backend.deliver()
        }
    }

    /// Waits for nothing, and delivers what is there, a few times.
    func settle() {
        for _ in 0..<5 {
            backend.wait(nanoseconds: 1_000_000)
            backend.deliver()
        }
    }
}

/// A connected pair of stream sockets with the flags that a backend wants.
final class StreamPair {
    let near: CInt
    private(set) var far: CInt

    init(_ rig: BackendRig) throws {
        var ends: [CInt] = [-1, -1]
        let kind = CInt(SOCK_STREAM.rawValue) | rig.backend.socketFlags
        try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
        (near, far) = (ends[0], ends[1])
    }

    deinit {
        close(near)
        closeFar()
    }

    func closeFar() {
        if far >= 0 { close(far) }
        far = -1
    }

    /// Sends what fits from the far end.
    @discardableResult
    func send(_ bytes: [UInt8]) -> Int {
        Glibc.send(far, bytes, bytes.count, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
    }

    /// Takes what is there at the far end.
    func receive() -> [UInt8] {
        var all: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = recv(far, &piece, piece.count, CInt(MSG_DONTWAIT))
            if count <= 0 { return all }
            all += piece[..<count]
        }
    }

    /// Fills the send buffer of the near end.
    ///
    /// Returns how much fitted.
    func fillNear() -> Int {
        let bytes = [UInt8](repeating: 7, count: 1 << 16)
        var total = 0
        while true {
            let count = Glibc.send(near, bytes, bytes.count, CInt(MSG_DONTWAIT | MSG_NOSIGNAL))
            if count <= 0 { return total }
            total += count
        }
    }
}

/// A TCP socket that listens at a free port of this machine.
final class ListeningSocket {
    let fd: CInt
    let port: Int

    init(_ rig: BackendRig) throws {
        let fd = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | rig.backend.socketFlags, 0)
        self.fd = fd
        var address = Self.address(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(fd, $0, length) == 0 ? getsockname(fd, $0, &length) : -1
            }
        }
        try #require(result == 0)
        port = Int(UInt16(bigEndian: address.sin_port))
        try #require(listen(fd, 1024) == 0)
    }

    deinit { close(fd) }

    static func address(port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }
}
