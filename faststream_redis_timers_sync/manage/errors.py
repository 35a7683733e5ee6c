"""What went wrong between a front end and the server, as a sentence for a person."""

from redis.exceptions import (
    AuthenticationError,
    ConnectionError as RedisConnectionError,
    NoPermissionError,
    RedisError,
    TimeoutError as RedisTimeoutError,
)

from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.shown import text_of

_SEE = "(see the command check, in a Django project timers_check)"
"""Whoever reads a sentence may be at any front end."""


def sentence_of(error: BaseException, address: str) -> str | None:
    """Make a sentence of what went wrong.

    Args:
        error: The error.
        address: Where the server is, without a password.

    Returns:
        None where it is neither the server's nor this library's.
    """
    if isinstance(error, (TimersError, NotImplementedError)):
        # The latter where a fake client was asked what only a server knows.
        return str(error)
    if not isinstance(error, RedisError):
        return None
    if isinstance(error, AuthenticationError):
        return (
            f"the server at {address} does not let us in: check user and password "
            f"({text_of(error)})"
        )
    if is_unreachable(error):
        return f"the server at {address} can't be reached: {_reason(error)}"
    if isinstance(error, NoPermissionError) or "ACL failure" in str(error):
        return f"the server does not allow it: {text_of(error)} {_SEE}"
    return f"the server refused: {text_of(error)}"


def is_unreachable(error: BaseException) -> bool:
    """Tell whether an error says that the server can't be reached.

    Args:
        error: The error.
    """
    return isinstance(error, (RedisConnectionError, RedisTimeoutError)) and not isinstance(
        error, AuthenticationError
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, RedisTimeoutError):
        return "it did not answer in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[0].lower() + cause.strerror[1:]
        cause = cause.__cause__ or cause.__context__
    return text_of(error)
