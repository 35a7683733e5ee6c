"""The errors that end a command, as a sentence and an exit code."""

from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.manage.errors import is_unreachable, sentence_of
from faststream_redis_timers_sync.protocol.errors import TimerOutcomeUnknownError
from faststream_redis_timers_sync.protocol.routing import is_refused_for_now

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


def explain(error: BaseException, runner: Runner) -> CommandError | None:
    """Make of what went wrong what ends a command.

    Args:
        error: The error.
        runner: What asked the server.

    Returns:
        None where it is a mistake of ours, to be shown as it is.
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
