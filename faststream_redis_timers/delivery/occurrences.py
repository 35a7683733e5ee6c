"""An occurrence of a recurring timer: which one a claim has brought, and what comes after it."""

from datetime import datetime
from typing import NamedTuple

from faststream_redis_timers_sync.protocol.recurrence import Repeat
from faststream_redis_timers_sync.protocol.times import score_text


class Occurrence(NamedTuple):
    """What is due again and again, at one of its times.

    Args:
        repeat: The definition.
        time: The last time up to the moment from which is counted, in UTC; None before the
            first one.
        next_due: The score of the first time after that moment, as text; None where there is
            none.
    """

    repeat: Repeat
    time: datetime | None
    next_due: bytes | None


def occurrence_at(repeat: Repeat, moment: datetime) -> Occurrence:
    """Return the occurrence that a run covers.

    Args:
        repeat: The definition.
        moment: When the run was claimed, by the server's clock.

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
    """Return the occurrence whose attempts are used up, where nobody has told of their ends.

    When the last one was claimed is not known by then. So a time that has come since the first
    was due is not skipped: it is due next, as it was, and all such times share that run.

    Args:
        present: The occurrence that a run would cover now.
        first_due: When the first attempt was due.

    Raises:
        ValueError: As `occurrence_at`.
        ModuleNotFoundError: Likewise.
    """
    next_due = present.next_due
    if present.time is not None and present.time > first_due:
        next_due = score_text(present.time)
    return Occurrence(present.repeat, present.repeat.at_or_before(first_due), next_due)
