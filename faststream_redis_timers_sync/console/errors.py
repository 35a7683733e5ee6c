"""The errors that end a command, as a sentence and an exit code."""

from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.manage.errors import is_unreachable, sentence_of
from faststream_redis_timers_sync.protocol.errors import TimerOutcomeUnknownError
from faststream_redis_timers_sync.protocol.routing import is_refused_for_now

DONE = 0
FAILED = 1
"""Refused by the server, or declined when asked; `check` found an error; or a named dead letter
stays."""
MISUSED = 2
"""Wrong arguments, or a question without a terminal to ask it on."""
UNKNOWN_ID = 3
"""A named id is unknown."""
UNREACHABLE = 4
"""The server does not reply, or its reply was lost."""
INTERRUPTED = 130
"""Ctrl-C: 128 + SIGINT, as in shells."""

EXIT_CODES = (
    "Exit codes: 0 done; 1 refused, declined or left unchanged, or a check found something; "
    "2 wrong arguments or settings, or a question without a terminal; 3 a named ID is unknown; "
    "4 the server can't be reached, or its reply was lost; 130 interrupted."
)
"""The line about exit codes in each group's help."""


class CommandError(Exception):
    """An error that ends a command.

    Args:
        sentence: The error message.
        exit_code: The exit code.
    """

    def __init__(self, sentence: str, exit_code: int) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.exit_code = exit_code


class CannotAskError(CommandError):
    """A question without a terminal to ask it on.

    Args:
        question: The question.
    """

    def __init__(self, question: str) -> None:
        """Add how to answer in advance."""
        super().__init__(
            f"{question} There is no terminal to ask this on: to confirm, add --yes", MISUSED
        )


def explain(error: BaseException, runner: Runner) -> CommandError | None:
    """Turn an exception into the error that ends a command.

    Args:
        error: The exception.
        runner: The runner that sent the operation.

    Returns:
        None if it is a bug, to be raised as it is.
    """
    if isinstance(error, CommandError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return CommandError("interrupted", INTERRUPTED)
    sentence = sentence_of(error, runner)
    if sentence is None:
        return CommandError(str(error), MISUSED) if isinstance(error, ValueError) else None
    is_lost = (
        isinstance(error, TimerOutcomeUnknownError)
        or is_unreachable(error)
        or is_refused_for_now(error)
    )
    return CommandError(sentence, UNREACHABLE if is_lost else FAILED)
