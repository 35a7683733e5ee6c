"""What a client's pool knows about its server, and how to close a client."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from socket import SHUT_RDWR
from typing import Any

from redis.asyncio import Redis, SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from faststream_redis_timers.calls.exchange import LOST, drop, writer_of


def connection_options(client: Redis) -> Mapping[str, Any]:
    """Return the arguments with which redis-py creates a client's connections.

    Args:
        client: The client.
    """
    return client.connection_pool.connection_kwargs


def address_of(client: Redis) -> str:
    """Return the URL of a client's server for documents, without user and password.

    Args:
        client: The client; for a Sentinel's client the URL is that of the Sentinels.
    """
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        sentinels = (one.connection_pool for one in pool.sentinel_manager.sentinels)
        addresses = (_host_and_port(one.connection_kwargs) for one in sentinels)
        return f"redis+sentinel://{','.join(addresses)}/{pool.service_name}"
    return address_at(pool.connection_kwargs, pool.connection_class)


def address_at(options: Mapping[str, Any], connection_class: type[Any]) -> str:
    """Return a server's URL for documents, without user and password.

    Args:
        options: The arguments of its connections.
        connection_class: Their class.
    """
    if path := options.get("path"):
        return f"unix://{path}"
    scheme = "rediss" if issubclass(connection_class, SSLConnection) else "redis"
    database = f"/{db}" if (db := options.get("db")) else ""
    return f"{scheme}://{_host_and_port(options)}{database}"


def _host_and_port(options: Mapping[str, Any]) -> str:
    host = options.get("host", "localhost")
    return f"{f'[{host}]' if ':' in host else host}:{options.get('port', 6379)}"


async def close_pools(pools: Sequence[Any]) -> None:
    """Close all connections of pools, even if a server is silent.

    With TLS both sides close: redis-py waits for the peer, and raises if it does not reply.

    Args:
        pools: Pools of redis-py.
    """
    with_writers = [(connection, writer_of(connection)) for connection in _connections_of(pools)]
    try:
        async with asyncio.timeout(LONGEST_CLOSE):
            await asyncio.gather(*(pool.disconnect() for pool in pools))
    except LOST:
        for connection, writer in with_writers:
            await drop(connection, writer)


LONGEST_CLOSE = 1.0
"""Seconds that closing may take."""


def hang_up(*pools: Any) -> None:
    """Close the connections of pools whose event loop does not run, without awaiting.

    Args:
        *pools: Pools of redis-py.
    """
    for connection in _connections_of(pools):
        writer = writer_of(connection)
        socket = None if writer is None else writer.get_extra_info("socket")
        if socket is not None:
            # uvloop does not support this: it closed them together with the loop.
            with suppress(OSError, TypeError):
                socket.shutdown(SHUT_RDWR)


def idle_connections_of(pool: Any) -> list[Any]:
    """Return the idle connections of a pool.

    Args:
        pool: A pool of redis-py.
    """
    return list(pool._available_connections)  # noqa: SLF001  there is no other way


def _connections_of(pools: Sequence[Any]) -> list[Any]:
    return [
        connection
        for pool in pools
        # There is no other way.
        for connection in (*idle_connections_of(pool), *pool._in_use_connections)  # noqa: SLF001
    ]
