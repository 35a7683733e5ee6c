"""Occurrences of recurring timers: the one of a claim, and the next one."""

from datetime import datetime
from typing import NamedTuple

from faststream_redis_timers_sync.protocol.recurrence import Repeat
from faststream_redis_timers_sync.protocol.times import score_text


class Occurrence(NamedTuple):
    """An occurrence of a recurring timer, at some moment.

    Args:
        repeat: The definition.
        time: The latest time up to that moment, in UTC; None before the first one.
        next_due: The score of the first time after that moment, as text; None if there is
            none.
    """

    repeat: Repeat
    time: datetime | None
    next_due: bytes | None


def occurrence_at(repeat: Repeat, moment: datetime) -> Occurrence:
    """Return the occurrence that a claim covers.

    Args:
        repeat: The definition.
        moment: The time of the claim, by the server's clock.

    Raises:
        ValueError: This worker can't compute the definition's times, see `Repeat`.
        ModuleNotFoundError: Likewise.
    """
    following = repeat.after(moment)
    return Occurrence(
        repeat,
        repeat.at_or_before(moment),
        None if following is None else score_text(following),
    )


def lost_occurrence(present: Occurrence, first_due: datetime) -> Occurrence:
    """Return the occurrence whose attempts are used up, none of which reported an outcome.

    The time of its last claim is unknown. So a time that has come since the first attempt was due
    is not skipped: it is due next, and all such times share one occurrence.

    Args:
        present: The occurrence that a claim would cover now.
        first_due: When the first attempt was due.

    Raises:
        ValueError: As `occurrence_at`.
        ModuleNotFoundError: Likewise.
    """
    next_due = present.next_due
    if present.time is not None and present.time > first_due:
        next_due = score_text(present.time)
    return Occurrence(present.repeat, present.repeat.at_or_before(first_due), next_due)
