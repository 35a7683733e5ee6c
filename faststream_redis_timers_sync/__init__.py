"""Schedule timers from blocking code: Django, Flask, Celery, scripts.

FastStream workers of `faststream_redis_timers` deliver them.
"""

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.protocol.errors import (
    EnvelopeError,
    TimerExistsError,
    TimerOutcomeUnknownError,
    TimersError,
)
from faststream_redis_timers_sync.protocol.model import Timer, TimerPublishMessage

__all__ = (
    "EnvelopeError",
    "Timer",
    "TimerExistsError",
    "TimerOutcomeUnknownError",
    "TimerPublishMessage",
    "TimersClient",
    "TimersError",
)
