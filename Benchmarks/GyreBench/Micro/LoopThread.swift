// SPDX-License-Identifier: Apache-2.0

import CGyre
import CGyreBench
import Glibc
import Gyre
import Synchronization

/// A thread that runs `body` and ends.
final class BenchThread {
    private let thread: pthread_t

    private final class Body {
        let run: @Sendable () -> Void

        init(_ run: @escaping @Sendable () -> Void) {
            self.run = run
        }
    }

    /// Starts it on one CPU.
    init(cpu: Int, _ body: @escaping @Sendable () -> Void) throws {
        var thread = pthread_t()
        let box = Body {
            bench_pin_thread(CInt(cpu))
            body()
        }
        // SAFETY: the box is retained here and released by the thread, which takes it over once.
        let argument = Unmanaged.passRetained(box)
        let error = pthread_create(
            &thread, nil,
            { argument in
                if let argument {
                    Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                }
                return nil
            }, argument.toOpaque())
        guard error == 0 else {
            argument.release()
            throw BenchError("pthread_create: \(System.errorText(error))")
        }
        self.thread = thread
    }

    func join() { pthread_join(thread, nil) }
}

/// A count that one thread raises and another waits for, asleep.
final class Gate: Sendable {
    let descriptor: CInt

    init() throws {
        descriptor = eventfd(0, CInt(EFD_CLOEXEC))
        guard descriptor >= 0 else { throw BenchError("eventfd: \(System.errorText(errno))") }
    }

    deinit { close(descriptor) }

    func open() { eventfd_write(descriptor, 1) }

    /// Blocks until it was opened, and closes it again.
    func pass() {
        var count: eventfd_t = 0
        while eventfd_read(descriptor, &count) != 0, errno == EINTR {}
    }
}

/// A loop that runs on a thread of its own until it is stopped.
final class LoopThread {
    let handle: LoopHandle
    private let thread: BenchThread

    init(_ policy: LoopPolicy, cpu: Int) throws {
        let made = Mutex<Result<LoopHandle, LoopError>?>(nil)
        let box = Box(made)
        let gate = try Gate()
        thread = try BenchThread(cpu: cpu) {
            do throws(LoopError) {
                let loop = try policy.makeLoop()
                box.value.withLock { $0 = .success(loop.handle) }
                gate.open()
                try? loop.runForever()
                try loop.close()
            } catch {
                box.value.withLock { $0 = .failure(error) }
                gate.open()
            }
        }
        gate.pass()
        guard let result = box.value.withLock({ $0 }) else { throw BenchError("no loop was made") }
        handle = try result.get()
    }

    private final class Box: Sendable {
        let value: Mutex<Result<LoopHandle, LoopError>?>

        init(_ value: consuming sending Mutex<Result<LoopHandle, LoopError>?>) {
            self.value = value
        }
    }

    /// Ends the loop and the thread.
    func stop() throws {
        try handle.callSoonThreadSafe { $0.stop() }
        thread.join()
    }

    /// Waits until the loop has done what was submitted so far.
    func drain() throws {
        let gate = try Gate()
        try handle.callSoonThreadSafe { _ in gate.open() }
        gate.pass()
    }

    /// The statistics of the loop.
    func statistics() throws -> LoopStatistics? {
        let gate = try Gate()
        let box = StatisticsBox()
        try handle.callSoonThreadSafe { loop in
            let statistics = loop.statistics
            box.value.withLock { $0 = statistics }
            gate.open()
        }
        gate.pass()
        return box.value.withLock { $0 }
    }

    private final class StatisticsBox: Sendable {
        let value = Mutex<LoopStatistics?>(nil)
    }
}
