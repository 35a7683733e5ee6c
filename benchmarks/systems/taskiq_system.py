"""taskiq: a scheduler, here beside the worker, sends what is due to a list.

By default it looks for new schedules once a minute.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from harness import Recorder, Sender, arguments, run_async_worker, run_system
from taskiq import TaskiqScheduler
from taskiq.api import run_receiver_task, run_scheduler_task
from taskiq_redis import ListQueueBroker, ListRedisScheduleSource

recorder = Recorder()
_, SERVER, _ = arguments()
broker = ListQueueBroker(SERVER)
source = ListRedisScheduleSource(SERVER)

TUNED = {"interval": timedelta(seconds=1), "loop_interval": timedelta(seconds=1)}


@broker.task
async def handle(body: dict[str, Any]) -> None:
    recorder.record(body)


def work(_: str, options: dict[str, Any]) -> None:
    arguments = TUNED if options["tuned"] else {}
    if options.get("step"):
        arguments = dict.fromkeys(TUNED, timedelta(seconds=options["step"]))

    async def consume() -> None:
        await broker.startup()
        await asyncio.gather(
            run_receiver_task(broker, max_async_tasks=options.get("concurrency") or 100),
            run_scheduler_task(TaskiqScheduler(broker, [source]), **arguments),
        )

    run_async_worker(recorder, consume)


@asynccontextmanager
async def connect(_: str, __: dict[str, Any]) -> AsyncIterator[Sender]:
    await broker.startup()
    await source.startup()

    async def one(body: dict[str, Any], _: str, delay: float) -> None:
        if delay:
            due = datetime.fromtimestamp(time.time() + delay, UTC)
            await handle.schedule_by_time(source, due, body)
        else:
            await handle.kiq(body)

    yield Sender(one)
    await broker.shutdown()


if __name__ == "__main__":
    run_system(work, connect)
