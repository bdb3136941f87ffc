// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore

// Closing a loop, and running it in single steps.

extension LifeCycle {
    // MARK: Closing

    static func closingARunningLoopIsAnError(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var outcome: Result<Void, any Error> = .success(())
        loop.callSoon {
            outcome = Result {
                try expectError(.alreadyRunning) { try loop.close() }
                try expect(!loop.isClosed, "the loop is closed all the same")
            }
            loop.callSoon { loop.stop() }
        }
        try kit.run(loop)
        try outcome.get()
        try loop.close()
        try expect(loop.isClosed, "the loop is not closed")
    }

    static func closingTwiceDoesNothing(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        try expect(!loop.isClosed, "a new loop is closed")
        try loop.close()
        try expect(loop.isClosed, "the loop is not closed")
        try loop.close()
        try expect(loop.isClosed, "the loop is open again")
    }

    static func aClosedLoopRefusesWork(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        try loop.close()
        try expectError(.closed) { try loop.runForever() }
        try expectError(.closed) { try loop.run(.noWait) }
        try expectError(.closed) { try loop.addReader(pair.near) {} }
        try expectError(.closed) { try loop.addSignalHandler(SIGUSR1) {} }
        try expectError(.closed) { try loop.handle.callSoonThreadSafe { _ in } }
        // What cannot throw takes the closure and lets it go.
        let live = LiveObjects()
        let callback = loop.callSoon(live.closure())
        let timer = loop.callLater(.zero, live.closure())
        try expect(live.count, equals: 0, "closures kept by a closed loop")
        try expect(!callback.isPending && !timer.isPending, "something waits in a closed loop")
        callback.cancel()
        timer.cancel()
    }

    static func closingReleasesWhatWasScheduledUnrun(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        let live = LiveObjects()
        var ran = 0
        for _ in 0..<100 {
            loop.callSoon(live.closure { ran += 1 })
            loop.callLater(.zero, live.closure { ran += 1 })
            loop.callLater(.seconds(3600), live.closure { ran += 1 })
            let remote = live.sendableClosure()
            try loop.handle.callSoonThreadSafe { _ in remote() }
        }
        pair.sendToNear()
        try loop.addReader(pair.near, live.closure { ran += 1 })
        try loop.addWriter(pair.near, live.closure { ran += 1 })
        try expect(live.count, equals: 402, "closures that wait")
        try loop.close()
        try expect(live.count, equals: 0, "closures that survived the loop's closing")
        try expect(ran, equals: 0, "callbacks that ran because the loop was closed")
    }

    /// An owner that cancels its timer in its deinit is released by the very loop that closes.
    static func whatAClosingLoopReleasesMayCancelItsHandles(_ kit: ConformanceKit) throws {
        final class Owner {
            var timer: LoopTimer?
            var callback: LoopCallback?
            let loop: Loop
            let fd: CInt
            init(loop: Loop, fd: CInt) {
                self.loop = loop
                self.fd = fd
            }
            func touch() {}
            deinit {
                timer?.cancel()
                callback?.cancel()
                loop.removeReader(fd)
                loop.callSoon {}
                loop.callLater(.zero) {}
                _ = loop.statistics
            }
        }
        let loop = try kit.makeLoop()
        let pair = SocketPair()
        do {
            for schedule in 0..<4 {
                let owner = Owner(loop: loop, fd: pair.near)
                owner.timer = loop.callLater(.seconds(1)) { [unowned owner] in owner.touch() }
                owner.callback = loop.callSoon { [unowned owner] in owner.touch() }
                switch schedule {
                case 0: loop.callSoon { owner.touch() }
                case 1: loop.callLater(.seconds(2)) { owner.touch() }
                case 2: try loop.addReader(pair.near) { owner.touch() }
                default: try loop.addReader(pair.near) { owner.touch() }
                }
            }
        }
        try loop.close()
    }

    static func aLoopGivesItsDescriptorsBack(_ kit: ConformanceKit) throws {
        let before = OpenDescriptors()
        for round in 0..<40 {
            let loop = try kit.makeLoop()
            let pair = SocketPair()
            try loop.addReader(pair.near) { Loop.running.stop() }
            try loop.addSignalHandler(SIGUSR1) {}
            pair.sendToNear()
            try kit.run(loop)
            // Every second one is not closed, but let go.
            if round.isMultiple(of: 2) { try loop.close() }
        }
        // A leak shows twenty times at least. Once in a process, Dispatch and the Swift runtime
        // open what they keep, and threads that watched the runs may not have let go of their pipes
        // yet.
        let leaked = OpenDescriptors().opened(since: before).filter { !$0.contains("pipe:") }
        try expect(leaked.count < 10, "descriptors leaked: \(leaked)")
    }

    // MARK: Single steps

    static func noWaitDoesWhatThereIsAndReturns(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var ran: [String] = []
        try kit.run(loop, .noWait)
        loop.callSoon {
            ran.append("callback")
            loop.callSoon { ran.append("later") }
        }
        loop.callLater(.seconds(-1)) { ran.append("due") }
        loop.callLater(.seconds(3600)) { ran.append("not due") }
        try kit.run(loop, .noWait)
        try expect(ran, equals: ["due", "callback"])
        try kit.run(loop, .noWait)
        try expect(ran, equals: ["due", "callback", "later"])
    }

    static func noWaitRunsCallsThatOtherThreadsMade(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        let handle = loop.handle
        let live = LiveObjects()
        let thread = try TestThread {
            for _ in 0..<10 {
                let remote = live.sendableClosure()
                try handle.callSoonThreadSafe { _ in remote() }
            }
        }
        try thread.join()
        try expect(live.count, equals: 10)
        try kit.run(loop, .noWait)
        try expect(live.count, equals: 0, "calls that were there and did not run")
    }

    static func onceReturnsWhenItHasDoneSomething(_ kit: ConformanceKit) throws {
        let loop = try kit.makeLoop()
        var ran: [String] = []
        loop.callSoon { ran.append("callback") }
        try kit.run(loop, .once)
        try expect(ran, equals: ["callback"])
        loop.callLater(.seconds(-1)) { ran.append("due") }
        try kit.run(loop, .once)
        try expect(ran, equals: ["callback", "due"])
        let remote: @Sendable (Loop) -> Void = { _ in }
        try loop.handle.callSoonThreadSafe(remote)
        try kit.run(loop, .once)
        try expect(loop.statistics.readyCount, equals: 0, "a call from outside is left")
    }

    static func onceWaitsForATimer(_ kit: ConformanceKit) throws {
        let clock = ManualClock()
        let loop = try kit.makeLoop(clock: clock.loopClock)
        let start = clock.now
        var fired: [Int] = []
        loop.callLater(.seconds(5)) { fired.append(5) }
        loop.callLater(.seconds(9)) { fired.append(9) }
        try kit.run(loop, .once)
        try expect(fired, equals: [5])
        try expect(start.duration(to: clock.now), equals: .seconds(5))
        try kit.run(loop, .once)
        try expect(fired, equals: [5, 9])
    }
}
