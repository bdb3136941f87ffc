// SPDX-License-Identifier: Apache-2.0

package import GyreCore

/// Placeholder until the sources are there.
package final class DispatchBackend: LoopBackend {
    package let name = "dispatch"
    package init(operations: OperationTable) throws(LoopError) {
        throw LoopError(.policyUnavailable, operation: "dispatch", detail: "not built yet")
    }
    package var waker: any LoopWaker { preconditionFailure() }
    package var socketFlags: CInt { 0 }
    package var descriptor: CInt? { nil }
    package func submit(_ id: OperationID) {}
    package func cancel(_ id: OperationID) {}
    package func wait(nanoseconds: Int64) {}
    package func deliver() {}
    package func closeDescriptor(_ fd: CInt) {}
    package func close() {}
}
