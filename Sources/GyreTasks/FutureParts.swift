// SPDX-License-Identifier: Apache-2.0

import GyreCore

// The parts of a future that depend on the type of its value, in a form that does not: what is
// generic and not specialized, as every deinit is, looks its types up in tables.

/// A value of any type, or none yet.
@usableFromInline
struct FutureValue {
    // SAFETY: `words` holds a value of the type that `store` was called with, the future's own,
    // once that was done, and `load` and `destroy` are called then only. Where the type is not
    // trivial it is kept, so that `destroy` knows it.
    @usableFromInline var words: (UInt, UInt) = (0, 0)
    @usableFromInline var type: Any.Type?

    @inlinable
    init() {}

    @inlinable
    static func fits<Value>(_ type: Value.Type) -> Bool {
        MemoryLayout<Value>.size <= MemoryLayout<(UInt, UInt)>.size
            && MemoryLayout<Value>.alignment <= MemoryLayout<UInt>.alignment
    }

    @inlinable
    mutating func store<Value>(_ value: Value) {
        guard Self.fits(Value.self) else { return store(FutureValueBox(value)) }
        withUnsafeMutablePointer(to: &words) {
            _ = UnsafeMutableRawPointer($0).initializeMemory(as: Value.self, to: value)
        }
        if !_isPOD(Value.self) { type = Value.self }
    }

    @inlinable
    func load<Value>(as type: Value.Type) -> Value {
        guard Self.fits(Value.self) else { return load(as: FutureValueBox<Value>.self).value }
        return withUnsafePointer(to: words) { UnsafeRawPointer($0).load(as: Value.self) }
    }

    mutating func destroy() {
        guard let type = type.take() else { return }
        destroy(type)
    }

    private mutating func destroy<Value>(_ type: Value.Type) {
        withUnsafeMutablePointer(to: &words) {
            _ = UnsafeMutableRawPointer($0).assumingMemoryBound(to: type).deinitialize(count: 1)
        }
    }
}

/// A value that is too large to stand in its future.
@usableFromInline
final class FutureValueBox<Value> {
    @usableFromInline let value: Value

    @inlinable
    init(_ value: Value) {
        self.value = value
    }
}

/// A done-callback of a future of any type.
@usableFromInline
struct FutureCallback {
    let body: (LoopFutureBase) throws -> Void

    @inlinable
    init<Value>(_ body: consuming @escaping (LoopFuture<Value>) throws -> Void) {
        // SAFETY: a closure takes a reference to an object in the same way whatever the class is,
        // and this one is handed the future it was added to, which is of its type.
        self = unsafeBitCast(TypedCallback(body: body), to: FutureCallback.self)
    }

    init(of base: consuming @escaping (LoopFutureBase) throws -> Void) { body = base }

    /// The same with the task-locals of this place, which is a step of a task.
    var carried: FutureCallback { FutureCallback(of: Loop.running.carrying(body)) }
}

/// The same, of a future of one type.
@usableFromInline
struct TypedCallback<Value: Sendable> {
    @usableFromInline let body: (LoopFuture<Value>) throws -> Void

    @inlinable
    init(body: consuming @escaping (LoopFuture<Value>) throws -> Void) {
        self.body = body
    }
}
