"""One request and its reply on one connection: sent, read, confirmed, or the connection closed."""

from typing import Any

from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
)

from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.replication import Confirmation

TIMED_OUT = (RedisTimeoutError, TimeoutError)
LOST = (RedisConnectionError, RedisTimeoutError, OSError)


def exchange(connection: Any, operation: Operation[Any], confirmation: Confirmation | None) -> Any:
    """Send an operation once, and give its reply.

    After an error the connection is closed, unless the server's reply was one.

    Args:
        connection: A connection of redis-py's.
        operation: The operation.
        confirmation: How many replicas must have what is written; None asks none.

    Returns:
        The reply, not decoded.

    Raises:
        TimerOutcomeUnknownError: The reply was lost, and it may not be repeated.
        TimerNotReplicatedError: Too few replicas have it.
        redis.RedisError: What the server or the connection says.
    """
    try:
        connection.send_packed_command(operation.pack())
        try:
            reply = connection.read_response(disable_decoding=True)
        except NoScriptError:
            connection.send_packed_command(operation.pack(by_text=True))
            reply = connection.read_response(disable_decoding=True)
        if confirmation is not None and operation.has_written is not None:
            _confirm(confirmation, connection, operation, reply)
        return reply  # noqa: TRY300  what follows is about what went wrong
    except LOST as error:
        connection.disconnect()
        if (unknown := operation.outcome_unknown(error)) is None:
            raise
        raise unknown from error
    except ReadOnlyError:
        # It talks to what is a replica now: the next connection may find the primary.
        connection.disconnect()
        raise
    except (ResponseError, TimersError):
        raise
    except BaseException:
        # A signal between the two left a reply that the next call would take for its own.
        connection.disconnect()
        raise


def _confirm(
    confirmation: Confirmation, connection: Any, operation: Operation[Any], reply: Any
) -> None:
    result = operation.parse(reply)
    try:
        confirmed = _ask_replicas(connection, *confirmation.question(operation, reply))
    except Exception as error:  # whatever it was, the write has happened
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
            msg = f"no answer within {answer_timeout:g} s"
            raise RedisTimeoutError(msg)
        answer = connection.read_response(disable_decoding=True)
    if getattr(connection, "_sock", None) is not socket:
        # Another thread has closed it, and sending has opened another, maybe to another server.
        msg = "the connection was closed meanwhile"
        raise RedisConnectionError(msg)
    return answer
