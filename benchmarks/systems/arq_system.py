"""arq: jobs in a sorted set, found by polling, every 0.5 s by default."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from arq.connections import RedisSettings, create_pool
from arq.worker import Worker
from harness import Recorder, Sender, run_async_worker, run_system

recorder = Recorder()

TUNED = {"poll_delay": 0.005, "keep_result": 0}


async def handle(_ctx: dict[str, Any], body: dict[str, Any]) -> None:
    recorder.record(body)


def work(url: str, options: dict[str, Any]) -> None:
    arguments: dict[str, Any] = dict(TUNED) if options["tuned"] else {}
    if options.get("concurrency"):
        arguments["max_jobs"] = options["concurrency"]

    async def consume() -> None:
        worker = Worker(
            functions=[handle],
            redis_settings=RedisSettings.from_dsn(url),
            handle_signals=False,
            **arguments,
        )
        await worker.async_run()

    run_async_worker(recorder, consume)


@asynccontextmanager
async def connect(url: str, _: dict[str, Any]) -> AsyncIterator[Sender]:
    pool = await create_pool(RedisSettings.from_dsn(url))

    async def one(body: dict[str, Any], _: str, delay: float) -> None:
        await pool.enqueue_job("handle", body, _defer_by=timedelta(seconds=delay))

    yield Sender(one)
    await pool.aclose()


if __name__ == "__main__":
    run_system(work, connect)
