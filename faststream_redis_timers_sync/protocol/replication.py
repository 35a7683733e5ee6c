"""Waiting until replicas have a write: what is asked, and what the answer means.

Which operations are concerned is said by `Operation.has_written`.
"""

import math
from typing import Any, NamedTuple

from faststream_redis_timers_sync.protocol.checks import check_count, check_number
from faststream_redis_timers_sync.protocol.errors import TimerNotReplicatedError
from faststream_redis_timers_sync.protocol.operation import Operation, load_script, pack_words

DEFAULT_CONFIRM_TIMEOUT = 1.0
"""Seconds that replicas have to confirm a write where nothing else is said."""

LONGEST_CONFIRM_TIMEOUT = 3600.0
"""Seconds; WAIT's own limit is out of reach, and a timeout of 0 would wait for ever."""

ANSWER_MARGIN = 2.0
"""Seconds that the answer may come after `confirm_timeout`: the server waits for that long by its
own clock, and then the answer is on its way."""


class Confirmation(NamedTuple):
    """How many replicas must have a write, and how long they may take.

    Args:
        replicas: How many, at least 1.
        timeout: Seconds.
    """

    replicas: int
    timeout: float

    def question(
        self, operation: Operation[Any], reply: Any, *, asking: bool = False
    ) -> tuple[list[bytes], int, float]:
        """Write what asks for the confirmation, to be sent on the connection of the write.

        WAIT speaks of the last write of its connection. An operation that found nothing to
        change wrote nothing, but what it found there (the timer that ``"keep"`` kept, the gap
        where a timer was cancelled) may have been another connection's work a moment ago. So a
        write that changes nothing goes first.

        Args:
            operation: What was done.
            reply: The server's reply to it.
            asking: Whether it went to a node for a slot that is on its way there.

        Returns:
            What is sent; how many replies it has, the last of which is the answer; and the
            seconds to wait for it.
        """
        milliseconds = math.ceil(self.timeout * 1000)
        wait = pack_words((b"WAIT", b"%d" % self.replicas, b"%d" % milliseconds))
        answer_timeout = self.timeout + ANSWER_MARGIN
        if operation.has_written is None or operation.has_written(reply):
            return [wait], 1, answer_timeout
        touch: Operation[Any] = Operation(load_script("touch"), operation.keys[1:2], (), bool)
        touching = touch.pack(by_text=True, asking=asking)
        return [*touching, wait], len(touching) + 1, answer_timeout

    def check(self, operation: Operation[Any], result: Any, confirmed: int) -> None:
        """Look at the answer.

        Args:
            operation: What was done.
            result: Its result.
            confirmed: How many replicas have it.

        Raises:
            TimerNotReplicatedError: Fewer than were asked for.
        """
        if confirmed < self.replicas:
            raise self._error(operation, result, confirmed, "")

    def unanswered(
        self, operation: Operation[Any], result: Any, error: Exception
    ) -> TimerNotReplicatedError:
        """Give the error for a question that was refused, or whose answer was lost.

        Args:
            operation: What was done.
            result: Its result.
            error: What came instead of an answer.
        """
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        return self._error(operation, result, None, reason)

    def _error(
        self, operation: Operation[Any], result: Any, confirmed: int | None, reason: str
    ) -> TimerNotReplicatedError:
        return TimerNotReplicatedError(
            operation.action or "",
            operation.topic,
            operation.timer_ids,
            self.replicas,
            confirmed,
            self.timeout,
            reason,
            result,
        )


def read_confirmation(replicas: int | None, timeout: float) -> Confirmation | None:
    """Check a front end's arguments `confirm_replicas` and `confirm_timeout`.

    Args:
        replicas: How many replicas must have each write; None for none.
        timeout: Seconds that they may take.

    Returns:
        None if no replica is asked for.

    Raises:
        TypeError: One is no number.
        ValueError: One is out of range.
    """
    check_number("confirm_timeout", timeout)
    if not 0 < timeout <= LONGEST_CONFIRM_TIMEOUT:
        msg = (
            f"confirm_timeout must be more than 0 and at most {LONGEST_CONFIRM_TIMEOUT:g} seconds, "
            f"got {timeout!r}"
        )
        raise ValueError(msg)
    if replicas is None:
        return None
    expected, remedy = "a number of replicas or None", ": None asks for no replica"
    check_count("confirm_replicas", replicas, expected, remedy=remedy)
    return Confirmation(replicas, timeout)
