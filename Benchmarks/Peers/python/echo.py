#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A TCP echo server on asyncio's protocols, on CPython's own loop or on uvloop."""

import argparse
import asyncio
import resource
import signal
import socket

BACKLOG = 4096


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        # uvloop and newer versions of asyncio do this themselves.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


def listening_socket(options):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted sockets inherit the algorithm. BBR, a frequent default, paces large messages on
    # loopback, which makes them jump between two rates.
    for name in [options.congestion] if options.congestion else ["cubic", "reno"]:
        try:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
            break
        except OSError:
            if options.congestion:
                raise
    listener.bind((options.host, options.port))
    return listener


async def serve(options):
    loop = asyncio.get_running_loop()
    stop = loop.create_future()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: stop.done() or stop.set_result(None))
    server = await loop.create_server(Echo, sock=listening_socket(options), backlog=BACKLOG)
    port = server.sockets[0].getsockname()[1]
    print(f"listening on {options.host}:{port}", flush=True)
    await stop
    server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--congestion")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    else:
        factory = asyncio.new_event_loop
    # asyncio.run takes a loop factory only since Python 3.12.
    loop = factory()
    try:
        loop.run_until_complete(serve(options))
    finally:
        loop.close()


main()
