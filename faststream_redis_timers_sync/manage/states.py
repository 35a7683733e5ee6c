"""What a timer does at a moment."""

from datetime import datetime

from faststream_redis_timers_sync.protocol.model import Timer


def state_of(timer: Timer, now: datetime) -> str:
    """Say what a timer does: it waits, runs, or is overdue.

    Args:
        timer: The timer.
        now: The server's time.
    """
    if timer.due_at <= now:
        # Also one whose lease has ended: its worker is dead or slow.
        return "overdue"
    return "running" if timer.running else "waiting"
