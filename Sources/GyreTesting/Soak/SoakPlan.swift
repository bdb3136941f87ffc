// SPDX-License-Identifier: Apache-2.0

import GyreNet

/// What the two ends of one connection of a soak do: the same for both, since it depends on the
/// number of the connection alone.
struct SoakPlan {
    /// How a connection ends.
    enum Ending: String, CaseIterable {
        /// Each side ends its direction; every byte arrives.
        case halfClose
        /// The client sends all and closes; every byte arrives.
        case clientCloses
        /// The server sends all and closes; every byte arrives.
        case serverCloses
        case clientAborts, clientResets, serverAborts, serverResets
        /// The client gives up before it is connected, or just after.
        case connectCancelled
        /// A task talks to the end, or is cancelled at some time.
        case taskEnds, taskCancelled
    }

    static let headerSize = 8

    let number: UInt64
    let ending: Ending
    /// How many bytes go from the client to the server, behind the number; and back.
    let upload: Int
    let download: Int
    /// Where in its own bytes the side breaks off that does.
    let breakAt: Int
    /// The download is a part of a file, which begins there.
    let fileOffset: Int
    let method: LoopSendFileMethod?
    /// For what happens at random, apart for each side.
    let clientRandom: SeededRandom
    let serverRandom: SeededRandom

    init(number: UInt64, seed: UInt64) {
        var random = SeededRandom(seed: seed ^ (number &* 0x9E37_79B9_7F4A_7C15))
        self.number = number
        let ending = Ending.allCases[random.next(below: Ending.allCases.count)]
        self.ending = ending
        // Mostly little, at times more than the kernel holds.
        let sizes = (0..<2).map { _ in
            let isLarge = random.next(below: 32) == 0
            return random.next(below: isLarge ? SoakPlan.fileSize / 2 : 20_000)
        }
        // A side that closes while something comes resets the connection, and takes back what is
        // under way: closing in order needs the other direction idle.
        upload = ending == .serverCloses ? 0 : sizes[0]
        download = ending == .clientCloses ? 0 : sizes[1]
        let broken = [.serverAborts, .serverResets].contains(ending) ? download : upload
        breakAt = random.next(below: broken + 1)
        fileOffset = random.next(below: SoakPlan.fileSize / 2)
        let methods: [LoopSendFileMethod?] = [nil, nil, nil, .native, .copying]
        method = methods[random.next(below: methods.count)]
        clientRandom = random.fork()
        serverRandom = random.fork()
    }

    static let fileSize = 1 << 20

    /// Whether every byte has to arrive.
    var isClean: Bool {
        switch ending {
        case .halfClose, .clientCloses, .serverCloses, .taskEnds: true
        default: false
        }
    }

    /// The number of the connection, which the client sends first.
    var header: [UInt8] {
        (0..<SoakPlan.headerSize).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0))) }
    }

    static func number(of header: [UInt8]) -> UInt64 {
        header.enumerated().reduce(0) { $0 | UInt64($1.element) << (8 * UInt64($1.offset)) }
    }

    /// Where in the pattern the uploaded bytes begin; the downloaded ones are the file's.
    var uploadSeed: Int { Int(number % 251) }
}
