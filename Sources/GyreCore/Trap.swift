// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Ends the process with `message`: the program or the kernel did what neither may.
///
/// A trap of the standard library carries its message in debug builds only; in a release it would
/// leave an operator with an illegal instruction and no word about it.
package func trap(_ message: String) -> Never {
    let line = "Fatal error: \(message)\n"
    _ = write(STDERR_FILENO, line, line.utf8.count)
    abort()
}
