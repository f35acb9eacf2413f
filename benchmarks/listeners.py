"""Loopback ports that accept connections, for nodes that are probed before hand-out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from benchmarks.daemons import address

ATTEMPTS = 20


@contextlib.asynccontextmanager
async def accepting(count: int) -> AsyncIterator[int]:
    """Accept and close connections to one port on the addresses of so many nodes.

    :returns: the port.
    :raises OSError: if no port is free on all of them.
    """
    for attempt in range(ATTEMPTS):
        servers: list[asyncio.Server] = []
        try:
            port = 0
            for index in range(count):
                server = await asyncio.start_server(_close, address(index), port)
                servers.append(server)
                port = port or server.sockets[0].getsockname()[1]
        except OSError:
            for server in servers:
                server.close()
            if attempt == ATTEMPTS - 1:
                raise
            continue
        break
    try:
        yield port
    finally:
        for server in servers:
            server.close()


async def _close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
