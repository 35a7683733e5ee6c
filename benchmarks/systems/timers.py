"""This library, and its earlier versions: their API for this is the same."""

import asyncio
import time
from datetime import timedelta
from typing import Any

from harness import Pipe, Recorder, arguments, make_body, paced, run_async_worker
from redis.asyncio import Redis

from faststream_redis_timers import TimersBroker


def work(url: str, options: dict[str, Any]) -> None:
    recorder = Recorder()
    broker = TimersBroker(Redis.from_url(url), logger=None)
    knobs = {"max_concurrent": options["concurrency"]} if options.get("concurrency") else {}
    for topic in options["topics"]:

        @broker.subscriber(topic, **knobs)
        async def handle(body: dict[str, Any]) -> None:
            recorder.record(body)

    run_async_worker(recorder, broker.start, broker.stop)


async def produce(url: str, options: dict[str, Any]) -> dict[str, Any]:
    client = Redis.from_url(url)
    broker = TimersBroker(client, logger=None)
    # Version 0.5 connects on start alone; without subscribers that is all it does.
    await broker.start()
    try:
        return await ACTIONS[options["action"]](broker, options)
    finally:
        await broker.stop()
        await client.aclose()


async def preload(broker: TimersBroker, options: dict[str, Any]) -> dict[str, Any]:
    count, delay, topic = options["count"], options.get("delay", 0.0), options["topics"][0]
    due = time.time() + delay
    if hasattr(broker, "iter_timers"):
        for start in range(0, count, 5000):
            bodies = [make_body(due, i) for i in range(start, min(start + 5000, count))]
            await broker.publish_batch(*bodies, topic=topic, activate_in=timedelta(seconds=delay))
    else:
        for number in range(count):
            await broker.publish(
                make_body(due, number), topic=topic, activate_in=timedelta(seconds=delay)
            )
    return {"count": count}


async def send_paced(broker: TimersBroker, options: dict[str, Any]) -> dict[str, Any]:
    delay, topics = options["delay"], options["topics"]
    for number, moment in paced(options["count"], options["rate"]):
        await asyncio.sleep(max(0.0, moment - time.time()))
        await broker.publish(
            make_body(time.time() + delay, number),
            topic=topics[number % len(topics)],
            activate_in=timedelta(seconds=delay),
        )
    return {"count": options["count"]}


async def publish_speed(broker: TimersBroker, options: dict[str, Any]) -> dict[str, Any]:
    count, at_once = options["count"], options["at_once"]
    body, topic, month = make_body(time.time(), 0), "speed", timedelta(days=30)

    async def publish() -> None:
        await broker.publish(body, topic=topic, activate_in=month)

    for _ in range(200):
        await publish()
    started = time.perf_counter()
    if options.get("batch"):
        for _ in range(count // at_once):
            await broker.publish_batch(*[body] * at_once, topic=topic, activate_in=month)
    elif at_once == 1:
        for _ in range(count):
            await publish()
    else:
        for _ in range(count // at_once):
            await asyncio.gather(*(publish() for _ in range(at_once)))
    return {"rate": count / (time.perf_counter() - started)}


ACTIONS = {"preload": preload, "paced": send_paced, "speed": publish_speed}

if __name__ == "__main__":
    role, server, given = arguments()
    if role == "worker":
        work(server, given)
    else:
        pipe = Pipe()
        pipe.say(**asyncio.run(produce(server, given)))
