// SPDX-License-Identifier: Apache-2.0

/// Something that must be told when its loop closes: that holds a descriptor, or waits.
package protocol LoopResource: AnyObject {
    /// The loop closes: close the descriptor, drop references, call no protocol.
    func loopDidClose()
}

/// What lives as long as it is at work: the open transports and servers of a loop.
///
/// It keeps them alive: a connection lives until it is closed, not until its last reference goes.
struct ResourceList {
    private var resources: [(any LoopResource)?] = []
    private var free: [Int32] = []

    var count: Int { resources.count - free.count }

    mutating func insert(_ resource: any LoopResource) -> Int32 {
        if let index = free.popLast() {
            resources[Int(index)] = resource
            return index
        }
        resources.append(resource)
        return Int32(resources.count - 1)
    }

    /// Hands the resource back, so that the caller releases it when the list is consistent again.
    mutating func remove(_ index: Int32) -> (any LoopResource)? {
        free.append(index)
        return resources[Int(index)].take()
    }

    /// All of them, in no particular order.
    var all: [any LoopResource] { resources.compactMap { $0 } }

    /// Hands all of them back, as ``remove(_:)`` does.
    mutating func removeAll() -> [(any LoopResource)?] {
        free = []
        let all = resources
        resources = []
        return all
    }
}

extension Loop {
    /// Keeps `resource` until it is unregistered or the loop closes.
    package func register(_ resource: any LoopResource) -> Int32 { resources.insert(resource) }

    package func unregister(_ index: Int32) {
        guard !isClosed else { return }
        _ = resources.remove(index)
    }

    /// The transports and servers that are open, in no particular order.
    package var openResources: [any LoopResource] { resources.all }

    /// How many transports and servers are open.
    package var resourceCount: Int { resources.count }
}
