#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Talks to an echo server over many connections at once and checks every byte.

Usage: echo_client.py PORT
"""

import asyncio
import random
import sys

CONNECTIONS = 64
# From one byte to far beyond what a socket buffers, for each connection.
SIZES = [1, 1023, 64 << 10, 1 << 20]


async def exchange(port: int, seed: int) -> int:
    source = random.Random(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    echoed = 0
    for size in SIZES:
        sent = source.randbytes(size)
        # Reading and writing at once: the server stops reading from who does not read.
        writer.write(sent)
        _, received = await asyncio.gather(writer.drain(), reader.readexactly(size))
        assert received == sent, f"connection {seed}: {size} bytes came back changed"
        echoed += size
    # The server closes after the end of file, once everything was sent back.
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    return echoed


async def main() -> None:
    port = int(sys.argv[1])
    echoed = await asyncio.wait_for(
        asyncio.gather(*(exchange(port, seed) for seed in range(CONNECTIONS))), timeout=50)
    print(f"{CONNECTIONS} connections echoed {sum(echoed)} bytes")


asyncio.run(main())
