"""Why a timer was dead-lettered, read from a dead letter's headers."""

from datetime import datetime
from typing import NamedTuple

from faststream_redis_timers_sync.manage.series import definition_text
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.protocol import dead_letters
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.recurrence import read_repeat
from faststream_redis_timers_sync.protocol.timers import DEFINITION, SERIES_ID

REASONS = {
    "attempts": "its attempts are used up",
    "rejected": "it was rejected",
    "unreadable": "it could not be read",
}
"""The reasons in English."""


class DeadLetterInfo(NamedTuple):
    """Why and from where a timer was dead-lettered; all texts are safe to show.

    Args:
        reason: ``attempts``, ``rejected``, ``unreadable``, or another word set by hand.
        topic: The full topic that it came from.
        timer_id: Its id there; empty if unknown.
        due_at: When it was first due; None if unknown.
        attempts: How many attempts it had; empty if unknown.
        error: The name of its last error's type; empty if unknown.
        repeats: The definition of the recurring timer that it was an occurrence of; empty if it
            was due once.
        series_id: The id of that recurring timer; empty if unknown.
        occurrence: Which occurrence; None if unknown.
    """

    reason: str
    topic: str
    timer_id: str
    due_at: datetime | None
    attempts: str
    error: str
    repeats: str
    series_id: str
    occurrence: datetime | None


def read_dead_letter_info(timer: Timer) -> DeadLetterInfo | None:
    """Read why a timer was dead-lettered.

    Args:
        timer: The timer, with its headers.

    Returns:
        None if it is not a dead letter.
    """
    headers = {name: escape(value) for name, value in timer.headers.items()}
    if not dead_letters.is_dead_letter(headers):
        return None
    return DeadLetterInfo(
        headers[dead_letters.REASON],
        headers[dead_letters.TOPIC],
        headers.get(dead_letters.TIMER_ID, ""),
        _time_in(headers.get(dead_letters.DUE_AT, "")),
        headers.get(dead_letters.ATTEMPTS, ""),
        headers.get(dead_letters.ERROR, ""),
        definition_text(read_repeat(timer.headers.get(DEFINITION, ""))),
        headers.get(SERIES_ID, ""),
        dead_letters.read_occurrence(timer.headers),
    )


def _time_in(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if time.utcoffset() is None else time
