"""saq: what is scheduled is moved to the queue once a second, which is the least it can do."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from harness import Recorder, Sender, run_async_worker, run_system
from saq import Queue, Worker

recorder = Recorder()


async def handle(_ctx: Any, *, body: dict[str, Any]) -> None:
    recorder.record(body)


def work(url: str, options: dict[str, Any]) -> None:
    concurrency = options.get("concurrency") or 10

    async def consume() -> None:
        queue = Queue.from_url(url)
        await Worker(queue, functions=[handle], concurrency=concurrency).start()

    run_async_worker(recorder, consume)


@asynccontextmanager
async def connect(url: str, _: dict[str, Any]) -> AsyncIterator[Sender]:
    queue = Queue.from_url(url, max_concurrent_ops=50)
    await queue.connect()

    async def one(body: dict[str, Any], _: str, delay: float) -> None:
        # The server of saq's clock is the producer's, in whole seconds.
        scheduled = {"scheduled": time.time() + delay} if delay else {}
        await queue.enqueue("handle", body=body, **scheduled)

    yield Sender(one)
    await queue.disconnect()


if __name__ == "__main__":
    run_system(work, connect)
