"""Runs operations on an asyncio redis-py client, asking the server once.

redis-py's own ``execute_command`` repeats a command whose reply was lost, which
makes a second timer, or leases a second batch. So this takes a connection from
the pool, sends, and reads one reply.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any, TypeVar, overload
from weakref import WeakKeyDictionary

import redis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
)

from faststream_redis_timers.calls.silence import NO_LIMIT, UntilSilent
from faststream_redis_timers_sync.protocol.clients import (
    check_pipeline,
    get_connection_args,
    is_pool_full,
    pauses_for_pool,
)
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.operation import Operation, Steps, TimerPages
from faststream_redis_timers_sync.protocol.replication import Confirmation

_T = TypeVar("_T")

_NO_LIMIT = nullcontext()
_HIGH_WATER = 64 * 1024
# Bytes that asyncio's transports hold before who writes has to wait.
_TIMED_OUT = (RedisTimeoutError, TimeoutError)
_LOST = (RedisConnectionError, *_TIMED_OUT, OSError)
_GET_CONNECTION_ARGS = get_connection_args(redis.__version__)


class Runner:
    """Runs operations on one client.

    Args:
        client: The client whose pool gives the connections.
        confirmation: How many replicas must have what is written; None asks none.
    """

    __slots__ = ("client", "confirmation")

    delivers = True
    """Whether subscribers that are started on it have delivery loops."""

    def __init__(self, client: Redis, confirmation: Confirmation | None = None) -> None:
        """Keep both."""
        self.client = client
        self.confirmation = confirmation

    async def run(self, operation: Operation[_T], timeout: float | None = None) -> _T:
        """Send an operation and give its result.

        Args:
            operation: The operation.
            timeout: Seconds for connecting, and again of silence until the answer is
                there, less where the client's `socket_timeout` is less; waiting for a
                connection of a full pool does not count. None leaves it to the client.

        Raises:
            TimerOutcomeUnknownError: The reply was lost, and it may not be repeated.
            TimerNotReplicatedError: Too few replicas have it.
            TimeoutError: It took too long, and nothing was changed.
            redis.RedisError: What the server or the connection says.
        """
        try:
            reply = await self._ask(operation, timeout)
        except (*_TIMED_OUT, _PoolFullError):
            # A server that is silent would be waited for twice, and so would a full pool.
            raise
        except _LOST:
            if operation.action is not None:
                raise
            reply = await self._ask(operation, timeout)
        return operation.parse(reply)

    async def _ask(self, operation: Operation[Any], timeout: float | None) -> Any:
        pool = self.client.connection_pool
        connection = await _acquire(pool, timeout)
        writer = _writer_of(connection)
        limit: AbstractAsyncContextManager[Any] = _within(timeout)
        told = None
        try:
            if timeout is not None and writer is not None:
                limit, told = UntilSilent(timeout, connection, writer), NO_LIMIT
            async with limit:
                await _send(connection, writer, operation.pack(), told)
                try:
                    reply = await connection.read_response(disable_decoding=True, timeout=told)
                except NoScriptError:
                    await _send(connection, writer, operation.pack(by_text=True), told)
                    reply = await connection.read_response(disable_decoding=True, timeout=told)
            if self.confirmation is not None and operation.is_confirmed:
                await _confirm(self.confirmation, connection, writer, operation, reply)
            return reply  # noqa: TRY300  what follows is about what went wrong
        except _LOST as error:
            await _drop(connection, writer)
            if (unknown := operation.outcome_unknown(error)) is None:
                raise
            raise unknown from error
        except ReadOnlyError:
            # It talks to what is a replica now: the next connection may find the primary.
            await _drop(connection, writer)
            raise
        except (ResponseError, TimersError):
            raise
        except BaseException:
            # A reply that was not read would be taken for that of the next call.
            await _drop(connection, writer)
            raise
        finally:
            await _release(pool, connection)

    async def ping(self) -> None:
        """Ask the server for a sign of life; it also warms the pool's connection.

        Raises:
            redis.RedisError: What the server or the connection says.
        """
        pool = self.client.connection_pool
        connection = await _acquire(pool, None)
        try:
            await connection.send_command("PING")
            await connection.read_response(disable_decoding=True)
        finally:
            await _release(pool, connection)

    async def run_steps(self, steps: Steps[_T]) -> _T:
        """Send several operations, one after the other, and give their common result.

        Args:
            steps: The operations.
        """
        result = None
        while True:
            try:
                operation = steps.send(result)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            result = await self.run(operation)

    @overload
    async def run_or_queue(self, operation: Operation[_T], pipeline: None) -> _T: ...

    @overload
    async def run_or_queue(
        self, operation: Operation[_T], pipeline: Pipeline | None
    ) -> _T | None: ...

    async def run_or_queue(self, operation: Operation[_T], pipeline: Pipeline | None) -> _T | None:
        """Send an operation and give its result, or put it into a caller's pipeline.

        Args:
            operation: The operation.
            pipeline: The pipeline, if there is one.

        Returns:
            The result; None with a pipeline.
        """
        if pipeline is None:
            return await self.run(operation)
        self.queue(pipeline, operation)
        return None

    def queue(
        self, pipeline: Pipeline, operation: Operation[Any], if_exists: str = "replace"
    ) -> None:
        """Put an operation into a caller's pipeline.

        It goes as EVAL with the script's text: inside EXEC a NOSCRIPT would come
        after the caller's own writes are done.

        Args:
            pipeline: The pipeline.
            operation: The operation.
            if_exists: What was asked for.

        Raises:
            TypeError: It is no asyncio pipeline.
            ValueError: It would run the command at once, ``if_exists="error"``, or
                replicas are waited for.
        """
        confirms = self.confirmation is not None
        check_pipeline(pipeline, Pipeline, if_exists=if_exists, confirms=confirms)
        # Only a watching pipeline would give something to await.
        pipeline.execute_command(*operation.words(by_text=True))

    async def iterate(self, pages: TimerPages) -> AsyncIterator[Timer]:
        """Give timers one by one, asking for pages as they are needed.

        Args:
            pages: The operations and pages.
        """
        result = None
        while True:
            try:
                step = pages.send(result)
            except StopIteration:
                return
            if isinstance(step, Operation):
                result = await self.run(step)
            else:
                result = None
                for timer in step:
                    yield timer


async def _confirm(
    confirmation: Confirmation,
    connection: Any,
    writer: asyncio.StreamWriter | None,
    operation: Operation[Any],
    reply: Any,
) -> None:
    result = operation.parse(reply)
    try:
        confirmed = await _ask_replicas(connection, *confirmation.question(operation, reply))
    except Exception as error:  # whatever it was, the write has happened
        await _drop(connection, writer)
        raise confirmation.unanswered(operation, result, error) from error
    confirmation.check(operation, result, confirmed)


async def _ask_replicas(
    connection: Any, commands: list[bytes], replies: int, answer_timeout: float
) -> Any:
    # A fake's connection has none.
    stream = getattr(connection, "_writer", None)
    await connection.send_packed_command(commands, check_health=False)
    answer = None
    for _ in range(replies):
        # Its own timeout may be shorter.
        answer = await connection.read_response(disable_decoding=True, timeout=answer_timeout)
        if answer is None:
            msg = f"no answer within {answer_timeout:g} s"
            raise RedisTimeoutError(msg)
    if getattr(connection, "_writer", None) is not stream:
        # It was closed, and sending has opened another, maybe to another server.
        msg = "the connection was closed meanwhile"
        raise RedisConnectionError(msg)
    return answer


def _writer_of(connection: Any) -> asyncio.StreamWriter | None:
    # A fake's connection has something else, or nothing; and who sends in a way of their own
    # is to be asked.
    if type(connection).send_packed_command is not AbstractConnection.send_packed_command:
        return None
    writer = getattr(connection, "_writer", None)
    return writer if isinstance(writer, asyncio.StreamWriter) else None


async def _send(
    connection: Any,
    writer: asyncio.StreamWriter | None,
    command: list[bytes],
    told: float | None = None,
) -> None:
    # redis-py writes within its timeout, for which Python 3.11 makes a task: a fifth of
    # what a call costs. Almost always the socket takes all at once, and nothing waits.
    if writer is None or writer.is_closing() or connection.health_check_interval:
        await connection.send_packed_command(command)
        return
    writer.writelines(command)
    if told is not None:
        await writer.drain()
    elif writer.transport.get_write_buffer_size() > _HIGH_WATER:
        await connection.send_packed_command([], check_health=False)


async def _drop(connection: Any, writer: asyncio.StreamWriter | None) -> None:
    await connection.disconnect(nowait=True)
    if writer is not None:
        # Closing alone would send what is left whenever the server takes it, maybe much later.
        writer.transport.abort()


async def close_client(client: Redis) -> None:
    """Close a client, also where the server has fallen silent.

    TLS closes in agreement: redis-py waits for the peer's part, and raises where it doesn't come.

    Args:
        client: The client; its pool is one of redis-py's own.
    """
    pool: Any = client.connection_pool
    connections = [*pool._available_connections, *pool._in_use_connections]  # noqa: SLF001  there is no other way to them
    with_writers = [(connection, _writer_of(connection)) for connection in connections]
    try:
        async with asyncio.timeout(_LONGEST_CLOSE):
            await client.aclose()
    except _LOST:
        for connection, writer in with_writers:
            await _drop(connection, writer)


_LONGEST_CLOSE = 1.0
"""Seconds."""


def _within(timeout: float | None) -> AbstractAsyncContextManager[Any]:
    # Entering a timeout takes longer than encoding a small message.
    return _NO_LIMIT if timeout is None else asyncio.timeout(timeout)


async def _acquire(pool: Any, timeout: float | None) -> Any:
    if isinstance(pool, BlockingConnectionPool):
        # It waits by itself while all connections are in use, for as long as it was told.
        if timeout is not None:
            timeout = None if pool.timeout is None else timeout + pool.timeout
        return await _take(pool, timeout)
    if not _lines.get(pool):
        with suppress(_PoolFullError):
            return await _take(pool, timeout)
    line = _lines.setdefault(pool, deque())
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    line.append(turn)
    try:
        for pause in pauses_for_pool():
            if line[0] is turn:
                # Others than us may give a connection back, which nobody tells.
                await asyncio.wait({turn}, timeout=pause)
            else:
                await turn
            if turn.done():
                place = line.index(turn)
                turn = line[place] = loop.create_future()
            if line[0] is turn:
                with suppress(_PoolFullError):
                    return await _take(pool, timeout)
        return await _take(pool, timeout)
    finally:
        line.remove(turn)
        _call_next(pool)


async def _take(pool: Any, timeout: float | None) -> Any:
    try:
        async with _within(timeout):
            return await pool.get_connection(*_GET_CONNECTION_ARGS)
    except RedisConnectionError as error:
        if is_pool_full(error):
            raise _PoolFullError(*error.args) from error
        if isinstance(error.__cause__, _TIMED_OUT):
            # Over a Unix socket redis-py wraps it; unwrapped, the server is not asked again.
            raise RedisTimeoutError(*error.__cause__.args) from error
        raise


async def _release(pool: Any, connection: Any) -> None:
    try:
        await pool.release(connection)
    finally:
        _call_next(pool)


def _call_next(pool: Any) -> None:
    if (line := _lines.get(pool)) and not line[0].done():
        line[0].set_result(None)


class _PoolFullError(RedisConnectionError):
    """All connections of a pool are in use."""


_lines: WeakKeyDictionary[Any, deque["asyncio.Future[None]"]] = WeakKeyDictionary()
# Who waits for a connection of a pool, first come first served: otherwise many
# publishers would keep a claim or commit waiting for as long as they go on.
