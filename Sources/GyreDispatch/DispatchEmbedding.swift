// SPDX-License-Identifier: Apache-2.0

public import Dispatch
import Glibc
public import GyreCore
import Synchronization

/// Drives a loop from a dispatch queue, in the middle of a program that is built around Dispatch,
/// instead of from a thread that blocks in a run.
///
/// ```swift
/// let loop = try LoopPolicy.dispatch.makeLoop()
/// let embedding = try DispatchEmbedding(loop, on: .main) { error in print(error) }
/// try loop.addSignalHandler(SIGTERM) { embedding.stop() }
/// embedding.start()
/// dispatchMain()
/// ```
///
/// The queue is a serial one, and is where the loop lives: its callbacks run there, one iteration
/// at a time, between other blocks. A thread of Dispatch waits in the loop's stead. Other blocks of
/// the queue reach the loop through its handle, as other threads do, for it has to learn that there
/// is something new; its own callbacks use it directly. `Loop/stop()` ends an iteration,
/// not the embedding.
///
/// - Important: Can be handed to any thread; ``start()`` and ``stop()`` trap off the queue.
public final class DispatchEmbedding: Sendable {
    private let driver: Driver

    /// Prepares to drive `loop` from `queue`.
    ///
    /// A loop is embedded once in its life, and from then on belongs to the queue. `onFatalError`
    /// is called there when a callback threw a `LoopFatalError`, or the loop cannot run;
    /// the embedding has stopped then.
    ///
    /// - Throws: `LoopError/Code/notSupported` for a loop on io_uring, whose ring
    ///   belongs
    ///   to one thread, where a queue runs on many; `LoopError/Code/inUse` when the loop
    ///   was embedded before; `LoopError/Code/policyUnavailable` when no descriptors are
    ///   left for the wait.
    public init(
        _ loop: Loop, on queue: DispatchQueue,
        onFatalError: @escaping (any Error) -> Void
    ) throws(LoopError) {
        driver = Driver(loop, queue, onFatalError)
        try driver.listen()
    }

    /// Begins to drive the loop, with what it has to do already.
    ///
    /// It goes on until it is stopped, also when nobody holds this object.
    ///
    /// - Important: On the queue; for the main queue that is the main thread.
    public func start() { driver.start() }

    /// Stops driving the loop, which keeps what is queued.
    ///
    /// It can be started again, or run by itself. Stop it before closing the loop.
    ///
    /// - Important: On the queue, a callback of the loop included.
    public func stop() { driver.stop() }
}

/// A backend that tells by a signal what another would by a descriptor.
protocol SignallingBackend: LoopBackend {
    /// Set when a wait would find something, or somebody called the waker.
    var signal: LoopSignal { get }

    /// Begins to wait without blocking.
    func beginWaiting()
}

// SAFETY: all of it but the constants and `isDue` is used on the queue alone, which is serial:
// `start` and `stop` trap elsewhere, and every closure that leaves here goes through the queue
// first. The loop is made by who calls `init`, and from then on used on the queue.
private final class Driver: @unchecked Sendable {
    private let loop: Loop
    private let queue: DispatchQueue
    private let onFatalError: (any Error) -> Void
    private let signal: LoopSignal
    /// Waits for the descriptor of a loop that has one.
    private var poller: DescriptorPoller?
    private var timer: (any DispatchSourceTimer)?
    /// A step is on its way to the queue.
    private let isDue = Atomic(false)
    private var isStarted = false

    init(_ loop: Loop, _ queue: DispatchQueue, _ onFatalError: @escaping (any Error) -> Void) {
        self.loop = loop
        self.queue = queue
        self.onFatalError = onFatalError
        signal = (loop.backend as? any SignallingBackend)?.signal ?? LoopSignal()
    }

    func listen() throws(LoopError) {
        guard loop.selection.policy != "io_uring" else {
            throw LoopError(
                .notSupported, operation: "DispatchEmbedding",
                detail: "a ring belongs to one thread; use the policy epoll or dispatch")
        }
        if loop.backend.descriptor != nil { poller = try DescriptorPoller(signal: signal) }
        // The loop holds the signal, and is held here.
        let isFirst = signal.listen { [weak self] in self?.stepLater() }
        guard isFirst else { throw LoopError(.inUse, operation: "DispatchEmbedding") }
    }

    func start() {
        dispatchPrecondition(condition: .onQueue(queue))
        guard !isStarted else { return }
        isStarted = true
        let timer = DispatchSource.makeTimerSource(queue: queue)
        // Holds this object until the timer is cancelled.
        timer.setEventHandler { [self] in step() }
        timer.schedule(deadline: .distantFuture)
        timer.activate()
        self.timer = timer
        stepLater()
    }

    func stop() {
        dispatchPrecondition(condition: .onQueue(queue))
        isStarted = false
        timer?.cancel()
        timer = nil
        poller?.stop()
    }

    private func stepLater() {
        guard !isDue.exchange(true, ordering: .acquiringAndReleasing) else { return }
        queue.async { [self] in
            isDue.store(false, ordering: .releasing)
            step()
        }
    }

    /// One iteration, and the wait for the next.
    private func step() {
        guard isStarted else { return }
        guard !loop.isClosed else { return stop() }
        _ = signal.wait(until: .min)
        do {
            try loop.run(.noWait)
        } catch {
            stop()
            return onFatalError(error)
        }
        guard isStarted else { return }
        let limit = loop.prepareToSleepOutside()
        guard limit != 0 else { return stepLater() }
        timer?.schedule(deadline: limit < 0 ? .distantFuture : .now() + .nanoseconds(Int(limit)))
        if let poller, let descriptor = loop.backend.descriptor {
            if poller.isPolling { return }
            poller.start([pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)])
        } else {
            (loop.backend as? any SignallingBackend)?.beginWaiting()
        }
    }
}
