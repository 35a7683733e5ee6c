"""What a timer does at a moment, and the words for it: all front ends take them from here."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from faststream_redis_timers_sync.protocol.model import Timer

TimerState = Literal["waiting", "running", "overdue", "paused"]
"""It waits for its time; a worker holds it; it should have been claimed already; or it is a
recurring timer that nobody claims until it is resumed."""

ShownState = Literal[TimerState, "dead"]
"""As pages show it: a dead letter is overdue for ever, and nobody is to claim it."""

STATE_WORDS: Mapping[ShownState, str] = {
    "waiting": "waiting",
    "running": "running",
    "overdue": "overdue",
    "paused": "paused",
    "dead": "dead letter",
}
"""What one timer is, in English."""

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
"""What many are: titles of columns, and what stands before a number. Pending is all that were
scheduled and not yet committed or cancelled; later is behind the end of a forecast."""


def state_of(timer: Timer, now: datetime) -> TimerState:
    """Say what a timer does.

    Args:
        timer: The timer; without its body only `with_series` tells that it is paused.
        now: The server's time.
    """
    if timer.paused:
        return "paused"
    if timer.due_at <= now:
        # Also one whose lease has ended: its worker is dead or slow.
        return "overdue"
    return "running" if timer.running else "waiting"


def shown_state(timer: Timer, now: datetime, *, is_dead_letter: bool) -> ShownState:
    """Say what a page shows of a timer.

    Args:
        timer: The timer.
        now: The server's time.
        is_dead_letter: Whether it is a dead letter, or in a topic that holds these: without its
            headers a timer does not tell.
    """
    return "dead" if is_dead_letter else state_of(timer, now)
