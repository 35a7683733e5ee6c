"""FastStream's own Redis list subscriber: no delays, the yardstick for speed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from faststream.redis import ListSub, RedisBroker
from harness import Pipe, Recorder, Sender, arguments, make_body, run_async_worker, run_system


def work(url: str, options: dict[str, Any]) -> None:
    recorder = Recorder()
    broker = RedisBroker(url, logger=None)
    concurrency = options.get("concurrency")
    for topic in options["topics"]:
        if options.get("batch"):

            @broker.subscriber(list=ListSub(topic, batch=True, max_records=100))
            async def handle_batch(bodies: list[dict[str, Any]]) -> None:
                recorder.record_batch(
                    [each["number"] for each in bodies], [each["due"] for each in bodies]
                )

            continue

        @broker.subscriber(list=topic, **({"max_workers": concurrency} if concurrency else {}))
        async def handle(body: dict[str, Any]) -> None:
            recorder.record(body)

    run_async_worker(recorder, broker.start)


@asynccontextmanager
async def connect(url: str, _: dict[str, Any]) -> AsyncIterator[Sender]:
    async with RedisBroker(url, logger=None) as broker:

        async def one(body: dict[str, Any], topic: str, _: float) -> None:
            await broker.publish(body, list=topic)

        yield Sender(one)


async def consume_alone(options: dict[str, Any]) -> dict[str, Any]:
    """FastStream's `consume()` without any network: the limit of all its brokers."""
    recorder = Recorder()
    broker = RedisBroker(logger=None)
    subscriber = broker.subscriber(list="alone")

    @subscriber
    async def handle(body: dict[str, Any]) -> None:
        recorder.record(body)

    payloads = [
        await broker.message_format.encode(
            message=make_body(time.time(), number),
            reply_to="",
            headers=None,
            correlation_id=str(number),
            serializer=broker.config.fd_config._serializer,
        )
        for number in range(options["count"])
    ]
    broker._setup_logger()
    subscriber._build_fastdepends_model()
    subscriber._post_start()
    started = time.perf_counter()
    for payload in payloads:
        await subscriber.consume({"type": "list", "data": payload, "channel": "alone"})
    rate = options["count"] / (time.perf_counter() - started)
    return {"rate": rate, "count": recorder.count()["count"]}


if __name__ == "__main__":
    _, _, given = arguments()
    if given.get("action") == "consume alone":
        pipe = Pipe()
        pipe.say(**asyncio.run(consume_alone(given)))
    else:
        run_system(work, connect)
