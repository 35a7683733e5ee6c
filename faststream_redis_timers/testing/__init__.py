"""Test handlers without a server: `TestTimersBroker` delivers at once, or when time is moved."""

from faststream_redis_timers.testing.broker import TestTimersBroker
from faststream_redis_timers.testing.scheduled import ScheduledTimer

__all__ = ("ScheduledTimer", "TestTimersBroker")
