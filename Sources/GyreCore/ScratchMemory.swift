// SPDX-License-Identifier: Apache-2.0

/// Memory of a loop for reads that are made on its thread.
///
/// What was read is seen to before the next read, so one is enough for all descriptors.
package final class ScratchMemory {
    // SAFETY: allocated in init, freed in deinit; lent for the length of a call on the loop's
    // thread.
    package let bytes: UnsafeMutableRawBufferPointer

    init() {
        // A pipe holds 64 KiB unless it is made larger.
        bytes = .allocate(byteCount: 256 << 10, alignment: 64)
    }

    deinit { bytes.deallocate() }
}
