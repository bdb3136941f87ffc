// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// The marks of a write buffer, in bytes: above the high one its user is told to pause, at the low
/// one or below to resume.
struct WriteMarks {
    private(set) var high = 64 << 10
    private(set) var low = 16 << 10

    /// The marks that are meant when one of them, or none, is given.
    static func given(high: Int?, low: Int?) throws(LoopError) -> WriteMarks {
        var marks = WriteMarks()
        let fourfold = low?.multipliedReportingOverflow(by: 4)
        marks.high = high ?? fourfold.map { $0.overflow ? .max : $0.partialValue } ?? marks.high
        marks.low = low ?? marks.high / 4
        guard marks.high >= marks.low, marks.low >= 0 else {
            throw LoopError(
                .invalidArgument, operation: "setWriteBufferLimits",
                detail: "high (\(marks.high)) must not be below low (\(marks.low)), "
                    + "nor low below zero")
        }
        return marks
    }

    /// Whether the user of a buffer of `count` bytes is to pause, when it pauses now or does not.
    func pause(at count: Int, isPaused: Bool) -> Bool { count > (isPaused ? low : high) }
}
