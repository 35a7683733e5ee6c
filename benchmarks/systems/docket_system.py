"""docket: a stream for what is due, a sorted set for what is scheduled."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from docket import Docket, Worker
from harness import Pipe, Recorder, arguments, make_body, paced, run_async_worker

recorder = Recorder()


async def handle(body: dict[str, Any]) -> None:
    recorder.record(body)


def work(url: str, options: dict[str, Any]) -> None:
    async def consume() -> None:
        async with Docket(name="bench", url=f"{url}?max_connections=1000") as docket:
            docket.register(handle)
            async with Worker(
                docket,
                concurrency=options.get("concurrency") or 10,
                minimum_check_interval=timedelta(milliseconds=5),
                scheduling_resolution=timedelta(milliseconds=5),
            ) as worker:
                await worker.run_forever()

    run_async_worker(recorder, consume)


async def produce(url: str, options: dict[str, Any]) -> dict[str, Any]:
    async with Docket(name="bench", url=f"{url}?max_connections=1000") as docket:
        docket.register(handle)
        delay = options.get("delay", 0.0)
        for number, moment in paced(options["count"], options.get("rate", 1e9)):
            if options["action"] == "paced":
                await asyncio.sleep(max(0.0, moment - time.time()))
            due = time.time() + delay
            await docket.add(handle, when=datetime.fromtimestamp(due, UTC))(make_body(due, number))
    return {"count": options["count"]}


if __name__ == "__main__":
    role, server, given = arguments()
    if role == "worker":
        work(server, given)
    else:
        pipe = Pipe()
        pipe.say(**asyncio.run(produce(server, given)))
