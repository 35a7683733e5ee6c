"""Schedule timers from blocking code: Django, Flask, Celery, scripts.

FastStream workers of `faststream_redis_timers` deliver them.
"""

from typing import TYPE_CHECKING, Any

from faststream_redis_timers_sync.protocol.errors import (
    EnvelopeError,
    TimerExistsError,
    TimerNotReplicatedError,
    TimerOutcomeUnknownError,
    TimersError,
    TopicTornError,
)
from faststream_redis_timers_sync.protocol.model import (
    EnsuredSeries,
    Series,
    Timer,
    TimerPublishMessage,
)
from faststream_redis_timers_sync.protocol.recurrence import Cron, Every, Repeat, next_times

if TYPE_CHECKING:
    from faststream_redis_timers_sync.client import TimersClient

__all__ = (
    "Cron",
    "EnsuredSeries",
    "EnvelopeError",
    "Every",
    "Repeat",
    "Series",
    "Timer",
    "TimerExistsError",
    "TimerNotReplicatedError",
    "TimerOutcomeUnknownError",
    "TimerPublishMessage",
    "TimersClient",
    "TimersError",
    "TopicTornError",
    "next_times",
)


def __getattr__(name: str) -> Any:
    # The broker uses the protocol alone, which needs no redis-py.
    if name == "TimersClient":
        from faststream_redis_timers_sync.client import TimersClient  # noqa: PLC0415

        return TimersClient
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return list(__all__)
