"""What is done with a client's pool as a whole."""

import asyncio
from typing import Any

from redis.asyncio import Redis

from faststream_redis_timers.calls.exchange import LOST, drop, writer_of


async def close_client(client: Redis) -> None:
    """Close a client, also where the server has fallen silent.

    TLS closes in agreement: redis-py waits for the peer's part, and raises where it doesn't come.

    Args:
        client: The client; its pool is one of redis-py's own.
    """
    pool: Any = client.connection_pool
    connections = [*pool._available_connections, *pool._in_use_connections]  # noqa: SLF001  there is no other way to them
    with_writers = [(connection, writer_of(connection)) for connection in connections]
    try:
        async with asyncio.timeout(_LONGEST_CLOSE):
            await client.aclose()
    except LOST:
        for connection, writer in with_writers:
            await drop(connection, writer)


_LONGEST_CLOSE = 1.0
"""Seconds."""
