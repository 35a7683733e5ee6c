"""The items of `TestTimersBroker.scheduled_timers`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from faststream_redis_timers_sync.protocol.memory import timers as memory
from faststream_redis_timers_sync.protocol.recurrence import REPEAT, REPEAT_OWNER, Repeat

_OF_THE_ENVELOPE = {"correlation_id", "content-type", "reply_to", REPEAT, REPEAT_OWNER}


@dataclass(frozen=True, slots=True)
class ScheduledTimer:
    """A timer that was scheduled in a test.

    Args:
        topic: The full topic.
        timer_id: The timer's id.
        activate_at: When it is due, in UTC, by this machine's clock or, with `hold`, by the
            clock that the test moves.
        body: The message, not encoded.
        correlation_id: Its correlation id.
        headers: Its headers, as they were passed; with `hold` as text.
        repeat: Definition of a recurring timer; None for others.
    """

    topic: str
    timer_id: str
    activate_at: datetime
    body: Any = field(repr=False)
    correlation_id: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    repeat: Repeat | None = None


def as_scheduled(timer: memory.ScheduledTimer) -> ScheduledTimer:
    """Return a timer in memory as a `ScheduledTimer`.

    Args:
        timer: The timer.
    """
    return ScheduledTimer(
        topic=timer.topic,
        timer_id=timer.timer_id,
        activate_at=timer.due_at,
        body=timer.message,
        correlation_id=timer.correlation_id,
        headers={
            name: text for name, text in timer.headers.items() if name not in _OF_THE_ENVELOPE
        },
        repeat=timer.repeat,
    )
