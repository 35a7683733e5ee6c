"""One request and its reply on one connection: sent, read, confirmed, or the connection closed."""

from typing import Any

from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
)

from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.replication import Confirmation
from faststream_redis_timers_sync.protocol.routing import meaning_of

TIMED_OUT = (RedisTimeoutError, TimeoutError)
LOST = (RedisConnectionError, RedisTimeoutError, OSError)


def exchange(
    connection: Any,
    operation: Operation[Any],
    confirmation: Confirmation | None,
    *,
    asking: bool = False,
) -> Any:
    """Send an operation once, and return its reply.

    After an error the connection is closed, unless the server's reply was one.

    Args:
        connection: A connection of redis-py's.
        operation: The operation.
        confirmation: How many replicas must confirm a write; None asks none.
        asking: Whether the node is asked for a slot that is moving to it.

    Returns:
        The raw reply.

    Raises:
        TimerOutcomeUnknownError: The reply was lost, and it may not be repeated.
        TimerNotReplicatedError: Too few replicas have it.
        redis.RedisError: The server or the connection failed.
    """
    try:
        connection.send_packed_command(operation.pack(asking=asking), check_health=False)
        try:
            reply = _read(connection, asking=asking)
        except NoScriptError:
            connection.send_packed_command(
                operation.pack(by_text=True, asking=asking), check_health=False
            )
            reply = _read(connection, asking=asking)
        if confirmation is not None and operation.has_written is not None:
            question = confirmation.question(operation, reply, asking=asking)
            _confirm(confirmation, connection, operation, reply, question)
        return reply  # noqa: TRY300  what follows is about what went wrong
    except LOST as error:
        connection.disconnect()
        if (unknown := operation.outcome_unknown(error)) is None:
            raise
        raise unknown from error
    except ReadOnlyError:
        # The server is a replica now: the next connection may find the primary.
        connection.disconnect()
        raise
    except (ResponseError, TimersError) as error:
        if (meaning := meaning_of(operation, error)) is None:
            raise
        raise meaning from error
    except BaseException:
        # A signal between the two left a reply that the next call would take for its own.
        connection.disconnect()
        raise


def _read(connection: Any, *, asking: bool) -> Any:
    if asking:
        try:
            connection.read_response(disable_decoding=True)
        except ResponseError as refused:
            # The second reply still arrives, and would be taken for that of the next call.
            try:
                return connection.read_response(disable_decoding=True)
            except ResponseError:
                raise refused from None
    return connection.read_response(disable_decoding=True)


def _confirm(
    confirmation: Confirmation,
    connection: Any,
    operation: Operation[Any],
    reply: Any,
    question: tuple[list[bytes], int, float],
) -> None:
    result = operation.parse(reply)
    try:
        confirmed = _ask_replicas(connection, *question)
    except (RedisError, OSError) as error:
        connection.disconnect()
        raise confirmation.unanswered(operation, result, error) from error
    confirmation.check(operation, result, confirmed)


def _ask_replicas(
    connection: Any, commands: list[bytes], replies: int, answer_timeout: float
) -> Any:
    # A fake's connection has none.
    socket = getattr(connection, "_sock", None)
    connection.send_packed_command(commands, check_health=False)
    answer = None
    for _ in range(replies):
        # Its own timeout may be shorter, and before 8 redis-py can't read with another.
        if not connection.can_read(answer_timeout):
            msg = f"no reply within {answer_timeout:g} s"
            raise RedisTimeoutError(msg)
        answer = connection.read_response(disable_decoding=True)
    if getattr(connection, "_sock", None) is not socket:
        # Another thread has closed it, and sending has opened another, maybe to another server.
        msg = "the connection was closed meanwhile"
        raise RedisConnectionError(msg)
    return answer
