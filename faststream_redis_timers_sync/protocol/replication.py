"""Waits until replicas have a write: the commands to send, and the meaning of the reply.

`Operation.has_written` says which operations this applies to.
"""

import math
from typing import Any, NamedTuple

from faststream_redis_timers_sync.protocol.checks import check_count, check_number
from faststream_redis_timers_sync.protocol.errors import TimerNotReplicatedError
from faststream_redis_timers_sync.protocol.operation import Operation, load_script, pack_words

DEFAULT_CONFIRM_TIMEOUT = 1.0
"""Seconds that replicas have to confirm a write by default."""

LONGEST_CONFIRM_TIMEOUT = 3600.0
"""Seconds; WAIT's own limit is out of reach, and a timeout of 0 would wait forever."""

ANSWER_MARGIN = 2.0
"""Seconds that the reply may come after `confirm_timeout`: the server waits for that long by its
own clock, and then the reply has to travel."""


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
        """Return the commands for the confirmation, to be sent on the connection of the write.

        WAIT is about the last write of its connection. An operation that found nothing to change
        wrote nothing, but the state that it found (the timer that ``"keep"`` kept, the absence of
        a cancelled timer) may have been written by another connection a moment ago. So a write
        that changes nothing goes first.

        Args:
            operation: The operation.
            reply: The server's reply to it.
            asking: Whether it went to a node for a slot that is moving there.

        Returns:
            The bytes to send; how many replies they have, the last of which counts the replicas;
            and the seconds to wait for it.
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
        """Check the reply.

        Args:
            operation: The operation.
            result: Its result.
            confirmed: How many replicas have it.

        Raises:
            TimerNotReplicatedError: Fewer than requested.
        """
        if confirmed < self.replicas:
            raise self._error(operation, result, confirmed, "")

    def unanswered(
        self, operation: Operation[Any], result: Any, error: Exception
    ) -> TimerNotReplicatedError:
        """Return the error for a WAIT that was refused, or whose reply was lost.

        Args:
            operation: The operation.
            result: Its result.
            error: The error.
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
        None if no replica must confirm.

    Raises:
        TypeError: One is not a number.
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
