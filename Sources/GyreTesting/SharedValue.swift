// SPDX-License-Identifier: Apache-2.0

import GyreCore
import Synchronization

/// A value that several threads of a test read and write.
public final class SharedValue<Value: Sendable>: Sendable {
    private let storage: Mutex<Value>

    /// Makes it with a first value.
    public init(_ value: Value) {
        storage = Mutex(value)
    }

    /// The value.
    ///
    /// Setting it from what was read before is not one step: see ``update(_:)``.
    public var value: Value {
        get { storage.withCheckedLock { $0 } }
        set { storage.withCheckedLock { $0 = newValue } }
    }

    /// Changes the value in one step.
    public func update(_ change: (inout Value) -> Void) {
        storage.withCheckedLock { change(&$0) }
    }
}
