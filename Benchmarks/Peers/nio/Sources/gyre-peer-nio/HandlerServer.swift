// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix

/// Sends back each buffer as it came: NIO at its fastest.
///
/// There is no back pressure, which a real server would want and pay for with one more handler.
final class EchoHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.writeAndFlush(data, promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

func serveWithHandler(socket: CInt, ready: () -> Void) throws {
    let channel = try makeBootstrap()
        .childChannelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(EchoHandler())
            }
        }
        .withBoundSocket(socket)
        .wait()
    ready()
    try channel.closeFuture.wait()
}
