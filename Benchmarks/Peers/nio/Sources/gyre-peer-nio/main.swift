// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

// The signal may come at any point, so it only does what is safe in a handler.
signal(SIGINT) { _ in _exit(0) }
signal(SIGTERM) { _ in _exit(0) }

let options = Options.parse(CommandLine.arguments)
raiseDescriptorLimit()
let listener = options.pipes.isEmpty ? makeListeningSocket(options) : nil
let line = "listening on " + (listener.map { "\(options.host):\($0.port)" } ?? "pipes")

// One thread, and it is Swift Concurrency's pool too: NIO's own advice against thread switches
// between a loop and the tasks that use it.
NIOSingletons.groupLoopCountSuggestion = 1
NIOSingletons.unsafeTryInstallSingletonPosixEventLoopGroupAsConcurrencyGlobalExecutor()

@Sendable func ready() {
    print(line)
    fflush(nil)
}

switch options.api {
case .handler:
    if let listener {
        try serveWithHandler(socket: listener.descriptor, ready: ready)
    } else {
        try servePipesWithHandler(options.pipes, ready: ready)
    }
case .async:
    let end = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Void.self)
    end.completeWithTask { @Sendable in
        if let listener {
            try await serveWithAsyncChannel(socket: listener.descriptor, ready: ready)
        } else {
            try await servePipesWithAsyncChannel(options.pipes, ready: ready)
        }
    }
    try end.futureResult.wait()
}
