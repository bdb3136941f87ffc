// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreTasks

/// What a task of a ``FuzzRound`` can wait for.
enum FuzzWait: Int, CaseIterable {
    case lock0, lock1, lock2
    case permit, boundedPermit
    case event0, event1
    case token
    case put0, put1, put2, put3
    case get0, get1, get2, get3
    case join0, join1, join2, join3
    case barrier
    case future

    /// The one of a kind with this number: `.numbered(.put0, 2)` is `.put2`.
    static func numbered(_ first: FuzzWait, _ number: Int) -> FuzzWait {
        FuzzWait(rawValue: first.rawValue + number) ?? first
    }
}

/// What a round knows of what should be: kept by the tasks beside what they do, and compared.
struct FuzzModel {
    /// A task that waits, or was woken and did not go on yet.
    struct Waiter {
        let number: Int
        /// Nil for a child that Swift made.
        let task: (any AnyLoopTask)?
        /// It was cancelled since, and that has to end the wait.
        var isCancelled = false
    }

    /// Who waits for each thing, in the order in which they came.
    private var waiters = [[Waiter]](repeating: [], count: FuzzWait.allCases.count)
    private var waitsBegun = 0
    /// How many tasks hold each lock or permit.
    var held = [Int](repeating: 0, count: FuzzWait.allCases.count)
    /// What each queue should hold, oldest first.
    var content = [[Int]](repeating: [], count: FuzzQueues.count)
    /// Items of each queue that were put and are not done.
    var unfinished = [Int](repeating: 0, count: FuzzQueues.count)
    var itemsMade = 0
    /// What the condition is about.
    var tokens = 0
    /// Futures that somebody waits for, each with the value it should get.
    var futures: [(future: LoopFuture<Int>, value: Int)] = []
    var operations = 0
    var cancellations = 0
    /// Depends on everything that happened, and on its order.
    private(set) var digest: UInt64 = 0xCBF2_9CE4_8422_2325

    mutating func note(_ event: Int) {
        digest = (digest ^ UInt64(truncatingIfNeeded: event)) &* 0x100_0000_01B3
    }

    // MARK: Waiting

    func waiting(_ wait: FuzzWait) -> [Waiter] { waiters[wait.rawValue] }

    mutating func begin(_ wait: FuzzWait, _ task: (any AnyLoopTask)?) -> Int {
        waitsBegun += 1
        waiters[wait.rawValue].append(Waiter(number: waitsBegun, task: task))
        return waitsBegun
    }

    /// Ends a wait, and fails when it was cancelled and went well all the same.
    mutating func end(_ wait: FuzzWait, _ number: Int, with error: (any Error)? = nil) throws {
        guard let index = waiters[wait.rawValue].firstIndex(where: { $0.number == number }) else {
            return
        }
        let waiter = waiters[wait.rawValue].remove(at: index)
        try expect(
            !waiter.isCancelled || error is CancellationError || error is ConformanceFailure,
            "a cancellation did not reach a task that waited for \(wait)")
    }

    mutating func cancelled(_ task: any AnyLoopTask) {
        for wait in waiters.indices {
            for index in waiters[wait].indices where waiters[wait][index].task === task {
                waiters[wait][index].isCancelled = true
            }
        }
    }

    // MARK: Holding

    mutating func enter(_ place: FuzzWait, limit: Int) throws {
        held[place.rawValue] += 1
        try expect(held[place.rawValue] <= limit, "\(place) is held \(held[place.rawValue]) times")
    }

    mutating func leave(_ place: FuzzWait) { held[place.rawValue] -= 1 }

    // MARK: Queues

    mutating func put(_ item: Int, into queue: Int, count: Int) throws {
        content[queue].append(item)
        unfinished[queue] += 1
        note(item)
        try expect(count, equals: content[queue].count, "the items of queue \(queue)")
    }

    mutating func take(_ item: Int, from queue: Int, count: Int) throws {
        let index: Int? =
            switch FuzzQueues.orders[queue] {
            case .fifo: content[queue].indices.first
            case .lifo: content[queue].indices.last
            case .priority: content[queue].indices.min { content[queue][$0] < content[queue][$1] }
            }
        guard let index else {
            throw ConformanceFailure("queue \(queue) gave \(item), and held nothing")
        }
        try expect(item, equals: content[queue][index], "the next item of queue \(queue)")
        content[queue].remove(at: index)
        note(item)
        try expect(count, equals: content[queue].count, "the items of queue \(queue)")
    }
}

/// The queues of a round: every order, and one without a limit.
enum FuzzQueues {
    enum Order { case fifo, lifo, priority }

    static let orders: [Order] = [.fifo, .lifo, .priority, .fifo]
    static let sizes = [2, 2, 3, 0]
    static var count: Int { orders.count }

    static func make(on loop: Loop) -> [LoopQueue<Int>] {
        zip(orders, sizes).map { order, size in
            switch order {
            case .fifo: LoopQueue(maxSize: size, on: loop)
            case .lifo: LoopQueue(maxSize: size, order: .lifo, on: loop)
            case .priority: LoopQueue(maxSize: size, order: .priority, on: loop)
            }
        }
    }
}
