// SPDX-License-Identifier: Apache-2.0

import Glibc
import GyreCore

/// Descriptors that travel over a Unix socket; those that are still here are closed with the
/// object.
final class PassedDescriptors {
    private(set) var numbers: [CInt] = []

    /// Those that were received.
    init() {}

    /// Copies of `descriptors`, for sending later than the caller may close them.
    init(copying descriptors: [CInt]) throws(LoopError) {
        for descriptor in descriptors {
            let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
            guard copy >= 0 else {
                let error = LoopError(
                    errno: errno, operation: "write", detail: "descriptor \(descriptor)")
                closeAll()
                throw error
            }
            numbers.append(copy)
        }
    }

    deinit { closeAll() }

    func append(_ descriptors: some Sequence<CInt>) { numbers += descriptors }

    /// Hands them over.
    func take() -> [CInt] {
        defer { numbers = [] }
        return numbers
    }

    private func closeAll() {
        for number in numbers { Glibc.close(number) }
        numbers = []
    }
}
