"""The errors that end a command, as a sentence and an exit code."""

from redis.exceptions import (
    AuthenticationError,
    ConnectionError as RedisConnectionError,
    NoPermissionError,
    RedisError,
    TimeoutError as RedisTimeoutError,
)

from faststream_redis_timers_sync.protocol.errors import TimerOutcomeUnknownError, TimersError
from faststream_redis_timers_sync.protocol.shown import text_of

DONE = 0
FAILED = 1
"""Refused by the server, or declined when asked; `check` found an error; or a dead letter that
was named by hand stays."""
MISUSED = 2
"""Arguments that can't be, or a question that can't be asked."""
UNKNOWN_ID = 3
"""An id that was named by hand is unknown."""
UNREACHABLE = 4
"""The server does not answer, or its answer was lost."""
INTERRUPTED = 130
"""Ctrl-C, as shells count it."""

EXIT_CODES = (
    "Exit codes: 0 done; 1 refused or declined; 2 wrong arguments or settings, or a question "
    "without a terminal; 3 a named id is unknown; 4 the server can't be reached."
)
"""What each group of commands says about them."""


_SEE = "(see the command check, in a Django project timers_check)"
"""Whoever reads a sentence may be at any front end."""


class CommandError(Exception):
    """What ends a command.

    Args:
        sentence: What is wrong, for a person.
        exit_code: The exit code.
    """

    def __init__(self, sentence: str, exit_code: int) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.exit_code = exit_code


class CannotAskError(CommandError):
    """A question that there is no terminal to ask on.

    Args:
        question: The question.
    """

    def __init__(self, question: str) -> None:
        """Say how to answer beforehand."""
        super().__init__(
            f"{question} There is no terminal to ask this on: add --yes if so", MISUSED
        )


def explain(error: BaseException, address: str) -> CommandError | None:
    """Make a sentence of what went wrong.

    Args:
        error: The error.
        address: Where the server is, without a password.

    Returns:
        None where it is a mistake of ours, to be shown as it is.
    """
    if isinstance(error, CommandError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return CommandError("interrupted", INTERRUPTED)
    if isinstance(error, TimerOutcomeUnknownError):
        return CommandError(str(error), UNREACHABLE)
    if isinstance(error, TimersError):
        return CommandError(str(error), FAILED)
    if isinstance(error, RedisError):
        return _explain_server(error, address)
    if isinstance(error, ValueError):
        return CommandError(str(error), MISUSED)
    if isinstance(error, NotImplementedError):
        # A fake client was asked what only a server knows.
        return CommandError(str(error), FAILED)
    return None


def _explain_server(error: RedisError, address: str) -> CommandError:
    if isinstance(error, AuthenticationError):
        sentence = (
            f"the server at {address} does not let us in: check user and password ({_said(error)})"
        )
        return CommandError(sentence, FAILED)
    if isinstance(error, (RedisConnectionError, RedisTimeoutError)):
        sentence = f"the server at {address} can't be reached: {_reason(error)}"
        return CommandError(sentence, UNREACHABLE)
    if isinstance(error, NoPermissionError) or "ACL failure" in str(error):
        sentence = f"the server does not allow it: {_said(error)} {_SEE}"
        return CommandError(sentence, FAILED)
    return CommandError(f"the server refused: {_said(error)}", FAILED)


def _said(error: BaseException) -> str:
    return text_of(error)


def _reason(error: BaseException) -> str:
    if isinstance(error, RedisTimeoutError):
        return "it did not answer in time"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[0].lower() + cause.strerror[1:]
        cause = cause.__cause__ or cause.__context__
    return _said(error)
