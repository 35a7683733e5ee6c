"""What went wrong between a front end and the server, as a sentence for a person."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import (
    AuthenticationError,
    ConnectionError as RedisConnectionError,
    NoPermissionError,
    RedisError,
    TimeoutError as RedisTimeoutError,
)

from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.shown import text_of

_SEE = "(see the command check, in a Django project timers_check)"
"""Whoever reads a sentence may be at any front end."""


def sentence_of(error: BaseException, runner: Runner) -> str | None:
    """Make a sentence of what went wrong, without a password.

    Args:
        error: The error.
        runner: What asked the server.

    Returns:
        None where it is neither the server's nor this library's.
    """
    if isinstance(error, (TimersError, NotImplementedError)):
        # The latter where a fake client was asked what only a server knows.
        return str(error)
    if not isinstance(error, RedisError):
        return None
    who = "the cluster" if runner.is_cluster else "the server"
    if isinstance(error, AuthenticationError):
        return (
            f"{who} at {_place_of(runner)} does not let us in: check user and password "
            f"({text_of(error)})"
        )
    if is_unreachable(error):
        # Which node of a cluster it is stands in redis-py's own words.
        reason = text_of(error) if runner.is_cluster else _reason(error)
        return f"{who} at {_place_of(runner)} can't be reached: {reason}"
    if is_forbidden(error):
        return f"{who} does not allow it: {text_of(error)} {_SEE}"
    return f"{who} refused: {text_of(error)}"


def _place_of(runner: Runner) -> str:
    if not runner.is_cluster:
        return runner.address
    first, *others = runner.address.split(",")
    return f"{first}, ..." if others else first


def is_forbidden(error: BaseException) -> bool:
    """Tell whether an error says that the server does not allow something.

    Args:
        error: The error.
    """
    # What a script may not do comes as another kind of error.
    return isinstance(error, NoPermissionError) or (
        isinstance(error, RedisError) and "ACL failure" in str(error)
    )


@contextmanager
def if_allowed() -> Iterator[None]:
    """Go on behind the block where the server does not allow what is in it."""
    try:
        yield
    except RedisError as error:
        if not is_forbidden(error):
            raise


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
    seen = set()
    # Errors that were raised again may have each other as their causes.
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[0].lower() + cause.strerror[1:]
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return text_of(error)
