"""Durable timers for FastStream: schedule now, handle when due.

`TimersBroker` schedules timers on Redis or Valkey and delivers them to its
subscribers. Blocking code schedules with `faststream_redis_timers_sync`.
"""

from faststream_redis_timers.broker import TimersBroker
from faststream_redis_timers.message import TimerMessage
from faststream_redis_timers.response import TimerPublishCommand, TimerResponse
from faststream_redis_timers.router import TimersRoute, TimersRoutePublisher, TimersRouter
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers.testing import ScheduledTimer, TestTimersBroker
from faststream_redis_timers_sync.protocol.errors import (
    EnvelopeError,
    TimerExistsError,
    TimerOutcomeUnknownError,
    TimersError,
)
from faststream_redis_timers_sync.protocol.model import Timer, TimerPublishMessage

__all__ = (
    "EnvelopeError",
    "ScheduledTimer",
    "TestTimersBroker",
    "Timer",
    "TimerExistsError",
    "TimerMessage",
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
)
