"""Annotations for handlers' arguments."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, get_args

from faststream import Depends
from faststream.annotations import ContextRepo, Logger
from faststream.params import NoCast
from redis.asyncio import Redis as _Redis
from redis.asyncio.client import Pipeline as _Pipeline

from faststream_redis_timers._faststream import ContextField, UnderlyingDriverAnnotation
from faststream_redis_timers.broker import TimersBroker as _TimersBroker
from faststream_redis_timers.message import (
    TimerBatchMessage as _TimerBatchMessage,
    TimerMessage as _TimerMessage,
)

__all__ = (
    "ContextRepo",
    "Logger",
    "NoCast",
    "Pipeline",
    "Redis",
    "TimerBatchMessage",
    "TimerMessage",
    "TimersBroker",
)


class _Context(ContextField):
    """A look-up in the event loop that runs the handler.

    FastDepends runs anything but coroutine functions in a thread, for each argument of each
    message: that costs more than a small handler.
    """

    async def use(self, /, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        found: dict[str, Any] = super().use(**kwargs)
        return found


TimerMessage = Annotated[_TimerMessage, _Context("message")]
TimerBatchMessage = Annotated[_TimerBatchMessage, _Context("message")]
TimersBroker = Annotated[_TimersBroker, _Context("broker")]
Redis = Annotated[_Redis, _Context("broker._connection")]


async def _open_pipeline(redis: Redis) -> AsyncIterator[_Pipeline]:
    async with redis.pipeline() as pipeline:
        yield pipeline


Pipeline = Annotated[_Pipeline, Depends(_open_pipeline, cast=False)]
"""A pipeline of the broker's client, for this call of the handler; only
``await pipeline.execute()`` sends it."""


def driver_annotations() -> Mapping[Any, Any]:
    """Return what FastStream suggests to users who annotate an argument with the bare class.

    Returns:
        Class -> what to annotate with instead; empty for FastStream 0.7.6, which does not check.
    """
    if UnderlyingDriverAnnotation is None:
        return {}
    named = {
        "Pipeline": Pipeline,
        "Redis": Redis,
        "TimerBatchMessage": TimerBatchMessage,
        "TimerMessage": TimerMessage,
        "TimersBroker": TimersBroker,
    }
    return {
        get_args(annotation)[0]: UnderlyingDriverAnnotation(
            type_hint=annotation, module=__name__, name=name
        )
        for name, annotation in named.items()
    }
