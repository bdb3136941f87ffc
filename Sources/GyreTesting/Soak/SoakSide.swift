// SPDX-License-Identifier: Apache-2.0

import GyreCore

/// One side of a soak: what its ends ask for.
class SoakSide {
    let loop: Loop
    let settings: SoakSettings
    /// What went wrong first; it ends the run.
    private(set) var failure: String?
    /// The time is over: what is left is brought to its end.
    private(set) var isEnding = false

    init(_ loop: Loop, _ settings: SoakSettings) {
        self.loop = loop
        self.settings = settings
    }

    func fail(_ message: String) {
        failure = failure ?? message
        loop.stop()
    }

    func beginToEnd() { isEnding = true }

    /// A random time; often none, and none at all in the end.
    func pause(_ random: inout SeededRandom) -> Duration {
        guard random.next(below: 3) > 0, !isEnding else { return .zero }
        return settings.pauseMaximum * Double(random.next(below: 1000)) / 1000
    }
}
