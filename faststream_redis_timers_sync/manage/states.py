"""What a timer does at a moment."""

from datetime import datetime
from typing import Literal

from faststream_redis_timers_sync.protocol.model import Timer

TimerState = Literal["waiting", "running", "overdue", "paused"]
"""It waits for its time; a worker holds it; it should have been claimed already; or it is a
recurring timer that nobody claims until it is resumed."""


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
