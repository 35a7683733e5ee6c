"""docket: a stream for what is due, a sorted set for what is scheduled."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from docket import Docket, Worker
from harness import Recorder, Sender, run_async_worker, run_system

recorder = Recorder()

TUNED = {
    "minimum_check_interval": timedelta(milliseconds=5),
    "scheduling_resolution": timedelta(milliseconds=5),
    "schedule_automatic_tasks": False,
}


async def handle(body: dict[str, Any]) -> None:
    recorder.record(body)


def make_docket(url: str, options: dict[str, Any]) -> Docket:
    if not options["tuned"]:
        return Docket(name="bench", url=url)
    # What has run need not be remembered. A hundred tasks at once need more connections
    # than redis-py's 100: a task whose acknowledgement finds none waits for redelivery.
    return Docket(
        name="bench", url=f"{url}?max_connections=1000", execution_ttl=timedelta(seconds=0)
    )


def work(url: str, options: dict[str, Any]) -> None:
    arguments: dict[str, Any] = dict(TUNED) if options["tuned"] else {}
    if options.get("concurrency"):
        arguments["concurrency"] = options["concurrency"]

    async def consume() -> None:
        async with make_docket(url, options) as docket:
            docket.register(handle)
            async with Worker(docket, **arguments) as worker:
                await worker.run_forever()

    run_async_worker(recorder, consume)


@asynccontextmanager
async def connect(url: str, options: dict[str, Any]) -> AsyncIterator[Sender]:
    async with make_docket(url, options) as docket:
        docket.register(handle)

        async def one(body: dict[str, Any], _: str, delay: float) -> None:
            due = datetime.fromtimestamp(time.time() + delay, UTC)
            await docket.add(handle, when=due)(body)

        yield Sender(one)


if __name__ == "__main__":
    run_system(work, connect)
