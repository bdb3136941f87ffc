# SPDX-License-Identifier: Apache-2.0
#
# Prints what the interfaces of the installed asyncio offer, as asyncio-names.txt names it.

import asyncio
import asyncio.subprocess

CLASSES = {
    "loop": asyncio.AbstractEventLoop,
    "Process": asyncio.subprocess.Process,
}
for name in (
    "Handle TimerHandle Future Task Server StreamReader StreamWriter Queue Lock Event Condition "
    "Semaphore Barrier Runner Timeout TaskGroup Protocol BufferedProtocol DatagramProtocol "
    "SubprocessProtocol Transport DatagramTransport SubprocessTransport"
).split():
    # Some came with later versions.
    if hasattr(asyncio, name):
        CLASSES[name] = getattr(asyncio, name)

for prefix, cls in CLASSES.items():
    for member in dir(cls):
        if not member.startswith("_"):
            print(f"{prefix}.{member}")
