// SPDX-License-Identifier: Apache-2.0

/// What a queue holds, in the order in which it hands it out.
struct QueueItems<Element> {
    enum Order {
        case fifo
        case lifo
        /// Whether the first is handed out before the second; equal ones come as they were put.
        case priority(@Sendable (Element, Element) -> Bool)
    }

    private struct Item {
        let element: Element
        let number: UInt64
    }

    private let order: Order
    /// Newest last; a heap with the first on top when items have priorities.
    private var items: [Item] = []
    /// Of a FIFO: what is handed out before `items`, oldest last, so that nothing ever moves up.
    private var oldest: [Item] = []
    private var numbersGiven: UInt64 = 0

    init(order: Order) { self.order = order }

    var count: Int { items.count + oldest.count }
    var isEmpty: Bool { items.isEmpty && oldest.isEmpty }

    mutating func append(_ element: Element) {
        items.append(Item(element: element, number: numbersGiven))
        numbersGiven += 1
        if case .priority(let precedes) = order { moveUp(precedes) }
    }

    mutating func removeNext() -> Element? {
        switch order {
        case .fifo:
            if oldest.isEmpty {
                swap(&items, &oldest)
                oldest.reverse()
            }
            return oldest.popLast()?.element
        case .lifo:
            return items.popLast()?.element
        case .priority(let precedes):
            guard !items.isEmpty else { return nil }
            items.swapAt(0, items.count - 1)
            let next = items.removeLast()
            moveDown(precedes)
            return next.element
        }
    }

    mutating func removeAll() {
        items.removeAll()
        oldest.removeAll()
    }

    // MARK: The heap

    private func isBefore(
        _ left: Int, _ right: Int, _ precedes: (Element, Element) -> Bool
    ) -> Bool {
        let (left, right) = (items[left], items[right])
        if precedes(left.element, right.element) { return true }
        if precedes(right.element, left.element) { return false }
        return left.number < right.number
    }

    /// Moves the newest to where it belongs.
    private mutating func moveUp(_ precedes: (Element, Element) -> Bool) {
        var index = items.count - 1
        while index > 0 {
            let parent = (index - 1) / 2
            guard isBefore(index, parent, precedes) else { return }
            items.swapAt(index, parent)
            index = parent
        }
    }

    /// Moves the one on top to where it belongs.
    private mutating func moveDown(_ precedes: (Element, Element) -> Bool) {
        var index = 0
        while true {
            var best = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < items.count && isBefore(child, best, precedes) {
                best = child
            }
            guard best != index else { return }
            items.swapAt(index, best)
            index = best
        }
    }
}
