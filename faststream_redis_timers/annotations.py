"""Annotations for handlers' arguments."""

from typing import Annotated

from faststream import Context
from faststream.annotations import ContextRepo, Logger
from redis.asyncio import Redis as _Redis

from faststream_redis_timers.broker import TimersBroker as _TimersBroker
from faststream_redis_timers.message import TimerMessage as _TimerMessage

__all__ = ("ContextRepo", "Logger", "Redis", "TimerMessage", "TimersBroker")

TimerMessage = Annotated[_TimerMessage, Context("message")]
TimersBroker = Annotated[_TimersBroker, Context("broker")]
Redis = Annotated[_Redis, Context("broker._connection")]
