"""This library, and its earlier version 0.5.4: for what is done here, their API is the same."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from harness import Recorder, Sender, run_async_worker, run_system
from pydantic import BaseModel
from redis.asyncio import Redis

from faststream_redis_timers import TimersBroker

# What makes 0.5.4 fast: it sleeps for polling_interval whenever all slots are taken.
TUNED = {"polling_interval": 0.005, "max_polling_interval": 0.005}


class Body(BaseModel):
    """A body as a model."""

    due: float
    number: int
    filler: str


def work(url: str, options: dict[str, Any]) -> None:
    recorder = Recorder()
    broker = TimersBroker(Redis.from_url(url), logger=None)
    arguments: dict[str, Any] = dict(TUNED) if options["tuned"] else {}
    if options.get("concurrency"):
        arguments["max_concurrent"] = options["concurrency"]
    if batch := options.get("batch"):
        arguments |= {"batch": True, "max_wait": options.get("max_wait", 0.0)}
        handle = _taking_models(recorder) if batch == "models" else _taking_dicts(recorder)
    else:
        handle = _taking_one(recorder)
    for topic in options["topics"]:
        broker.subscriber(topic, **arguments)(handle)
    run_async_worker(recorder, broker.start, broker.stop)


def _taking_one(recorder: Recorder) -> Callable[..., Any]:
    async def handle(body: dict[str, Any]) -> None:
        recorder.record(body)

    return handle


def _taking_dicts(recorder: Recorder) -> Callable[..., Any]:
    async def handle(bodies: list[dict[str, Any]]) -> None:
        recorder.record_batch([each["number"] for each in bodies], [each["due"] for each in bodies])

    return handle


def _taking_models(recorder: Recorder) -> Callable[..., Any]:
    async def handle(bodies: list[Body]) -> None:
        recorder.record_batch([each.number for each in bodies], [each.due for each in bodies])

    return handle


@asynccontextmanager
async def connect(url: str, _: dict[str, Any]) -> AsyncIterator[Sender]:
    client = Redis.from_url(url)
    broker = TimersBroker(client, logger=None)
    # Version 0.5 connects on start alone; without subscribers that is all it does.
    await broker.start()

    async def one(body: dict[str, Any], topic: str, delay: float) -> None:
        await broker.publish(body, topic=topic, activate_in=timedelta(seconds=delay))

    async def many(bodies: list[dict[str, Any]], topic: str, delay: float) -> None:
        await broker.publish_batch(*bodies, topic=topic, activate_in=timedelta(seconds=delay))

    # 0.5.4 has publish_batch only to say that it is not supported.
    yield Sender(one, many if hasattr(broker, "iter_timers") else None)
    await broker.stop()
    await client.aclose()


if __name__ == "__main__":
    run_system(work, connect)
