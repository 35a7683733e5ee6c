"""Annotations for handlers' arguments."""

from typing import Annotated, Any

from faststream.annotations import ContextRepo, Logger
from redis.asyncio import Redis as _Redis

from faststream_redis_timers._faststream import ContextField
from faststream_redis_timers.broker import TimersBroker as _TimersBroker
from faststream_redis_timers.message import TimerMessage as _TimerMessage

__all__ = ("ContextRepo", "Logger", "Redis", "TimerMessage", "TimersBroker")


class _Context(ContextField):
    """A look-up that takes place where the handler runs.

    FastDepends sends what is no coroutine function to a thread, for each argument of each
    message: a hop there and back costs more than a handler that only records.
    """

    async def use(self, /, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        found: dict[str, Any] = super().use(**kwargs)
        return found


TimerMessage = Annotated[_TimerMessage, _Context("message")]
TimersBroker = Annotated[_TimersBroker, _Context("broker")]
Redis = Annotated[_Redis, _Context("broker._connection")]
