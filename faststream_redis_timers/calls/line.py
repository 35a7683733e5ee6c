"""Takes connections from a pool and returns them; while it is full, callers wait in line."""

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any
from weakref import WeakKeyDictionary

import redis
from redis.asyncio import BlockingConnectionPool
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    TimeoutError as RedisTimeoutError,
)

from faststream_redis_timers_sync.protocol.clients import (
    get_connection_args,
    is_pool_full,
    pauses_for_pool,
)

TIMED_OUT = (RedisTimeoutError, TimeoutError)
_NO_LIMIT = nullcontext()
_GET_CONNECTION_ARGS = get_connection_args(redis.__version__)


async def acquire(pool: Any, timeout: float | None) -> Any:
    """Return a connection from a pool; wait in line while all are in use.

    Args:
        pool: The pool.
        timeout: Seconds for connecting; None leaves it to the pool.

    Raises:
        PoolFullError: All connections were in use for too long.
        TimeoutError: It took too long to connect.
        redis.RedisError: The pool or the connection failed.
    """
    if isinstance(pool, BlockingConnectionPool):
        # It waits for a free connection itself, up to its timeout.
        if timeout is not None:
            timeout = None if pool.timeout is None else timeout + pool.timeout
        return await _get_connection(pool, timeout)
    if not (_lines and _lines.get(pool)):
        with suppress(PoolFullError):
            return await _get_connection(pool, timeout)
    line = _lines.setdefault(pool, deque())
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    line.append(turn)
    try:
        for pause in pauses_for_pool():
            if line[0] is turn:
                # Other code may return a connection without notice.
                await asyncio.wait({turn}, timeout=pause)
            else:
                await turn
            if turn.done():
                place = line.index(turn)
                turn = line[place] = loop.create_future()
            if line[0] is turn:
                with suppress(PoolFullError):
                    return await _get_connection(pool, timeout)
        return await _get_connection(pool, timeout)
    finally:
        line.remove(turn)
        if line:
            _call_next(pool)
        else:
            del _lines[pool]


async def release(pool: Any, connection: Any) -> None:
    """Return a connection to its pool, and call the next in line.

    Args:
        pool: The pool.
        connection: The connection.
    """
    try:
        await pool.release(connection)
    finally:
        _call_next(pool)


def within(timeout: float | None) -> AbstractAsyncContextManager[Any]:
    """Return a timeout for a block.

    Args:
        timeout: Seconds; None for no limit.
    """
    # Entering a timeout takes longer than encoding a small message.
    return _NO_LIMIT if timeout is None else asyncio.timeout(timeout)


async def _get_connection(pool: Any, timeout: float | None) -> Any:
    try:
        async with within(timeout):
            return await pool.get_connection(*_GET_CONNECTION_ARGS)
    except RedisConnectionError as error:
        if is_pool_full(error):
            raise PoolFullError(*error.args) from error
        if isinstance(error.__cause__, TIMED_OUT):
            # For Unix sockets redis-py wraps it; unwrapped, the call is not repeated.
            raise RedisTimeoutError(*error.__cause__.args) from error
        raise


def _call_next(pool: Any) -> None:
    # Usually nobody waits, and looking up a pool takes longer.
    if _lines and (line := _lines.get(pool)) and not line[0].done():
        line[0].set_result(None)


class PoolFullError(RedisConnectionError):
    """All connections of a pool are in use."""


_lines: WeakKeyDictionary[Any, deque["asyncio.Future[None]"]] = WeakKeyDictionary()
# Waiters for a connection of a pool, first come, first served: otherwise many
# publishers could delay a claim or commit without end.
