// SPDX-License-Identifier: Apache-2.0

/// What both sides of a soak know.
struct SoakSettings {
    let seed: UInt64
    /// How many are open at once.
    let connections: Int
    /// The longest pause: such that a few hundred connections a second come and go.
    var pauseMaximum: Duration { .milliseconds(max(2, 2 * connections)) }

    func plan(_ number: UInt64) -> SoakPlan { SoakPlan(number: number, seed: seed) }
}

/// Where a server of a soak listens.
struct SoakAddress: CustomStringConvertible {
    let host: String
    let port: Int

    var description: String { "\(host):\(port)" }

    init(host: String, port: Int) { (self.host, self.port) = (host, port) }

    init(_ text: some StringProtocol) throws {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let port = Int(parts[1]) else {
            throw ConformanceFailure("\(text) is no address")
        }
        self.init(host: String(parts[0]), port: port)
    }
}
