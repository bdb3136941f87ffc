// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// A queue between tasks: who takes from an empty one, or puts into a full one, waits.
///
/// ```swift
/// let jobs = LoopQueue<Job>(maxSize: 100)
/// loop.createTask { for try await job in jobs { try await work(on: job) } }
/// try await jobs.put(job)
/// ```
///
/// Those who wait get their turn in the order in which they came, in both directions. A wait that
/// is cancelled takes nothing and puts nothing.
public final class LoopQueue<Element: Sendable>: Sendable {
    /// The order in which items are handed out.
    public struct Order: Sendable {
        fileprivate let order: QueueItems<Element>.Order

        /// The oldest first.
        public static var fifo: Order { Order(order: .fifo) }
        /// The newest first.
        public static var lifo: Order { Order(order: .lifo) }
        /// Those first for which `precedes` says so; equal ones in the order they were put.
        public static func priority(
            by precedes: @escaping @Sendable (Element, Element) -> Bool
        ) -> Order {
            Order(order: .priority(precedes))
        }
    }

    private let state: LoopBound<QueueState<Element>>
    /// How many items it holds at most; without a limit when it is zero or less.
    public let maxSize: Int

    /// Makes an empty queue, on the loop that runs or on `loop`.
    public convenience init(
        maxSize: Int = 0, order: Order = .fifo, on loop: Loop = .running,
        file: StaticString = #fileID, line: UInt = #line
    ) {
        self.init(maxSize: maxSize, order: order, on: loop.handle, file: file, line: line)
    }

    /// Makes an empty queue of the loop that `handle` belongs to.
    ///
    /// - Important: Callable from any thread.
    public init(
        maxSize: Int = 0, order: Order = .fifo, on handle: LoopHandle,
        file: StaticString = #fileID, line: UInt = #line
    ) {
        self.maxSize = maxSize
        let site = CallSite(file: file, line: line)
        state = LoopBound(
            QueueState(maxSize: maxSize, order: order.order, on: handle, site: site), on: handle)
    }

    // MARK: Looking

    /// How many items it holds.
    public var count: Int { state.object.items.count }

    /// Whether it holds none.
    public var isEmpty: Bool { state.object.items.isEmpty }

    /// Whether it holds as many as it may.
    public var isFull: Bool { state.object.room == 0 }

    // MARK: Putting and taking

    /// Puts `item` into the queue, as soon as there is room and those who came before have put
    /// theirs.
    ///
    /// Suspends only when there is none.
    ///
    /// - Throws: `CancellationError` when the task is cancelled, and the queue is as it was;
    ///   ``LoopError/Code/queueShutDown`` when it is shut down, now or meanwhile;
    ///   ``LoopError/Code/loopMismatch`` on another loop.
    public func put(_ item: Element) async throws {
        guard state.isHere else {
            return try await state.there("put") { try await self.put(item) }
        }
        try await state.object.put(item)
    }

    /// Puts `item` into the queue if there is room.
    ///
    /// - Throws: ``LoopError/Code/queueFull``, ``LoopError/Code/queueShutDown``.
    /// - Important: On the loop's thread only.
    public func putNoWait(_ item: Element) throws(LoopError) {
        try state.object.putNoWait(item)
    }

    /// Takes the next item, as soon as there is one and those who came before have theirs.
    ///
    /// Suspends only when there is none.
    ///
    /// - Throws: `CancellationError` when the task is cancelled, and no item is lost;
    ///   ``LoopError/Code/queueShutDown`` when it is shut down, and nothing is left;
    ///   ``LoopError/Code/loopMismatch`` on another loop.
    public func get() async throws -> Element {
        guard state.isHere else { return try await state.there("get", get) }
        return try await state.object.get()
    }

    /// Takes the next item if there is one.
    ///
    /// - Throws: ``LoopError/Code/queueEmpty``, ``LoopError/Code/queueShutDown``.
    /// - Important: On the loop's thread only.
    public func getNoWait() throws(LoopError) -> Element {
        try state.object.getNoWait()
    }

    // MARK: Waiting for the work

    /// Says that the work on an item that was taken is done, see ``join()``.
    ///
    /// - Throws: ``LoopError/Code/invalidState`` when that was said for every item that was put.
    /// - Important: On the loop's thread only.
    public func taskDone() throws(LoopError) { try state.object.taskDone() }

    /// Waits until ``taskDone()`` was called as often as items were put.
    ///
    /// - Throws: `CancellationError` when the task is cancelled;
    ///   ``LoopError/Code/loopMismatch`` on another loop.
    public func join() async throws {
        guard state.isHere else { return try await state.there("join", join) }
        let state = state.object
        if state.unfinishedCount > 0 { try await state.joiners.wait() }
    }

    /// Ends the queue: who puts fails at once, and who takes when nothing is left.
    ///
    /// - Parameter immediate: Drops what is left, as if it were done, see ``join()``.
    /// - Important: On the loop's thread only.
    public func shutdown(immediate: Bool = false) { state.object.shutdown(immediate: immediate) }

    /// Whether it was shut down.
    public var isShutDown: Bool { state.object.isShutDown }
}

extension LoopQueue.Order where Element: Comparable {
    /// The smallest first; equal ones in the order in which they were put.
    public static var priority: Self { .priority { $0 < $1 } }
}

extension LoopQueue: AsyncSequence {
    /// Takes items until the queue is shut down and empty.
    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let queue: LoopQueue

        /// The next item, see ``LoopQueue/get()``; nil when the queue is shut down and empty.
        public mutating func next() async throws -> Element? {
            try await next(isolation: nil)
        }

        /// As ``next()``, on the actor of the caller.
        public mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws -> Element? {
            do {
                return try await queue.get()
            } catch let error as LoopError where error.code == .queueShutDown {
                return nil
            }
        }
    }

    /// Several tasks may iterate: each item goes to one of them.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(queue: self) }
}

/// The items, who waits for one, and who waits for room.
private final class QueueState<Element: Sendable> {
    private let maxSize: Int
    private(set) var items: QueueItems<Element>
    private(set) var isShutDown = false
    /// Items that were put and for which ``taskDone()`` did not come.
    private(set) var unfinishedCount = 0
    let joiners: WaitLine<Void>
    private let getters: WaitLine<Void>
    private let putters: WaitLine<Void>
    /// Those that were woken and did not go on yet.
    ///
    /// What they were woken for stays in the queue, so it is not lost with them; but who comes
    /// later has to wait behind them.
    private var wokenGetters = 0
    private var wokenPutters = 0

    init(maxSize: Int, order: QueueItems<Element>.Order, on handle: LoopHandle, site: CallSite) {
        self.maxSize = maxSize
        items = QueueItems(order: order)
        joiners = WaitLine("queue that is worked on,", on: handle, site: site)
        getters = WaitLine("item of a queue", on: handle, site: site)
        putters = WaitLine("room in a queue", on: handle, site: site)
    }

    var room: Int { maxSize > 0 ? max(0, maxSize - items.count) : .max }

    // MARK: Putting

    func put(_ item: Element) async throws {
        if isShutDown || room <= wokenPutters { try await waitForRoom() }
        append(item)
    }

    private func waitForRoom() async throws {
        let place = putters.takePlace()
        repeat {
            guard !isShutDown else { throw Self.shutDown("put") }
            try await putters.wait(at: place) {
                wokenPutters -= 1
                wake()
            }
            wokenPutters -= 1
            guard !isShutDown else { throw Self.shutDown("put") }
            // Again when `putNoWait` was faster.
        } while room == 0
    }

    func putNoWait(_ item: Element) throws(LoopError) {
        guard !isShutDown else { throw Self.shutDown("putNoWait") }
        guard room > 0 else { throw LoopError(.queueFull, operation: "putNoWait") }
        append(item)
    }

    private func append(_ item: Element) {
        items.append(item)
        unfinishedCount += 1
        wake()
    }

    // MARK: Taking

    func get() async throws -> Element {
        var place: UInt64?
        while true {
            // Who was woken is in front of those who were woken later.
            if place != nil || items.count > wokenGetters, let item = items.removeNext() {
                wake()
                return item
            }
            guard !isShutDown || !items.isEmpty else { throw Self.shutDown("get") }
            let here = place ?? getters.takePlace()
            place = here
            try await getters.wait(at: here) {
                wokenGetters -= 1
                wake()
            }
            wokenGetters -= 1
        }
    }

    func getNoWait() throws(LoopError) -> Element {
        guard let item = items.removeNext() else {
            throw isShutDown
                ? Self.shutDown("getNoWait") : LoopError(.queueEmpty, operation: "getNoWait")
        }
        wake()
        return item
    }

    /// Wakes as many as find something: an item, room, or the end of the queue.
    private func wake() {
        let getterTurns = isShutDown && items.isEmpty ? .max : items.count
        while wokenGetters < getterTurns, getters.wakeFirst(()) { wokenGetters += 1 }
        let putterTurns = isShutDown ? .max : room
        while wokenPutters < putterTurns, putters.wakeFirst(()) { wokenPutters += 1 }
    }

    // MARK: Ending

    func taskDone() throws(LoopError) {
        guard unfinishedCount > 0 else {
            throw LoopError(
                .invalidState, operation: "taskDone", detail: "every item is done already")
        }
        unfinishedCount -= 1
        if unfinishedCount == 0 { joiners.wakeAll(()) }
    }

    func shutdown(immediate: Bool) {
        isShutDown = true
        if immediate {
            unfinishedCount -= items.count
            items.removeAll()
            if unfinishedCount == 0 { joiners.wakeAll(()) }
        }
        wake()
    }

    private static func shutDown(_ operation: String) -> LoopError {
        LoopError(.queueShutDown, operation: operation)
    }
}
