// SPDX-License-Identifier: Apache-2.0

import Glibc

/// What came of trying an operation on a descriptor that was reported ready.
package enum Attempt {
    /// Not ready after all: wait for the next report.
    case wouldBlock
    /// The result of the system call, an error as its negative number.
    case finished(CInt)
}

/// Runs `call` again for as long as a signal interrupts it; what would block is told apart.
@inline(__always)
package func attempting(_ call: () -> Int) -> Attempt {
    while true {
        let result = call()
        if result >= 0 { return .finished(CInt(truncatingIfNeeded: result)) }
        switch errno {
        case EINTR: continue
        case EAGAIN: return .wouldBlock
        case let number: return .finished(-number)
        }
    }
}
