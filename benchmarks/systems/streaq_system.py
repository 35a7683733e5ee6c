"""streaq: a stream for what is due; what is scheduled is moved there twice a second."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from harness import Recorder, Sender, run_async_worker, run_system
from streaq import Worker

recorder = Recorder()


async def handle(body: dict[str, Any]) -> None:
    recorder.record(body)


def make_worker(url: str, options: dict[str, Any]) -> tuple[Worker[None], Any]:
    arguments: dict[str, Any] = {"handle_signals": False}
    if options.get("concurrency"):
        arguments["concurrency"] = options["concurrency"]
    worker: Worker[None] = Worker(redis_url=url, **arguments)
    # What tasks return need not be kept.
    task = worker.task(handle, ttl=0) if options["tuned"] else worker.task(handle)
    return worker, task


def work(url: str, options: dict[str, Any]) -> None:
    worker, _ = make_worker(url, options)
    run_async_worker(recorder, worker.run_async)


@asynccontextmanager
async def connect(url: str, options: dict[str, Any]) -> AsyncIterator[Sender]:
    worker, task = make_worker(url, options)

    def later(body: dict[str, Any], delay: float) -> Any:
        return task.enqueue(body).start(delay=timedelta(seconds=delay) if delay else None)

    async def one(body: dict[str, Any], _: str, delay: float) -> None:
        await later(body, delay)

    async def many(bodies: Iterable[dict[str, Any]], _: str, delay: float) -> None:
        await worker.enqueue_many([later(body, delay) for body in bodies])

    async with worker:
        yield Sender(one, many)


if __name__ == "__main__":
    run_system(work, connect)
