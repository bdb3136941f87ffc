// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

// Descriptors that travel over Unix sockets.

extension UnixSockets {
    static let passing: [Behaviour] = [
        Behaviour(
            "descriptorsArriveWithTheirBytes", [], .unixSockets, isProcessWide: true,
            descriptorsArriveWithTheirBytes),
        Behaviour(
            "descriptorsThatNobodyTakesAreClosed", [], .unixSockets, isProcessWide: true,
            descriptorsThatNobodyTakesAreClosed),
        Behaviour(
            "descriptorsKeepTheirPlaceInAFullQueue", [], .unixSockets, isProcessWide: true,
            descriptorsKeepTheirPlaceInAFullQueue),
        Behaviour(
            "passingIsAskedFor", [], .unixSockets, isProcessWide: true, passingIsAskedFor),
        Behaviour("tasksPassDescriptors", [], .unixSockets, tasksPassDescriptors),
    ]

    /// A connection over a Unix socket, both sides of which pass descriptors.
    private final class PassingPair {
        let loop: Loop
        let (near, far) = (Recorder(), Recorder())
        private let folder: SocketFolder
        /// What its pipes are called in `/proc`.
        private var pipes: Set<String> = []

        init(_ kit: ConformanceKit, farPasses: Bool = true) throws {
            folder = try SocketFolder()
            loop = try kit.makeLoop()
            var options = LoopUnixServerOptions()
            options.passesDescriptors = farPasses
            let server = try loop.createUnixServer(
                path: folder.path("a.sock"), options: options
            ) { [far] in far }
            let stopWhenMade: (LoopTransport) -> Void = { [loop, near, far] _ in
                if near.transport != nil, far.transport != nil { loop.stop() }
            }
            (near.onMade, far.onMade) = (stopWhenMade, stopWhenMade)
            var connectionOptions = LoopUnixConnectionOptions()
            connectionOptions.passesDescriptors = true
            loop.createUnixConnection(
                path: folder.path("a.sock"), options: connectionOptions,
                makeProtocol: { [near] in near })
            try kit.run(loop)
            server.close()
            try kit.drain(loop)
        }

        var nearTransport: LoopTransport {
            get throws {
                guard let transport = near.transport else {
                    throw ConformanceFailure("the connection is gone")
                }
                return transport
            }
        }

        /// The reading end of a pipe that holds `text`.
        func pipe(holding text: String) throws -> CInt {
            let fd = try UnixSockets.pipe(holding: text)
            pipes.insert(linkTarget("/proc/self/fd/\(fd)"))
            return fd
        }

        /// Throws when an end of such a pipe is open.
        func expectNoneLeft(_ text: String) throws {
            let open = OpenDescriptors().targets.values.filter { pipes.contains($0) }
            try expect(open, equals: [], text)
        }

        func close() throws {
            try loop.close()
            near.forgetClosures()
            far.forgetClosures()
        }
    }

    /// The reading end of a pipe that holds `text`.
    static func pipe(holding text: String) throws -> CInt {
        var ends: [CInt] = [-1, -1]
        try expect(Glibc.pipe(&ends), equals: 0, "pipe")
        try expect(write(ends[1], text, text.utf8.count), equals: text.utf8.count)
        close(ends[1])
        return ends[0]
    }

    /// Reads what a pipe holds, and closes it.
    static func contents(of fd: CInt) throws -> String {
        var bytes = [UInt8](repeating: 0, count: 100)
        let count = read(fd, &bytes, bytes.count)
        try expect(fcntl(fd, F_GETFD) & FD_CLOEXEC != 0, "inherited by children")
        try expect(close(fd), equals: 0)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    /// Passes pipes to `pair.far` at some positions of a pattern of `count` bytes, and checks that
    /// each is there when its byte is, and not much earlier.
    private static func exchange(
        _ kit: ConformanceKit, _ pair: PassingPair, count: Int, at positions: [Int]
    ) throws {
        var texts: [String] = []
        pair.far.onData = {
            let descriptors = pair.far.transport?.takeDescriptors() ?? []
            texts += try descriptors.map { try contents(of: $0) }
            try expect(pair.far.transport?.takeDescriptors(), equals: [])
            let due = positions.count { $0 < pair.far.received.count }
            try expect(texts.count, equals: due, "after \(pair.far.received.count) bytes")
            if pair.far.received.count == count { pair.loop.stop() }
        }
        let transport = try pair.nearTransport
        let bytes = pattern(count)
        try transport.write(Array(bytes[..<positions[0]]))
        for (index, position) in positions.enumerated() {
            let end = index + 1 < positions.count ? positions[index + 1] : count
            let fd = try pair.pipe(holding: "\(index)")
            try transport.write(Array(bytes[position..<position + 1]), passing: [fd])
            // The copy that travels is another.
            close(fd)
            try transport.write(Array(bytes[position + 1..<end]))
        }
        pair.near.onLost = { pair.loop.stop() }
        pair.far.onLost = { pair.loop.stop() }
        try kit.run(pair.loop)
        pair.near.onLost = {}
        pair.far.onLost = {}
        if let error = pair.near.error ?? pair.far.error { throw error }
        try expectPattern(pair.far.received, count: count)
        try expect(texts, equals: positions.indices.map { "\($0)" })
    }

    static func descriptorsArriveWithTheirBytes(_ kit: ConformanceKit) throws {
        let pair = try PassingPair(kit)
        try exchange(kit, pair, count: 1000, at: [1, 2, 10, 500, 998])
        try pair.expectNoneLeft("left open")
        // The other way, several at once, and the end of the stream.
        let pipes = [try pair.pipe(holding: "one"), try pair.pipe(holding: "two")]
        try pair.far.transport?.write([1], passing: pipes)
        for pipe in pipes { close(pipe) }
        pair.far.transport?.writeEOF()
        var texts: [String] = []
        pair.near.onData = {
            texts += try pair.near.transport?.takeDescriptors().map { try contents(of: $0) } ?? []
        }
        pair.far.onLost = { pair.loop.stop() }
        try kit.run(pair.loop)
        try expect(texts, equals: ["one", "two"])
        try expect(pair.near.received, equals: [1])
        try expect(pair.near.events.last, equals: .lost)
        try pair.close()
    }

    static func descriptorsKeepTheirPlaceInAFullQueue(_ kit: ConformanceKit) throws {
        let pair = try PassingPair(kit)
        pair.far.transport?.pauseReading()
        pair.loop.callLater(.milliseconds(5)) { pair.far.transport?.resumeReading() }
        try exchange(
            kit, pair, count: 2_000_000, at: [10, 700_000, 700_001, 1_500_000, 1_999_998])
        try pair.expectNoneLeft("left open")
        // What was not sent is closed, too.
        pair.far.transport?.pauseReading()
        let transport = try pair.nearTransport
        try transport.write(pattern(2_000_000))
        let fd = try pair.pipe(holding: "never")
        try transport.write([1], passing: [fd, fd])
        close(fd)
        transport.abort()
        pair.near.onLost = { pair.far.transport?.abort() }
        pair.far.onLost = { pair.loop.stop() }
        try kit.run(pair.loop)
        try pair.expectNoneLeft("left open after abort")
        try pair.close()
    }

    static func descriptorsThatNobodyTakesAreClosed(_ kit: ConformanceKit) throws {
        for isTooMany in [false, true] {
            let pair = try PassingPair(kit)
            let transport = try pair.nearTransport
            let fd = try pair.pipe(holding: "x")
            let descriptors = [CInt](repeating: fd, count: 200)
            pair.far.onLost = { pair.loop.stop() }
            try transport.write([1], passing: descriptors)
            // They are bounded: a peer cannot use up the descriptors of the process.
            if isTooMany { try transport.write([2], passing: descriptors) }
            close(fd)
            if !isTooMany { transport.close() }
            try kit.run(pair.loop)
            try kit.drain(pair.loop)
            let error = pair.far.error as? LoopError
            try expect(error?.code, equals: isTooMany ? .noDescriptors : nil)
            while pair.near.transport != nil { try kit.run(pair.loop, .once) }
            try pair.expectNoneLeft("too many: \(isTooMany)")
            try pair.close()
        }
    }

    static func passingIsAskedFor(_ kit: ConformanceKit) throws {
        let pair = try PassingPair(kit, farPasses: false)
        let transport = try pair.nearTransport
        let fd = try pair.pipe(holding: "x")
        try expectError(.invalidArgument) { try transport.write([], passing: [fd]) }
        try expectError(.invalidArgument) {
            try transport.write([1], passing: [CInt](repeating: fd, count: 254))
        }
        let error = try expectError(LoopError.self) {
            try transport.write([1], passing: [fd, 1 << 20])
        }
        try expect(error.errno, equals: EBADF)
        try expectError(.notSupported) { try pair.far.transport?.write([1], passing: [fd]) }
        try transport.write([1], passing: [])
        try transport.write([2], passing: [fd])
        close(fd)
        pair.far.onData = { if pair.far.received.count == 2 { pair.loop.stop() } }
        try kit.run(pair.loop)
        try expect(pair.far.received, equals: [1, 2])
        try expect(pair.far.transport?.takeDescriptors(), equals: [])
        try pair.expectNoneLeft("they were not asked for")
        try pair.close()
    }

    static func tasksPassDescriptors(_ kit: ConformanceKit) throws {
        let folder = try SocketFolder()
        let path = folder.path("tasks.sock")
        let loop = try kit.makeLoop()
        let task = loop.createTask {
            var options = LoopUnixServerOptions()
            options.passesDescriptors = true
            try await withUnixServer(
                path: path, options: options,
                handler: { connection in
                    guard try await connection.read() != nil else { return }
                    let texts = try connection.takeDescriptors().map { try contents(of: $0) }
                    try await connection.write(texts.joined(separator: ","))
                },
                { _ in
                    var options = LoopUnixConnectionOptions()
                    options.passesDescriptors = true
                    try await withUnixConnection(to: path, options: options) { connection in
                        let pipes = [try pipe(holding: "one"), try pipe(holding: "two")]
                        try await connection.write([0], passing: pipes)
                        for pipe in pipes { close(pipe) }
                        let answer = try await connection.read().map { Array($0) }
                        try expect(answer, equals: Array("one,two".utf8))
                    }
                })
        }
        try kit.complete(task, on: loop)
        try loop.close()
    }
}
