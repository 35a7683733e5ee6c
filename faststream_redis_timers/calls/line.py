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

from faststream_redis_timers.clock import monotonic
from faststream_redis_timers_sync.protocol.clients import (
    PoolWait,
    get_connection_args,
    is_pool_full,
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
    return await _wait_in_line(pool, timeout)


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


async def _wait_in_line(pool: Any, timeout: float | None) -> Any:
    wait = PoolWait(monotonic)
    called = asyncio.Event()
    _lines.setdefault(pool, deque()).append(called)
    try:
        while True:
            # Other code may return a connection without notice.
            pause = wait.next_pause() if _lines[pool][0] is called else wait.left
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await called.wait()
            called.clear()
            is_over = not wait.left
            if is_over or (_lines[pool][0] is called and _has_room(pool)):
                # Connecting takes long if the server is silent: others need not wait for that.
                _leave(pool, called)
                try:
                    return await _get_connection(pool, timeout)
                except PoolFullError:
                    if is_over:
                        raise
                    _lines.setdefault(pool, deque()).appendleft(called)
    finally:
        _leave(pool, called)


def _has_room(pool: Any) -> bool:
    # If a pool of another kind can't tell, it has to be tried.
    can_get = getattr(pool, "can_get_connection", None)
    return can_get is None or bool(can_get())


def _leave(pool: Any, called: asyncio.Event) -> None:
    line = _lines.get(pool)
    if line is not None and called in line:
        line.remove(called)
        if line:
            _call_next(pool)
        else:
            del _lines[pool]


async def _get_connection(pool: Any, timeout: float | None) -> Any:
    try:
        async with within(timeout):
            return await pool.get_connection(*_GET_CONNECTION_ARGS)
    except BaseException as error:
        is_refused = isinstance(error, RedisConnectionError)
        if is_refused and is_pool_full(error):
            raise PoolFullError(*error.args) from error
        # If anything but its own errors ends a handshake, such as this timeout or an error of a
        # credential provider, redis-py returns the open connection to its pool, as the last one.
        # The next call would use it without its user, and with database 0.
        for connection in pool._available_connections[-1:]:  # noqa: SLF001
            await connection.disconnect(nowait=True)
        if is_refused and isinstance(error.__cause__, TIMED_OUT):
            # For Unix sockets redis-py wraps it; unwrapped, the call is not repeated.
            raise RedisTimeoutError(*error.__cause__.args) from error
        raise


def _call_next(pool: Any) -> None:
    # Usually nobody waits, and looking up a pool takes longer.
    if _lines and (line := _lines.get(pool)):
        line[0].set()


class PoolFullError(RedisConnectionError):
    """All connections of a pool are in use."""


_lines: WeakKeyDictionary[Any, deque[asyncio.Event]] = WeakKeyDictionary()
# Waiters for a connection of a pool, first come, first served: otherwise many
# publishers could delay a claim or commit without end.
