"""saq: its scheduled jobs are moved to the queue once a second at most."""

import asyncio
import time
from typing import Any

from harness import Pipe, Recorder, arguments, make_body, paced, run_async_worker
from saq import Queue, Worker

recorder = Recorder()


async def handle(_ctx: Any, *, body: dict[str, Any]) -> None:
    recorder.record(body)


def work(url: str, options: dict[str, Any]) -> None:
    async def consume() -> None:
        queue = Queue.from_url(url)
        worker = Worker(queue, functions=[handle], concurrency=options.get("concurrency") or 10)
        await worker.start()

    run_async_worker(recorder, consume)


async def produce(url: str, options: dict[str, Any]) -> dict[str, Any]:
    queue = Queue.from_url(url)
    await queue.connect()
    delay = options.get("delay", 0.0)
    for number, moment in paced(options["count"], options.get("rate", 1e9)):
        if options["action"] == "paced":
            await asyncio.sleep(max(0.0, moment - time.time()))
        due = time.time() + delay
        scheduled = {"scheduled": due} if delay else {}
        await queue.enqueue("handle", body=make_body(due, number), **scheduled)
    await queue.disconnect()
    return {"count": options["count"]}


if __name__ == "__main__":
    role, server, given = arguments()
    if role == "worker":
        work(server, given)
    else:
        pipe = Pipe()
        pipe.say(**asyncio.run(produce(server, given)))
