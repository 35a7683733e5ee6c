"""arq: jobs in a sorted set, found by polling (0.5 s by default; here every 10 ms)."""

import asyncio
import time
from datetime import timedelta
from typing import Any

from arq.connections import RedisSettings, create_pool
from arq.worker import Worker
from harness import Pipe, Recorder, arguments, make_body, paced, run_async_worker

recorder = Recorder()


async def handle(_ctx: dict[str, Any], body: dict[str, Any]) -> None:
    recorder.record(body)


def work(url: str, options: dict[str, Any]) -> None:
    async def consume() -> None:
        worker = Worker(
            functions=[handle],
            redis_settings=RedisSettings.from_dsn(url),
            max_jobs=options.get("concurrency") or 10,
            poll_delay=0.01,
            keep_result=0,
            handle_signals=False,
        )
        await worker.async_run()

    run_async_worker(recorder, consume)


async def produce(url: str, options: dict[str, Any]) -> dict[str, Any]:
    pool = await create_pool(RedisSettings.from_dsn(url))
    delay = options.get("delay", 0.0)
    for number, moment in paced(options["count"], options.get("rate", 1e9)):
        if options["action"] == "paced":
            await asyncio.sleep(max(0.0, moment - time.time()))
        body = make_body(time.time() + delay, number)
        await pool.enqueue_job("handle", body, _defer_by=timedelta(seconds=delay))
    await pool.aclose()
    return {"count": options["count"]}


if __name__ == "__main__":
    role, server, given = arguments()
    if role == "worker":
        work(server, given)
    else:
        pipe = Pipe()
        pipe.say(**asyncio.run(produce(server, given)))
