// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreDispatch
import GyreTesting

/// Loops of the dispatch policy, run under a watchdog.
let dispatchKit = ConformanceKit(policy: "dispatch") { clock in
    let selection = LoopSelection(policy: "dispatch", requested: "dispatch", origin: "test")
    return try Loop(selection: selection, clock: clock) { operations throws(LoopError) in
        try DispatchBackend(operations: operations)
    }
}

/// Takes the completions of one operation.
final class Recorder: OperationTarget {
    private(set) var results: [CInt] = []
    private(set) var byteCount = 0
    private(set) var isOver = false
    private let body: (Completion) -> Void

    init(_ body: @escaping (Completion) -> Void = { _ in }) {
        self.body = body
    }

    func operationCompleted(_ completion: Completion) {
        results.append(completion.result)
        byteCount += completion.bytes.count
        isOver = !completion.more
        body(completion)
    }
}

/// A TCP socket bound to the loopback address, to a free port unless one is given.
final class LoopbackListener {
    let fd: CInt
    let port: in_port_t

    init(port wanted: in_port_t = 0, isListening: Bool = true) {
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let listener = socket(AF_INET, kind, 0)
        var address = loopbackAddress(port: wanted)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        precondition(withSocketAddress(&address) { bind(listener, $0, length) } == 0)
        if isListening { precondition(listen(listener, 128) == 0) }
        precondition(withSocketAddress(&address) { getsockname(listener, $0, &length) } == 0)
        fd = listener
        port = in_port_t(bigEndian: address.sin_port)
    }
}

/// An address that stays where it is, as a connect needs it.
final class LoopbackAddress {
    let bytes: UnsafeRawBufferPointer

    init(port: in_port_t) {
        let pointer = UnsafeMutablePointer<sockaddr_in>.allocate(capacity: 1)
        pointer.initialize(to: loopbackAddress(port: port))
        bytes = UnsafeRawBufferPointer(start: pointer, count: MemoryLayout<sockaddr_in>.size)
    }

    deinit { bytes.deallocate() }
}

func loopbackAddress(port: in_port_t) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    return address
}

func withSocketAddress<R>(
    _ address: inout sockaddr_in, _ body: (UnsafeMutablePointer<sockaddr>) -> R
) -> R {
    withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1, body)
    }
}

/// The processor time that all threads of the process took so far.
func processorTime() -> Duration {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
}

/// Two connected sockets, non-blocking, for tests that leave it to the loop to close one.
///
/// With a `number` the near end gets that one, for tests in which a number changes hands: the
/// lowest free one, which the kernel picks, depends on what else the process does.
func makePair(number: CInt? = nil) -> (near: CInt, far: CInt) {
    var ends: [CInt] = [-1, -1]
    let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    precondition(socketpair(AF_UNIX, kind, 0, &ends) == 0, "no descriptors left")
    if let number { ends[0] = move(ends[0], to: number) }
    return (ends[0], ends[1])
}

/// The number of a descriptor that no other test gets, one for each `index` from 1 on.
///
/// Counted from the highest that the process may have: the kernel gives the lowest, and tests that
/// run beside this one may take hundreds of them.
func ownNumber(_ index: CInt) -> CInt {
    var limit = rlimit()
    precondition(getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
    return CInt(min(limit.rlim_cur, 65_536)) - index
}

/// Gives a descriptor another number, which must be free.
func move(_ fd: CInt, to number: CInt) -> CInt {
    let moved = fcntl(fd, F_DUPFD_CLOEXEC, number)
    precondition(moved == number, "\(number) is in use: \(moved), errno \(errno)")
    close(fd)
    return number
}
