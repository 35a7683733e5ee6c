"""taskiq: a scheduler beside the worker sends what is due; here it looks every 10 ms."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from harness import Pipe, Recorder, arguments, make_body, paced, run_async_worker
from taskiq import TaskiqScheduler
from taskiq.api import run_receiver_task, run_scheduler_task
from taskiq_redis import ListQueueBroker, ListRedisScheduleSource

recorder = Recorder()
role, server, given = arguments()
STEP = timedelta(milliseconds=10)
broker = ListQueueBroker(server)
source = ListRedisScheduleSource(server)


@broker.task
async def handle(body: dict[str, Any]) -> None:
    recorder.record(body)


async def consume() -> None:
    await broker.startup()
    await source.startup()
    await asyncio.gather(
        run_receiver_task(broker, max_async_tasks=given.get("concurrency") or 100),
        run_scheduler_task(TaskiqScheduler(broker, [source]), interval=STEP, loop_interval=STEP),
    )


async def produce(options: dict[str, Any]) -> dict[str, Any]:
    await broker.startup()
    await source.startup()
    delay = options.get("delay", 0.0)
    for number, moment in paced(options["count"], options.get("rate", 1e9)):
        if options["action"] == "paced":
            await asyncio.sleep(max(0.0, moment - time.time()))
        due = time.time() + delay
        body = make_body(due, number)
        if delay:
            await handle.schedule_by_time(source, datetime.fromtimestamp(due, UTC), body)
        else:
            await handle.kiq(body)
    await broker.shutdown()
    return {"count": options["count"]}


if __name__ == "__main__":
    if role == "worker":
        run_async_worker(recorder, consume)
    else:
        pipe = Pipe()
        pipe.say(**asyncio.run(produce(given)))
