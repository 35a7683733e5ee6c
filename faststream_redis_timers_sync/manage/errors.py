"""Errors between a front end and the server, as sentences for users."""

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
from faststream_redis_timers_sync.protocol.safe_text import text_of

_SEE = "(see the command check, in a Django project timers_check)"
"""The reader of a sentence may use any front end."""


def sentence_of(error: BaseException, runner: Runner) -> str | None:
    """Return a sentence for an error, without a password.

    Args:
        error: The error.
        runner: The runner that sent the operation.

    Returns:
        None if the error is neither the server's nor this library's.
    """
    if isinstance(error, (TimersError, NotImplementedError)):
        # The latter comes from a fake client that was asked what only a server knows.
        return str(error)
    if not isinstance(error, RedisError):
        return None
    who = "the cluster" if runner.is_cluster else "the server"
    if isinstance(error, AuthenticationError):
        return (
            f"{who} at {_place_of(runner)} refused the login: check user and password "
            f"({text_of(error)})"
        )
    if is_unreachable(error):
        # redis-py's message names the node of a cluster.
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
    """Return whether an error means that the server's ACL forbids something.

    Args:
        error: The error.
    """
    # A script's forbidden command comes as another type of error.
    return isinstance(error, NoPermissionError) or (
        isinstance(error, RedisError) and "ACL failure" in str(error)
    )


@contextmanager
def if_allowed() -> Iterator[None]:
    """Skip the rest of the block if the server's ACL forbids a part of it."""
    try:
        yield
    except RedisError as error:
        if not is_forbidden(error):
            raise


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error means that the server can't be reached.

    Args:
        error: The error.
    """
    return isinstance(error, (RedisConnectionError, RedisTimeoutError)) and not isinstance(
        error, AuthenticationError
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, RedisTimeoutError):
        return "it did not reply in time"
    cause: BaseException | None = error
    seen = set()
    # Reraised errors may be each other's causes.
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[0].lower() + cause.strerror[1:]
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return text_of(error)
