// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// The command line that all peers of the benchmark share, and which of NIO's two ways to serve.
struct Options {
    enum API: String {
        case handler, async
    }

    var host = "127.0.0.1"
    var port: UInt16 = 0
    var congestion: String?
    var api = API.handler
    /// Pairs of pipes to read and to write, instead of an address.
    var pipes: [(input: CInt, output: CInt)] = []

    static func parse(_ arguments: [String]) -> Options {
        var options = Options()
        var rest = arguments.dropFirst()
        while let name = rest.popFirst() {
            guard let value = rest.popFirst() else { usage("\(name) takes a value") }
            switch name {
            case "--host": options.host = value
            case "--port":
                guard let port = UInt16(value) else { usage("bad port") }
                options.port = port
            case "--congestion": options.congestion = value
            case "--api":
                guard let api = API(rawValue: value) else { usage("bad --api") }
                options.api = api
            case "--pipes": options.pipes = parsePipes(value)
            default: usage("unknown option \(name)")
            }
        }
        return options
    }

    private static func parsePipes(_ list: String) -> [(input: CInt, output: CInt)] {
        list.split(separator: ",").map { pair in
            let ends = pair.split(separator: ":").compactMap { CInt($0) }
            guard ends.count == 2 else { usage("--pipes takes IN:OUT, separated by commas") }
            return (ends[0], ends[1])
        }
    }
}

func usage(_ reason: String) -> Never {
    let options =
        "[--host IPV4] [--port N] [--congestion NAME] [--pipes IN:OUT,...] [--api handler|async]"
    complain(reason + "\nusage: gyre-peer-nio " + options)
    exit(64)
}

/// Ends the program because a system call failed.
func fail(_ what: String) -> Never {
    complain("\(what): \(String(cString: strerror(errno)))")
    exit(1)
}

private func complain(_ text: String) {
    let line = "gyre-peer-nio: \(text)\n"
    _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
}
