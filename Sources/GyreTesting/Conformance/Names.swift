// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet
import GyreTasks

/// Names and addresses.
enum Names {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "aNumericAddressTakesNoThread", [104], .names, isProcessWide: true,
            aNumericAddressTakesNoThread),
        Behaviour("aScopeStaysWithItsAddress", [104], .names, aScopeStaysWithItsAddress),
        Behaviour(
            "aSlowLookUpDelaysNoOtherWork", [105], .names, isProcessWide: true,
            aSlowLookUpDelaysNoOtherWork),
        Behaviour("aNameHasItsAddresses", [], .names, aNameHasItsAddresses),
        Behaviour("anAddressHasItsNames", [], .names, anAddressHasItsNames),
        Behaviour("hintsThatMakeNoSenseAreErrors", [], .names, hintsThatMakeNoSenseAreErrors),
        Behaviour(
            "aCancelledLookUpIsForgotten", [], .names, isProcessWide: true,
            aCancelledLookUpIsForgotten),
        Behaviour(
            "aForgottenCallThatWaitsNeverBegins", [], .names, aForgottenCallThatWaitsNeverBegins),
    ]

    /// Keeps every thread of the resolver busy, as name servers that do not answer would.
    final class SlowLookUps {
        private let latch = Latch()

        init() throws {
            for _ in 0..<Resolver.threadsMax {
                let began = Latch()
                try Resolver.pool.run { [latch] in
                    began.open()
                    _ = latch.wait()
                }
                try expect(began.wait(), "a thread of the resolver is not free")
            }
        }

        deinit { end() }

        func end() { latch.open() }
    }

    private static func address(_ host: String?, port: Int = 0) async throws -> LoopAddress {
        let hints = LoopAddressInfo.Hints(kind: .stream)
        let found = try await Loop.running.getAddressInfo(host: host, port: port, hints: hints)
        guard let first = found.first, found.count == 1 else {
            throw ConformanceFailure("\(host ?? "nil") has the addresses \(found)")
        }
        return first.address
    }

    static func aNumericAddressTakesNoThread(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let slow = try SlowLookUps()
            try expect(try await address("127.0.0.1", port: 80).description, equals: "127.0.0.1:80")
            try expect(try await address("::1", port: 81).description, equals: "[::1]:81")
            let byService = try await Loop.running.getAddressInfo(host: "127.0.0.2", service: "82")
            try expect(
                Set(byService.map(\.address.description)), equals: ["127.0.0.2:82"], "by service")
            try expect(byService.count > 1, "one entry for each kind of socket")
            // No host is this machine, or every interface.
            let own = try await Loop.running.getAddressInfo(
                host: nil, hints: LoopAddressInfo.Hints(family: .ipv4, kind: .stream))
            try expect(own.map(\.address.host), equals: ["127.0.0.1"])
            let any = try await Loop.running.getAddressInfo(
                host: nil,
                hints: LoopAddressInfo.Hints(family: .ipv4, kind: .stream, flags: .passive))
            try expect(any.map(\.address.host), equals: ["0.0.0.0"])
            let names = try await Loop.running.getNameInfo(
                own[0].address, flags: [.numericHost, .numericService])
            try expect(names.host, equals: "127.0.0.1")
            try expect(names.service, equals: "0")
            // So do servers and clients.
            let server = try await Loop.running.createServer(hosts: ["127.0.0.1"], port: 0) {
                Recorder()
            }
            let port = try server.port
            let (transport, _) = try await Loop.running.createConnection(
                host: "127.0.0.1", port: port, makeProtocol: { Recorder() })
            transport.abort()
            server.abortClients()
            server.close()
            try await server.waitClosed()
            slow.end()
        }
    }

    static func aScopeStaysWithItsAddress(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let index = if_nametoindex("lo")
            try expect(index > 0, "there is no interface lo")
            for host in ["fe80::1%lo", "fe80::1%\(index)"] {
                let scoped = try await address(host, port: 9)
                try expect(scoped.host, equals: "fe80::1%lo", host)
                try expect(scoped.description, equals: "[fe80::1%lo]:9", host)
                let again = try await address(scoped.host, port: 9)
                try expect(again, equals: scoped)
                let names = try await Loop.running.getNameInfo(
                    scoped, flags: [.numericHost, .numericService])
                try expect(names.host, equals: "fe80::1%lo")
            }
            let plain = try await address("fe80::1", port: 9)
            try expect(plain.host, equals: "fe80::1")
            // Nobody is asked about an interface that does not exist.
            try await expectAsyncError(.nameNotResolved) {
                _ = try await address("fe80::1%nowhere0")
            }
        }
    }

    static func aSlowLookUpDelaysNoOtherWork(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let slow = try SlowLookUps()
            let lookUp = loop.createTask(eager: true) {
                try await Loop.running.getAddressInfo(host: "localhost").count
            }
            // More than the resolver has threads, and all at the same time.
            let latches = (0...Resolver.threadsMax).map { _ in (Latch(), Latch()) }
            let work = latches.map { began, latch in
                loop.runInExecutor(LoopThreadPool(threadsMax: latches.count)) {
                    began.open()
                    return latch.wait()
                }
            }
            for (began, _) in latches { try expect(began.wait(), "work waits for a look-up") }
            for (_, latch) in latches { latch.open() }
            _ = try await gather(work).value
            _ = try await loop.runInExecutor { 1 }.value
            try await sleep(.seconds(1))
            try expect(!lookUp.isDone, "the look-up did not wait for a thread")
            slow.end()
            try expect(try await lookUp.value > 0, "the look-up goes on")
        }
    }

    static func aNameHasItsAddresses(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let hints = LoopAddressInfo.Hints(
                family: .ipv4, kind: .stream, flags: .canonicalName)
            let found = try await Loop.running.getAddressInfo(
                host: "localhost", port: 7, hints: hints)
            try expect(found.map(\.address.description), equals: ["127.0.0.1:7"])
            try expect(found.first?.family, equals: .ipv4)
            try expect(found.first?.kind, equals: .stream)
            try expect(found.first?.protocolNumber, equals: Int32(IPPROTO_TCP))
            try expect(found.first?.canonicalName?.isEmpty, equals: false)
            // Impossible names: a label of more than 63 letters, and no such service. Nobody is
            // asked on the network.
            let impossible = String(repeating: "a", count: 70)
            let error = try await expectAsyncError(LoopError.self) {
                _ = try await Loop.running.getAddressInfo(host: impossible)
            }
            try expect(error.code, equals: .nameNotResolved)
            try expect(error.description.contains(impossible), "the error says \(error)")
            try await expectAsyncError(.nameNotResolved) {
                _ = try await Loop.running.getAddressInfo(host: "127.0.0.1", service: "nonsense")
            }
        }
        // The same by a callback, which comes later and on the loop.
        let loop = try kit.makeLoop()
        for host in ["localhost", "127.0.0.1"] {
            var outcome: Result<[LoopAddressInfo], LoopError>?
            loop.getAddressInfo(host: host, port: 7) {
                outcome = $0
                loop.stop()
            }
            try expect(outcome == nil, "called inside the call")
            try kit.run(loop)
            let hosts = try outcome?.get().map(\.address.host) ?? []
            try expect(hosts.contains("127.0.0.1"), "\(host) has the addresses \(hosts)")
        }
        try loop.close()
    }

    static func anAddressHasItsNames(_ kit: ConformanceKit) throws {
        try kit.runTask {
            let loop = Loop.running
            let local = try await address("127.0.0.1", port: 80)
            // Whatever this machine calls itself, it has a name for it.
            let names = try await loop.getNameInfo(local, flags: [.nameRequired, .numericService])
            try expect(!names.host.isEmpty && names.host != "127.0.0.1", "the name is \(names)")
            try expect(names.service, equals: "80")
            let done = LoopFuture<String>(on: loop)
            loop.getNameInfo(local, flags: [.numericHost, .numericService]) { outcome in
                try? done.setResult((try? outcome.get().host) ?? "")
            }
            try expect(!done.isDone, "called inside the call")
            try expect(try await done.value, equals: "127.0.0.1")
        }
    }

    static func hintsThatMakeNoSenseAreErrors(_ kit: ConformanceKit) throws {
        try kit.runTask {
            for port in [-1, 65_536, .max, .min] {
                try await expectAsyncError(.invalidArgument) {
                    _ = try await address("127.0.0.1", port: port)
                }
            }
            let wrong: [(String, LoopAddressInfo.Hints, LoopError.Code)] = [
                ("127.0.0.1", LoopAddressInfo.Hints(family: .ipv6), .nameNotResolved),
                ("::1", LoopAddressInfo.Hints(family: .ipv4), .nameNotResolved),
                ("localhost", LoopAddressInfo.Hints(flags: .numericHost), .nameNotResolved),
                (
                    "127.0.0.1",
                    LoopAddressInfo.Hints(family: LoopAddressInfo.Family(rawValue: 9999)),
                    .invalidArgument
                ),
                (
                    "127.0.0.1",
                    LoopAddressInfo.Hints(kind: LoopAddressInfo.Kind(rawValue: 9999)),
                    .invalidArgument
                ),
            ]
            for (host, hints, code) in wrong {
                try await expectAsyncError(code) {
                    _ = try await Loop.running.getAddressInfo(host: host, hints: hints)
                }
            }
        }
    }

    static func aCancelledLookUpIsForgotten(_ kit: ConformanceKit) throws {
        let slow = try SlowLookUps()
        let live = LiveObjects()
        let loop = try kit.makeLoop()
        var codes: [LoopError.Code] = []
        for host in ["localhost", "127.0.0.1"] {
            let held = live.closure()
            let lookUp = loop.getAddressInfo(host: host) { outcome in
                try? held()
                if case .failure(let error) = outcome { codes.append(error.code) }
                loop.stop()
            }
            lookUp.cancel()
            lookUp.cancel()
            try expect(codes, equals: [], "called inside the call")
            try kit.run(loop)
            try kit.drain(loop)
            try expect(codes, equals: [.cancelled], host)
            codes = []
        }
        // Its thread is still busy, or waits for one; what waited is released all the same.
        try expect(live.count, equals: 0, "completions kept by a cancelled look-up")
        for iterations in 0..<4 {
            let task = loop.createTask(eager: true) {
                _ = try await Loop.running.getAddressInfo(host: "localhost")
            }
            for _ in 0..<iterations { try kit.run(loop, .noWait) }
            task.cancel()
            try expectError(CancellationError.self) { try kit.complete(task, on: loop) }
        }
        slow.end()
        let after = loop.createTask { try await Loop.running.getAddressInfo(host: "localhost") }
        try expect(try !kit.complete(after, on: loop).isEmpty, "the resolver works again")
        try loop.close()
    }

    static func aForgottenCallThatWaitsNeverBegins(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pool = BlockingPool(threadsMax: 1)
        let began = Latch()
        let latch = Latch()
        let ran = SharedValue<[Int]>([])
        let live = LiveObjects()
        var tokens: [UInt64] = []
        for number in 0..<3 {
            let held = live.closure()
            tokens.append(
                try loop.runBlocking(
                    on: pool,
                    {
                        if number == 0 {
                            began.open()
                            _ = latch.wait()
                        }
                        ran.update { $0.append(number) }
                        return number
                    },
                    then: { value in
                        try? held()
                        if value == 2 { loop.stop() }
                    }))
        }
        try expect(began.wait(), "the first never began")
        loop.forget(tokens[0])
        loop.forget(tokens[1])
        try expect(live.count, equals: 1, "callbacks kept by forgotten calls")
        latch.open()
        try kit.run(loop)
        try expect(ran.value, equals: [0, 2], "the calls that ran")
        try loop.close()
    }
}
