"""One request and its reply on one connection; after errors the connection is dropped."""

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
)

from faststream_redis_timers.calls.ended import has_ended, note_heard
from faststream_redis_timers.calls.line import TIMED_OUT, within
from faststream_redis_timers.calls.silence import NO_LIMIT, UntilSilent
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.replication import Confirmation
from faststream_redis_timers_sync.protocol.routing import meaning_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

LOST = (RedisConnectionError, *TIMED_OUT, OSError)
_HIGH_WATER = 64 * 1024
# Bytes that asyncio's transports buffer before writers must wait.


async def exchange(
    connection: Any,
    operation: Operation[Any],
    timeout: float | None,
    confirmation: Confirmation | None,
    *,
    asking: bool = False,
) -> Any:
    """Send an operation once, and return its reply.

    After an error the connection is closed, unless the error is the server's reply.

    Args:
        connection: A connection of redis-py.
        operation: The operation.
        timeout: Seconds for connecting, and again of silence until the reply has come; None leaves
            both to the connection.
        confirmation: How many replicas must confirm writes; None waits for none.
        asking: Whether to send ASKING first, for a slot that is moving to the node.

    Returns:
        The undecoded reply.

    Raises:
        TimerOutcomeUnknownError: The reply was lost, and the operation must not be repeated.
        TimerNotReplicatedError: Too few replicas confirmed it.
        TimeoutError: It took too long, and nothing has changed.
        redis.RedisError: The server or the connection failed.
    """
    writer = writer_of(connection)
    limit: AbstractAsyncContextManager[Any] = within(timeout)
    read_timeout = None
    try:
        if timeout is not None and writer is not None:
            limit, read_timeout = UntilSilent(timeout, connection, writer), NO_LIMIT
        async with limit:
            await send(connection, writer, operation.pack(asking=asking), read_timeout)
            try:
                reply = await _read(connection, read_timeout, asking)
            except NoScriptError:
                await send(
                    connection, writer, operation.pack(by_text=True, asking=asking), read_timeout
                )
                reply = await _read(connection, read_timeout, asking)
        note_heard()
        if confirmation is not None and operation.has_written is not None:
            question = confirmation.question(operation, reply, asking=asking)
            await _confirm(confirmation, connection, writer, operation, reply, question)
        return reply  # noqa: TRY300  what follows is about what went wrong
    except LOST as error:
        await drop(connection, writer)
        raise_meaning(operation, error)
    except ReadOnlyError:
        # The server is a replica now; the next connection may find the primary.
        await drop(connection, writer)
        raise
    except (ResponseError, TimersError) as error:
        raise_meaning(operation, error)
    except BaseException:
        # An unread reply would be taken for that of the next call.
        await drop(connection, writer)
        raise


def raise_meaning(operation: Operation[Any], error: BaseException) -> NoReturn:
    """Raise what an error of the connection, or of the server, means for an operation.

    Args:
        operation: The operation, which was sent.
        error: The error.

    Raises:
        TimerOutcomeUnknownError: The reply was lost, and the operation must not be repeated.
        TimersError: The script refused it.
        BaseException: The error itself, if it means nothing else.
    """
    if isinstance(error, LOST):
        meaning: TimersError | None = operation.outcome_unknown(error)
    else:
        meaning = meaning_of(operation, error)
    if meaning is None:
        raise error
    raise meaning from error


async def _read(connection: Any, read_timeout: float | None, asking: bool) -> Any:  # noqa: FBT001
    if asking:
        try:
            await connection.read_response(disable_decoding=True, timeout=read_timeout)
        except ResponseError as refused:
            # The other reply still comes, and would be taken for that of the next call.
            try:
                return await connection.read_response(disable_decoding=True, timeout=read_timeout)
            except ResponseError:
                raise refused from None
    return await connection.read_response(disable_decoding=True, timeout=read_timeout)


async def ensure_ready(connection: Any, timeout: float | None) -> None:
    """Reconnect if the server has closed an idle connection, and ping it if its client wants that.

    Nothing was sent on it, so nothing is lost: the server was restarted, or closed it as idle.
    A ping (``health_check_interval``) that fails comes before anything that may have an effect.

    Args:
        connection: An idle connection of redis-py.
        timeout: Seconds for connecting; None leaves it to the connection.

    Raises:
        TimeoutError: It took too long.
        redis.RedisError: The connection failed.
    """
    writer = writer_of(connection)
    if writer is None:
        return
    ended = has_ended(connection, writer)
    if not ended and not connection.health_check_interval:
        return
    try:
        async with within(timeout):
            if ended:
                await drop(connection, writer)
                await connection.connect()
            await connection.check_health()
    except BaseException:
        # It may already have sent something.
        await drop(connection, writer_of(connection))
        raise


async def send(
    connection: Any,
    writer: asyncio.StreamWriter | None,
    command: list[bytes],
    read_timeout: float | None = None,
) -> None:
    """Write commands to a connection.

    Args:
        connection: A connection of redis-py.
        writer: Its writer, from `writer_of`.
        command: The packed commands.
        read_timeout: As for the reply; None leaves it to the connection.

    Raises:
        redis.RedisError: The connection failed.
    """
    # redis-py writes with a timeout, for which Python 3.11 creates a task: a fifth of the
    # cost of a call. Almost always the socket takes everything immediately.
    if writer is None or writer.is_closing():
        await connection.send_packed_command(command)
        return
    writer.writelines(command)
    if read_timeout is not None:
        await writer.drain()
    elif writer.transport.get_write_buffer_size() > _HIGH_WATER:
        await connection.send_packed_command([], check_health=False)


async def drop(connection: Any, writer: asyncio.StreamWriter | None) -> None:
    """Close a connection immediately, even with unsent or unread data.

    Args:
        connection: A connection of redis-py.
        writer: Its writer, from `writer_of`.
    """
    await connection.disconnect(nowait=True)
    if writer is not None:
        # Closing alone would send the remaining data, perhaps much later.
        writer.transport.abort()


def writer_of(connection: Any) -> asyncio.StreamWriter | None:
    """Return the writer of a connection, if it is redis-py's own.

    Args:
        connection: The connection.
    """
    # A fake's connection has another writer or none. Connections that override sending must
    # send themselves.
    if type(connection).send_packed_command is not AbstractConnection.send_packed_command:
        return None
    writer = getattr(connection, "_writer", None)
    return writer if isinstance(writer, asyncio.StreamWriter) else None


async def _confirm(
    confirmation: Confirmation,
    connection: Any,
    writer: asyncio.StreamWriter | None,
    operation: Operation[Any],
    reply: Any,
    question: tuple[list[bytes], int, float],
) -> None:
    result = operation.parse(reply)
    try:
        confirmed = await _ask_replicas(connection, *question)
    except Exception as error:  # whatever it is, the write was carried out
        await drop(connection, writer)
        raise confirmation.unanswered(operation, result, error) from error
    confirmation.check(operation, result, confirmed)


async def _ask_replicas(
    connection: Any, commands: list[bytes], replies: int, answer_timeout: float
) -> Any:
    # A fake's connection has no writer.
    stream = getattr(connection, "_writer", None)
    await connection.send_packed_command(commands, check_health=False)
    answer = None
    for _ in range(replies):
        # The connection's own timeout may be shorter.
        answer = await connection.read_response(disable_decoding=True, timeout=answer_timeout)
        if answer is None:
            msg = f"no reply within {answer_timeout:g} s"
            raise RedisTimeoutError(msg)
    if getattr(connection, "_writer", None) is not stream:
        # The connection was closed, and sending opened another, perhaps to another server.
        msg = "the connection was closed meanwhile"
        raise RedisConnectionError(msg)
    return answer
