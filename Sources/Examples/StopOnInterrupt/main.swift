// SPDX-License-Identifier: Apache-2.0

// Timers and signals: ticks until it is interrupted (Ctrl-C), then ends in good order.

import Glibc
import Gyre

/// Counts, again and again, until it is told to stop.
final class Ticker {
    private let loop: Loop
    private let interval: Duration
    private var next: LoopTimer?
    private(set) var count = 0

    init(loop: Loop, interval: Duration) {
        self.loop = loop
        self.interval = interval
    }

    func start() {
        next = loop.callLater(interval) { [self] in
            count += 1
            print("tick \(count)")
            start()
        }
    }

    func stop() {
        // The timer goes at once, and with it what its closure holds.
        next?.cancel()
        next = nil
    }
}

let loop = try makeLoop()
let ticker = Ticker(loop: loop, interval: .milliseconds(200))
ticker.start()

// A handler is an ordinary callback on the loop's thread: it may touch whatever it likes.
for signal in [SIGINT, SIGTERM] {
    try loop.addSignalHandler(signal) {
        ticker.stop()
        loop.stop()
    }
}

print("press Ctrl-C to stop")
try loop.runForever()
try loop.close()
print(ticker.count == 1 ? "stopped after 1 tick" : "stopped after \(ticker.count) ticks")
