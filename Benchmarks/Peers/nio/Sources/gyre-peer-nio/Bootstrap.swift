// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix

/// What both ways to serve have in common.
///
/// Everything else stays at NIO's defaults.
func makeBootstrap() -> ServerBootstrap {
    ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .serverChannelOption(.backlog, value: 4096)
        .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
}
