// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Calls on sockets of the program's own.
enum LowLevelSockets {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "socketsAreConnectedAndAccepted", [], .lowLevelSockets,
            socketsAreConnectedAndAccepted),
        Behaviour(
            "sendingAllWaitsForASlowPeer", [], .lowLevelSockets, sendingAllWaitsForASlowPeer),
        Behaviour(
            "aCancelledReceiveSwallowsNothing", [108], .lowLevelSockets,
            aCancelledReceiveSwallowsNothing),
        Behaviour(
            "aReceiveCancelledAsDataComesSwallowsNothing", [108], .lowLevelSockets,
            aReceiveCancelledAsDataComesSwallowsNothing),
        Behaviour(
            "aCancelledAcceptLosesNoConnection", [108], .lowLevelSockets,
            aCancelledAcceptLosesNoConnection),
        Behaviour(
            "receivingAndSendingOnOneSocketAreIndependent", [107], .lowLevelSockets,
            receivingAndSendingOnOneSocketAreIndependent),
        Behaviour(
            "aSecondCallThatWouldWaitIsAnError", [], .lowLevelSockets,
            aSecondCallThatWouldWaitIsAnError),
        Behaviour(
            "callsAndWatchersExcludeEachOther", [], .lowLevelSockets,
            callsAndWatchersExcludeEachOther),
        Behaviour(
            "aSocketOfATransportIsRefused", [], .lowLevelSockets, aSocketOfATransportIsRefused),
        Behaviour("datagramsCarryTheirAddress", [], .lowLevelSockets, datagramsCarryTheirAddress),
        Behaviour(
            "socketErrorsAreThoseOfTheSystem", [98], .lowLevelSockets,
            socketErrorsAreThoseOfTheSystem),
        Behaviour(
            "closingASocketEndsTheCallsThatWaitForIt", [], .lowLevelSockets,
            closingASocketEndsTheCallsThatWaitForIt),
        Behaviour(
            "aNumberThatComesBackIsAnotherSocket", [], .lowLevelSockets, isProcessWide: true,
            aNumberThatComesBackIsAnotherSocket),
        Behaviour(
            "blockingSocketsDoNotBlockTheLoop", [], .lowLevelSockets,
            blockingSocketsDoNotBlockTheLoop),
        Behaviour(
            "callsOnSocketsLeakNoDescriptor", [98], .lowLevelSockets, isProcessWide: true,
            callsOnSocketsLeakNoDescriptor),
    ]

    // MARK: Sockets to call on

    static func makeSocket(_ kind: __socket_type = SOCK_STREAM, blocks: Bool = false) -> CInt {
        let flags = CInt(SOCK_CLOEXEC.rawValue) | (blocks ? 0 : CInt(SOCK_NONBLOCK.rawValue))
        return socket(AF_INET, CInt(kind.rawValue) | flags, 0)
    }

    /// A socket bound to 127.0.0.1, and its address.
    static func makeBound(
        _ kind: __socket_type = SOCK_STREAM, blocks: Bool = false
    ) throws -> (fd: CInt, address: LoopAddress) {
        let fd = makeSocket(kind, blocks: blocks)
        try expect(RawPeer.bind(fd, port: 0), equals: 0, "errno of bind")
        if kind == SOCK_STREAM { listen(fd, 16) }
        guard let address = LoopAddress(localAddressOf: fd) else {
            throw ConformanceFailure("a bound socket without a name")
        }
        return (fd, address)
    }

    /// Two connected TCP sockets.
    static func connected() async throws -> (near: CInt, far: CInt) {
        let loop = Loop.running
        let listener = try makeBound()
        defer { close(listener.fd) }
        let near = makeSocket()
        try await loop.sockConnect(near, listener.address)
        return (near, try await loop.sockAccept(listener.fd).socket)
    }

    private static func receive(_ socket: CInt, exactly count: Int) async throws -> [UInt8] {
        var all: [UInt8] = []
        while all.count < count {
            let piece = try await Loop.running.sockReceive(socket, count - all.count)
            if piece.isEmpty { break }
            all += piece
        }
        return all
    }

    // MARK: Streams

    static func socketsAreConnectedAndAccepted(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let listener = try makeBound()
            // It waits before anybody connects.
            let accepting = loop.createTask(eager: true) {
                try await Loop.running.sockAccept(listener.fd)
            }
            let near = makeSocket()
            try await loop.sockConnect(near, listener.address)
            let (far, address) = try await accepting.value
            try expect(address, equals: LoopAddress(localAddressOf: near))
            let flags = fcntl(far, F_GETFL)
            try expect(flags & O_NONBLOCK != 0, "an accepted socket is non-blocking")
            try expect(fcntl(far, F_GETFD) & FD_CLOEXEC != 0, "and closed on exec")
            try await loop.sockSendAll(near, pattern(1000))
            try expectPattern(try await receive(far, exactly: 1000), count: 1000)
            var buffer = [UInt8](repeating: 9, count: 8)
            try await loop.sockSendAll(far, [1, 2, 3])
            try expect(try await loop.sockReceiveInto(near, &buffer), equals: 3)
            try expect(buffer, equals: [1, 2, 3, 9, 9, 9, 9, 9])
            loop.sockClose(far)
            try expect(try await loop.sockReceive(near, 10), equals: [], "the end of file")
            loop.sockClose(near)
            loop.sockClose(listener.fd)
        }
    }

    static func sendingAllWaitsForASlowPeer(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let count = 8 << 20
            let (near, far) = try await connected()
            let sending = Loop.running.createTask(eager: true) {
                try await Loop.running.sockSendAll(near, pattern(count))
                close(near)
            }
            try expect(!sending.isDone, "the kernel has no room for so much")
            try expectPattern(try await receive(far, exactly: count), count: count)
            try await sending.value
            try expect(try await Loop.running.sockReceive(far, 1), equals: [])
            close(far)
        }
    }

    static func aCancelledReceiveSwallowsNothing(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let pair = SocketPair()
            let near = pair.near
            for _ in 0..<3 {
                try await expectAsyncError(.timedOut) {
                    try await timeout(.seconds(1)) { _ in
                        _ = try await Loop.running.sockReceive(near, 10)
                    }
                }
                pair.sendToNear(5)
                try expect(try await Loop.running.sockReceive(near, 10).count, equals: 5)
            }
            extendLifetime(pair)
        }
    }

    static func aReceiveCancelledAsDataComesSwallowsNothing(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let pair = SocketPair()
            let near = pair.near
            // The cancellation comes 0, 1, 2 iterations after the data.
            for iterations in 0..<6 {
                let task = Loop.running.createTask(eager: true) {
                    try await Loop.running.sockReceive(near, 10).count
                }
                pair.sendToNear(5)
                for _ in 0..<iterations { try await sleep(.zero) }
                task.cancel()
                var received = 0
                do {
                    received = try await task.value
                } catch is CancellationError {
                    received = try await Loop.running.sockReceive(near, 10).count
                }
                try expect(received, equals: 5, "after \(iterations) iterations")
                try expect(pair.receiveAtNear(), equals: -1, "nothing is left")
            }
            extendLifetime(pair)
        }
    }

    static func aCancelledAcceptLosesNoConnection(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let listener = try makeBound()
            for iterations in 0..<6 {
                let task = loop.createTask(eager: true) {
                    try await Loop.running.sockAccept(listener.fd).socket
                }
                let near = makeSocket()
                try await loop.sockConnect(near, listener.address)
                for _ in 0..<iterations { try await sleep(.zero) }
                task.cancel()
                let far: CInt
                do {
                    far = try await task.value
                } catch is CancellationError {
                    far = try await loop.sockAccept(listener.fd).socket
                }
                try await loop.sockSendAll(near, [1])
                try expect(try await loop.sockReceive(far, 10), equals: [1])
                close(near)
                close(far)
            }
            close(listener.fd)
        }
    }

    static func receivingAndSendingOnOneSocketAreIndependent(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let pair = SocketPair()
            let near = pair.near
            let receiving = loop.createTask(eager: true) {
                try await Loop.running.sockReceive(near, 10).count
            }
            pair.fillNear()
            let sending = loop.createTask(eager: true) {
                try await Loop.running.sockSendAll(near, [1])
            }
            try expect(!receiving.isDone && !sending.isDone, "both wait")
            pair.sendToNear(3)
            try expect(try await receiving.value, equals: 3)
            try expect(!sending.isDone, "it still waits")
            let second = loop.createTask(eager: true) {
                try await Loop.running.sockReceive(near, 10).count
            }
            try await sleep(.zero)
            second.cancel()
            try await expectAsyncError(CancellationError.self) { _ = try await second.value }
            pair.drainFar()
            try await sending.value
            extendLifetime(pair)
        }
    }

    static func aSecondCallThatWouldWaitIsAnError(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let pair = SocketPair()
            let (near, far) = (pair.near, pair.far)
            let first = loop.createTask(eager: true) {
                try await Loop.running.sockReceive(near, 10).count
            }
            try await expectAsyncError(.inUse) { _ = try await loop.sockReceive(near, 1) }
            pair.sendToNear(2)
            // Also while the data is there: it is the first one's.
            try await expectAsyncError(.inUse) { _ = try await loop.sockReceive(near, 1) }
            try expect(try await first.value, equals: 2)
            // A sender keeps its turn until all is sent: nothing comes between its parts.
            let sending = loop.createTask(eager: true) {
                try await Loop.running.sockSendAll(near, pattern(4 << 20))
            }
            var received = 0
            while !sending.isDone {
                try await expectAsyncError(.inUse) { try await loop.sockSendAll(near, [1]) }
                received += try await loop.sockReceive(far, 1 << 20).count
                try await sleep(.zero)
            }
            while received < 4 << 20 {
                received += try await loop.sockReceive(far, 1 << 20).count
            }
            try expect(received, equals: 4 << 20)
            try await loop.sockSendAll(near, [1])
            extendLifetime(pair)
        }
    }

    static func callsAndWatchersExcludeEachOther(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let pair = SocketPair()
            let near = pair.near
            let receiving = loop.createTask(eager: true) {
                try await Loop.running.sockReceive(near, 10).count
            }
            try expectError(.inUse) { try loop.addReader(near) {} }
            try expect(!loop.removeReader(near), "there is no reader to remove")
            try loop.addWriter(near) { Loop.running.removeWriter(near) }
            pair.sendToNear(2)
            try expect(try await receiving.value, equals: 2)
            loop.removeWriter(near)
            try loop.addReader(near) {}
            try await expectAsyncError(.inUse) { _ = try await loop.sockReceive(near, 1) }
            loop.removeReader(near)
            pair.sendToNear(1)
            try expect(try await loop.sockReceive(near, 10).count, equals: 1)
            extendLifetime(pair)
        }
    }

    static func aSocketOfATransportIsRefused(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let fd = pair.nearTransport.descriptor
        let task = pair.loop.createTask {
            let loop = Loop.running
            try await expectAsyncError(.inUse) { _ = try await loop.sockReceive(fd, 1) }
            try await expectAsyncError(.inUse) { try await loop.sockSendAll(fd, [1]) }
            try await expectAsyncError(.inUse) { _ = try await loop.sockAccept(fd) }
        }
        try kit.complete(task, on: pair.loop)
        try pair.close()
    }

    // MARK: Datagrams

    static func datagramsCarryTheirAddress(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let (near, nearAddress) = try makeBound(SOCK_DGRAM)
            let (far, farAddress) = try makeBound(SOCK_DGRAM)
            let receiving = loop.createTask(eager: true) {
                try await Loop.running.sockReceiveFrom(far, 100)
            }
            try expect(try await loop.sockSendTo(near, [1, 2, 3], farAddress), equals: 3)
            let (bytes, address) = try await receiving.value
            try expect(bytes, equals: [1, 2, 3])
            try expect(address, equals: nearAddress)
            // One call takes one datagram, and what does not fit of it is lost.
            try await loop.sockSendTo(far, [4, 5, 6], nearAddress)
            try await loop.sockSendTo(far, [], nearAddress)
            try await loop.sockSendTo(far, [7], nearAddress)
            var buffer = [UInt8](repeating: 0, count: 2)
            let first = try await loop.sockReceiveFromInto(near, &buffer)
            try expect(first.count, equals: 2)
            try expect(buffer, equals: [4, 5])
            try expect(first.address, equals: farAddress)
            try expect(try await loop.sockReceiveFrom(near, 10).bytes, equals: [])
            try expect(try await loop.sockReceive(near, 10), equals: [7])
            close(near)
            close(far)
        }
    }

    // MARK: Errors

    static func socketErrorsAreThoseOfTheSystem(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let (closed, address) = try makeBound()
            close(closed)
            let refused = makeSocket()
            try await expectAsyncError(.connectionRefused) {
                try await loop.sockConnect(refused, address)
            }
            close(refused)
            let fresh = makeSocket()
            try await expectAsyncError(.notConnected) {
                _ = try await loop.sockReceive(fresh, 1)
            }
            close(fresh)
            let error = try await expectAsyncError(LoopError.self) {
                _ = try await loop.sockReceive(-1, 1)
            }
            try expect(error.errno, equals: EBADF)
            try await expectAsyncError(.invalidArgument) { _ = try await loop.sockReceive(0, -1) }
            // A peer that resets while a call waits, and one that went before a call sends.
            let (near, far) = try await connected()
            let receiving = loop.createTask(eager: true) {
                try await Loop.running.sockReceive(near, 1)
            }
            RawPeer.reset(far)
            try await expectAsyncError(.connectionReset) { _ = try await receiving.value }
            try await expectAsyncError(.brokenPipe) { try await loop.sockSendAll(near, [1]) }
            close(near)
        }
    }

    static func closingASocketEndsTheCallsThatWaitForIt(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let (near, far) = try await connected()
            let receiving = loop.createTask(eager: true) {
                try await Loop.running.sockReceive(near, 1)
            }
            let sending = loop.createTask(eager: true) {
                try await Loop.running.sockSendAll(near, pattern(16 << 20))
            }
            try expect(!receiving.isDone && !sending.isDone, "both wait")
            loop.sockClose(near)
            try await expectAsyncError(.closed) { _ = try await receiving.value }
            try await expectAsyncError(.closed) { _ = try await sending.value }
            close(far)
        }
    }

    /// The program closes a descriptor under a call that waits, and its number comes back.
    static func aNumberThatComesBackIsAnotherSocket(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            var ends: [CInt] = [-1, -1]
            let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
            socketpair(AF_UNIX, kind, 0, &ends)
            let (near, far) = (ends[0], ends[1])
            let stale = loop.createTask(eager: true) {
                try await Loop.running.sockReceive(near, 1)
            }
            try await sleep(.zero)
            // Without a word to the loop: this closes what had the number.
            socketpair(AF_UNIX, kind, 0, &ends)
            try expect(dup2(ends[0], near), equals: near, "the number comes back")
            close(ends[0])
            ends[0] = near
            let fresh = loop.createTask(eager: true) {
                try await Loop.running.sockReceive(near, 10)
            }
            try await expectAsyncError(.closed) { _ = try await stale.value }
            let bytes: [UInt8] = [1, 2]
            try expect(send(ends[1], bytes, 2, 0), equals: 2)
            try expect(try await fresh.value, equals: [1, 2])
            for fd in [far, ends[0], ends[1]] { close(fd) }
        }
    }

    static func blockingSocketsDoNotBlockTheLoop(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let (listener, address) = try makeBound(SOCK_STREAM, blocks: true)
            let client = makeSocket(SOCK_STREAM, blocks: true)
            // These would block, and there is no way to keep the kernel from it.
            try await expectAsyncError(.invalidArgument) {
                _ = try await loop.sockAccept(listener)
            }
            try await expectAsyncError(.invalidArgument) {
                try await loop.sockConnect(client, address)
            }
            close(client)
            close(listener)
            let pair = SocketPair()
            let (near, far) = (pair.near, pair.far)
            for fd in [near, far] { _ = fcntl(fd, F_SETFL, 0) }
            let receiving = loop.createTask(eager: true) {
                var count = 0
                while count < 4 << 20 {
                    count += try await Loop.running.sockReceive(far, 1 << 16).count
                }
            }
            try await loop.sockSendAll(near, pattern(4 << 20))
            try await receiving.value
            extendLifetime(pair)
        }
    }

    static func callsOnSocketsLeakNoDescriptor(_ kit: ConformanceKit) throws {
        let before = OpenDescriptors()
        for _ in 0..<20 {
            try socketsAreConnectedAndAccepted(kit)
            try aCancelledAcceptLosesNoConnection(kit)
            try socketErrorsAreThoseOfTheSystem(kit)
        }
        let leaked = OpenDescriptors().opened(since: before).filter { !$0.contains("pipe:") }
        try expect(leaked.count < 20, "descriptors were leaked: \(leaked)")
    }
}
