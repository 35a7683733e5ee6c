"""FastStream's own Redis list subscriber: no delays, the yardstick for speed."""

import asyncio
import time
from typing import Any

from faststream.redis import RedisBroker
from harness import Pipe, Recorder, arguments, make_body, paced, run_async_worker


def work(url: str, options: dict[str, Any]) -> None:
    recorder = Recorder()
    broker = RedisBroker(url, logger=None)
    concurrency = options.get("concurrency")
    for topic in options["topics"]:

        @broker.subscriber(list=topic, **({"max_workers": concurrency} if concurrency else {}))
        async def handle(body: dict[str, Any]) -> None:
            recorder.record(body)

    run_async_worker(recorder, broker.start)


async def produce(url: str, options: dict[str, Any]) -> dict[str, Any]:
    async with RedisBroker(url, logger=None) as broker:
        return await ACTIONS[options["action"]](broker, options)


async def preload(broker: RedisBroker, options: dict[str, Any]) -> dict[str, Any]:
    due = time.time()
    for number in range(options["count"]):
        await broker.publish(make_body(due, number), list=options["topics"][0])
    return {"count": options["count"]}


async def send_paced(broker: RedisBroker, options: dict[str, Any]) -> dict[str, Any]:
    topics = options["topics"]
    for number, moment in paced(options["count"], options["rate"]):
        await asyncio.sleep(max(0.0, moment - time.time()))
        await broker.publish(make_body(time.time(), number), list=topics[number % len(topics)])
    return {"count": options["count"]}


async def publish_speed(broker: RedisBroker, options: dict[str, Any]) -> dict[str, Any]:
    count, at_once = options["count"], options["at_once"]
    body = make_body(time.time(), 0)
    for _ in range(200):
        await broker.publish(body, list="speed")
    started = time.perf_counter()
    if at_once == 1:
        for _ in range(count):
            await broker.publish(body, list="speed")
    else:
        for _ in range(count // at_once):
            await asyncio.gather(*(broker.publish(body, list="speed") for _ in range(at_once)))
    return {"rate": count / (time.perf_counter() - started)}


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


ACTIONS = {"preload": preload, "paced": send_paced, "speed": publish_speed}

if __name__ == "__main__":
    role, server, given = arguments()
    if role == "worker":
        work(server, given)
    else:
        pipe = Pipe()
        alone = given["action"] == "consume alone"
        pipe.say(**asyncio.run(consume_alone(given) if alone else produce(server, given)))
