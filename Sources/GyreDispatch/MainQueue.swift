// SPDX-License-Identifier: Apache-2.0

import Dispatch
import Glibc
package import GyreCore

// The jobs of the main actor are blocks on Dispatch's main queue, and that is served by the main
// thread: while a loop blocks that, they would wait for ever. Dispatch has an interface for run
// loops that stand in for it, which Foundation's uses: a descriptor that is readable when there are
// blocks, and a function that runs them.

/// Dispatch's interface for run loops, where this Dispatch has it.
private struct MainQueue {
    private typealias Describe = @convention(c) () -> CInt
    private typealias Run = @convention(c) (UnsafeMutableRawPointer?) -> Void

    let fd: CInt
    private let run: Run

    init?() {
        guard let describe = dlsym(nil, "_dispatch_get_main_queue_handle_4CF"),
            let run = dlsym(nil, "_dispatch_main_queue_callback_4CF")
        else { return nil }
        // SAFETY: the types are those of Dispatch's private.h, where Foundation takes them from.
        fd = unsafeBitCast(describe, to: Describe.self)()
        self.run = unsafeBitCast(run, to: Run.self)
        guard fd >= 0 else { return nil }
    }

    private static let mark: DispatchSpecificKey<Bool> = {
        let mark = DispatchSpecificKey<Bool>()
        DispatchQueue.main.setSpecific(key: mark, value: true)
        return mark
    }()

    /// Whether the caller is a block of the main queue, on whatever thread.
    static var isBlockOfIt: Bool { DispatchQueue.getSpecific(key: mark) == true }

    func runBlocks() {
        var count: UInt64 = 0
        _ = read(fd, &count, 8)
        run(nil)
    }
}

extension Loop {
    /// Runs the blocks of Dispatch's main queue, and with them the jobs of the main actor, on this
    /// loop, which is about to run on the main thread.
    ///
    /// Each block is a part of a callback: what it schedules runs in the next iteration.
    ///
    /// Returns what leaves the main queue to Dispatch again; nil off the main thread, which serves
    /// no queue, and when the queue is served already.
    ///
    /// - Throws: ``LoopError/Code/wrongThread`` in a block of the main queue that runs on another
    ///   thread, as the main function of a program does after its first suspension: the main actor
    ///   would wait for the block, and the block for the loop.
    package func serveMainQueue() throws(LoopError) -> (() -> Void)? {
        guard Loop.isOnMainThread else {
            guard MainQueue.isBlockOfIt else { return nil }
            throw LoopError(
                .wrongThread, operation: "runForever",
                detail: "the main actor has left the main thread, and would wait for this loop: "
                    + "run the loop before the first await of the main function")
        }
        guard let queue = MainQueue(), !isReading(queue.fd) else { return nil }
        try addReader(queue.fd) { queue.runBlocks() }
        return { [self] in removeReader(queue.fd) }
    }
}
