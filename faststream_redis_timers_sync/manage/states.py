"""The states of timers, and their words for all front ends."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from faststream_redis_timers_sync.protocol.model import Timer

TimerState = Literal["waiting", "running", "overdue", "paused"]
"""Not due yet; leased to a worker; due but not claimed, or with an expired lease; or a recurring
timer that is not due until it is resumed."""

DisplayState = Literal[TimerState, "dead"]
"""The state that pages show. A dead letter has its own: it is always overdue, and never claimed."""

STATE_WORDS: Mapping[DisplayState, str] = {
    "waiting": "waiting",
    "running": "running",
    "overdue": "overdue",
    "paused": "paused",
    "dead": "dead letter",
}
"""The state of one timer, in English."""

CountName = Literal["pending", "waiting", "running", "overdue", "paused", "dead", "later"]

COUNT_WORDS: Mapping[CountName, str] = {
    "pending": "Pending",
    "waiting": "Waiting",
    "running": "Running",
    "overdue": "Overdue",
    "paused": "Paused",
    "dead": "Dead letters",
    "later": "Later",
}
"""The words for counts, as titles of columns or before a number. Pending timers were scheduled and
neither committed nor cancelled; later ones are due after the end of a forecast."""


def state_of(timer: Timer, now: datetime) -> TimerState:
    """Return the state of a timer.

    Args:
        timer: The timer; if read without its body, only `with_series` knows that it is paused.
        now: The server's time.
    """
    if timer.paused:
        return "paused"
    if timer.due_at <= now:
        # Includes a timer whose lease has expired: its worker is dead or slow.
        return "overdue"
    return "running" if timer.running else "waiting"


def display_state(timer: Timer, now: datetime, *, is_dead_letter: bool) -> DisplayState:
    """Return the state of a timer that a page shows.

    Args:
        timer: The timer.
        now: The server's time.
        is_dead_letter: Whether it is a dead letter, or in a dead-letter topic: a timer that was
            read without headers can't tell.
    """
    return "dead" if is_dead_letter else state_of(timer, now)
