// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore
import GyreNet

/// A program that forks without starting another one.
enum Forks {
    static let behaviours: [Behaviour] = [
        Behaviour(
            "aForkedChildHasNoLoopAndMakesItsOwn", [], .processes, isProcessWide: true,
            aForkedChildHasNoLoopAndMakesItsOwn),
        Behaviour(
            "aForkedChildLeavesTheRunOfItsParent", [], .processes, isProcessWide: true,
            aForkedChildLeavesTheRunOfItsParent),
        Behaviour(
            "aForkedChildHasItsOwnSignals", [], .processes, isProcessWide: true,
            aForkedChildHasItsOwnSignals),
    ]

    /// Forks, which Swift hides.
    ///
    /// A child that hangs is killed by its alarm.
    private static func fork() throws -> pid_t {
        guard let symbol = dlsym(nil, "fork") else { throw ConformanceFailure("there is no fork") }
        // SAFETY: it is this function, which takes nothing and returns a number.
        let function = unsafeBitCast(symbol, to: (@convention(c) () -> pid_t).self)
        let pid = function()
        try expect(pid >= 0, "fork: errno \(errno)")
        if pid == 0 {
            // The child has this thread only, which blocks signals where it is one of Dispatch's.
            var none = sigset_t()
            sigemptyset(&none)
            pthread_sigmask(SIG_SETMASK, &none, nil)
            alarm(50)
        }
        return pid
    }

    /// Ends the child with what `body` finds.
    private static func endChild(_ body: () throws -> Void) -> Never {
        do {
            try body()
        } catch {
            let text = Array("in the child: \(error)\n".utf8)
            _ = write(STDERR_FILENO, text, text.count)
            _exit(1)
        }
        _exit(0)
    }

    private static func expectSuccess(of child: pid_t) throws {
        var status: CInt = -1
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        try expect(status, equals: 0, "the status of the child")
    }

    static func aForkedChildHasNoLoopAndMakesItsOwn(_ kit: ConformanceKit) throws {
        let pair = try ConnectedPair(kit)
        let loop = pair.loop
        pair.far.onData = { try pair.farTransport.write(pair.far.take()) }
        var rounds = 0
        pair.near.onData = {
            guard pair.near.received.count == 1000 * (rounds + 1) else { return }
            rounds += 1
            if rounds == 3 { return loop.stop() }
            // Also while operations are under way.
            try pair.nearTransport.write(pattern(1000))
            let child = try fork()
            if child == 0 {
                endChild {
                    try expect(Loop.current == nil, "no loop runs in the child")
                    try expect(loop.isInherited, "the loop is the parent's")
                    if rounds == 2 { try loop.close() }
                    try runInChild(with: kit)
                    try loop.close()
                }
            }
            try expect(Loop.current === loop && !loop.isInherited, "the parent goes on")
            try expectSuccess(of: child)
        }
        loop.callSoon { try pair.nearTransport.write(pattern(1000)) }
        try kit.run(loop)
        try expect(pair.near.received.count, equals: 3000, "bytes that came back")
        try expect(pair.near.count(of: .lost), equals: 0, "the connection stays up")
        try pair.close()
    }

    /// A loop of the child's own, with a timer and a pipe.
    private static func runInChild(with kit: ConformanceKit) throws {
        guard kit.policy != "dispatch" else { return try expectNoDispatch(with: kit) }
        let loop = try kit.makeLoop()
        let pipe = PipeEnds()
        let recorder = Recorder()
        try loop.connectReadPipe(pipe.takeReader()) { recorder }
        loop.callLater(.milliseconds(1)) {
            try pipe.write(pattern(100))
            pipe.closeWriter()
        }
        recorder.onLost = { loop.stop() }
        try loop.runForever()
        try expectPattern(recorder.received, count: 100)
        try loop.close()
    }

    /// Dispatch itself does not outlive a fork: the policies of the child are the others.
    private static func expectNoDispatch(with kit: ConformanceKit) throws {
        try expectError(.policyUnavailable) { _ = try kit.makeLoop() }
    }

    static func aForkedChildLeavesTheRunOfItsParent(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        var reads = 0
        try loop.addReader(pair.near) {
            reads += 1
            pair.receiveAtNear()
            loop.stop()
        }
        var child: pid_t = -1
        loop.callSoon {
            child = try fork()
            guard child > 0 else { return }
            try expectSuccess(of: child)
            pair.sendToNear()
        }
        // Behind the fork in the same batch: it is the parent's.
        loop.callSoon { if child == 0 { _exit(2) } }
        let outcome = Result { try loop.runForever() }
        if child == 0 {
            endChild {
                try expectError(.invalidState) { try outcome.get() }
                try expectError(.invalidState) { try loop.runForever() }
                try loop.close()
            }
        }
        try outcome.get()
        try expect(reads, equals: 1, "reads of the parent")
        try loop.close()
        withExtendedLifetime(pair) {}
    }

    static func aForkedChildHasItsOwnSignals(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        signal(SIGUSR1, SIG_IGN)
        defer { signal(SIGUSR1, SIG_DFL) }
        var calls = 0
        try loop.addSignalHandler(SIGUSR1) { calls += 1 }
        loop.callSoon {
            let child = try fork()
            if child == 0 {
                endChild {
                    // Ignored, as it was before the loop handled it.
                    kill(getpid(), SIGUSR1)
                    guard kit.policy != "dispatch" else { return try expectNoDispatch(with: kit) }
                    let own = try kit.makeLoop()
                    try own.addSignalHandler(SIGUSR1) { own.stop() }
                    try loop.close()
                    own.callSoon { kill(getpid(), SIGUSR1) }
                    try own.runForever()
                    try own.close()
                }
            }
            try expectSuccess(of: child)
            loop.callLater(.milliseconds(5)) { loop.stop() }
        }
        try kit.run(loop)
        try expect(calls, equals: 0, "the child's signals are its own")
        try loop.close()
    }
}
