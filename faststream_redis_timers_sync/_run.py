"""Runs operations on a blocking redis-py client, asking the server once.

redis-py's own ``execute_command`` repeats a command whose reply was lost, which
makes a second timer, or answers a cancel that worked with "was not pending". So
this takes a connection from the pool, sends, and reads one reply.
"""

import time
from collections.abc import Iterator
from typing import Any, TypeVar

import redis
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
)

from faststream_redis_timers_sync.protocol.clients import (
    get_connection_args,
    is_pool_full,
    pauses_for_pool,
)
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.operations import Operation, Steps, TimerPages

_T = TypeVar("_T")

_LOST = (RedisConnectionError, RedisTimeoutError, OSError)
_GET_CONNECTION_ARGS = get_connection_args(redis.__version__)


def run(client: redis.Redis, operation: Operation[_T]) -> _T:
    """Send an operation and give its result.

    Args:
        client: The client whose pool gives the connection.
        operation: The operation.

    Raises:
        TimerOutcomeUnknownError: The reply was lost, and it may not be repeated.
        redis.RedisError: What the server or the connection says.
    """
    pool = client.connection_pool
    try:
        reply = _ask(pool, operation)
    except _LOST:
        if operation.action is not None:
            raise
        reply = _ask(pool, operation)
    return operation.parse(reply)


def _ask(pool: redis.ConnectionPool, operation: Operation[Any]) -> Any:
    connection = _acquire(pool)
    try:
        connection.send_packed_command(operation.pack())
        try:
            return connection.read_response(disable_decoding=True)
        except NoScriptError:
            connection.send_packed_command(operation.pack(by_text=True))
            return connection.read_response(disable_decoding=True)
    except _LOST as error:
        connection.disconnect()
        if (unknown := operation.outcome_unknown(error)) is None:
            raise
        raise unknown from error
    except ReadOnlyError:
        # It talks to what is a replica now: the next connection may find the primary.
        connection.disconnect()
        raise
    except ResponseError:
        raise
    except BaseException:
        # A signal between the two left a reply that the next call would take for its own.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _acquire(pool: redis.ConnectionPool) -> Any:
    pauses = pauses_for_pool()
    while True:
        try:
            return pool.get_connection(*_GET_CONNECTION_ARGS)
        except RedisConnectionError as error:
            if not is_pool_full(error) or (pause := next(pauses, None)) is None:
                raise
        time.sleep(pause)


def run_steps(client: redis.Redis, steps: Steps[_T]) -> _T:
    """Send several operations, one after the other, and give their common result.

    Args:
        client: The client whose pool gives the connections.
        steps: The operations.
    """
    result = None
    while True:
        try:
            operation = steps.send(result)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        result = run(client, operation)


def iterate(client: redis.Redis, pages: TimerPages) -> Iterator[Timer]:
    """Give timers one by one, asking for pages as they are needed.

    Args:
        client: The client whose pool gives the connections.
        pages: The operations and pages.
    """
    result = None
    while True:
        try:
            step = pages.send(result)
        except StopIteration:
            return
        if isinstance(step, Operation):
            result = run(client, step)
        else:
            result = None
            yield from step
