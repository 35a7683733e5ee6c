"""Durable timers for FastStream: schedule now, handle when due.

`TimersBroker` schedules timers on Redis or Valkey and delivers them to its
subscribers. Blocking code schedules with `faststream_redis_timers_sync`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from faststream_redis_timers.broker import TimersBroker
from faststream_redis_timers.message import TimerBatchMessage, TimerMessage
from faststream_redis_timers.response import TimerPublishCommand, TimerResponse
from faststream_redis_timers.retry_policy import RetryPolicy
from faststream_redis_timers.router import TimersRoute, TimersRoutePublisher, TimersRouter
from faststream_redis_timers.schemas import TimerSub
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
    from faststream_redis_timers.testing import ScheduledTimer, TestTimersBroker

__all__ = (
    "Cron",
    "EnsuredSeries",
    "EnvelopeError",
    "Every",
    "Repeat",
    "RetryPolicy",
    "ScheduledTimer",
    "Series",
    "TestTimersBroker",
    "Timer",
    "TimerBatchMessage",
    "TimerExistsError",
    "TimerMessage",
    "TimerNotReplicatedError",
    "TimerOutcomeUnknownError",
    "TimerPublishCommand",
    "TimerPublishMessage",
    "TimerResponse",
    "TimerSub",
    "TimersBroker",
    "TimersError",
    "TimersRoute",
    "TimersRoutePublisher",
    "TimersRouter",
    "TopicTornError",
    "next_times",
)


def _load_companions() -> Mapping[Any, Any]:
    # They import redis-py, which importing this package alone must not do.
    from faststream_redis_timers import annotations, testing  # noqa: F401, PLC0415

    return annotations.driver_annotations()


TimersBroker._load_companions = staticmethod(_load_companions)  # noqa: SLF001  the package is its own


def __getattr__(name: str) -> Any:
    # Only tests need these, and they take time to import.
    if name in {"ScheduledTimer", "TestTimersBroker"}:
        from faststream_redis_timers import testing  # noqa: PLC0415

        return getattr(testing, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return list(__all__)
