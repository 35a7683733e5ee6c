"""huey: threads take tasks of a list; what has a delay is moved to it once a second."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from harness import Pipe, Recorder, Sender, arguments, run_system
from huey import RedisHuey

_, SERVER, _ = arguments()
recorder = Recorder()
huey = RedisHuey("bench", url=SERVER, results=False)


@huey.task()
def handle(body: dict[str, Any]) -> None:
    recorder.record(body)


def work(_: str, options: dict[str, Any]) -> None:
    consumer = huey.create_consumer(
        workers=options.get("concurrency") or 1, periodic=False, check_worker_health=False
    )
    Pipe().serve(recorder, consumer.start, lambda: consumer.stop(graceful=True))


@asynccontextmanager
async def connect(_: str, __: dict[str, Any]) -> AsyncIterator[Sender]:
    async def one(body: dict[str, Any], _: str, delay: float) -> None:
        handle.schedule(args=(body,), delay=delay) if delay else handle(body)

    yield Sender(one)


if __name__ == "__main__":
    run_system(work, connect)
