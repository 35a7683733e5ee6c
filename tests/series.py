"""Recurring timers for tests of what scripts do with them, below the front ends."""

from faststream_redis_timers_sync.protocol.model import EncodedTimer
from faststream_redis_timers_sync.protocol.recurrence import Every, Repeat
from faststream_redis_timers_sync.protocol.timers import encode_timer

HOURLY = Every(hours=1)
DAILY = Every(days=1)


def series(
    timer_id: str = "a",
    repeat: Repeat = HOURLY,
    body: bytes = b"x",
    due: bytes = b"",
    owner: str | None = None,
) -> EncodedTimer:
    """Make a recurring timer; ``due`` is its first due time as `ask_due` writes it."""
    timer = encode_timer(body, None, timer_id=timer_id, repeat=repeat, repeat_owner=owner)
    return timer._replace(due=due)
