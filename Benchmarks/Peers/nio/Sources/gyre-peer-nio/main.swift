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
let listener = makeListeningSocket(options)
let line = "listening on \(options.host):\(listener.port)"

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
    try serveWithHandler(socket: listener.descriptor, ready: ready)
case .async:
    let end = MultiThreadedEventLoopGroup.singleton.next().makePromise(of: Void.self)
    end.completeWithTask { @Sendable in
        try await serveWithAsyncChannel(socket: listener.descriptor, ready: ready)
    }
    try end.futureResult.wait()
}
