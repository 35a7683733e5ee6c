"""This library's workers and producers for those who measure it alone.

They are `limits.py`, `scaling.py`, `real_fleet.py` and `cluster.py`. Handlers record, work as their
bodies say, wait for each other or block a thread. Producers schedule bodies of any size, evenly, at
any time or as fast as they can, or read a topic from end to end.
"""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from harness import Pipe, Recorder, arguments, make_body, paced, run_async_worker
from measures import peak_memory
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.encoding import encode_message
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.timers import encode_timer

MONTH = timedelta(days=30)


class Probe(Recorder):
    """A recorder that also tells of memory, and of how many handlers ran at once."""

    def reset(self) -> None:
        """Forget all, and count memory from here too."""
        super().reset()
        self.running = self.most_running = 0
        self._memory_before = peak_memory(anew=True)

    def report(self) -> dict[str, Any]:
        """Tell what was noted: memory in bytes, beyond what was held at the reset."""
        # First, since what follows takes memory too.
        memory = peak_memory() - self._memory_before
        return {**super().report(), "most_running": self.most_running, "memory": memory}


_ARGUMENTS = ("max_concurrent", "max_polling_interval", "duty")


def work(url: str, options: dict[str, Any]) -> None:
    probe = Probe()
    if options.get("hash_tags"):
        broker = TimersBroker(url, logger=None, hash_tags=True)
    else:
        broker = TimersBroker(AsyncRedis.from_url(url), logger=None)
    arguments = {name: options[name] for name in _ARGUMENTS if name in options}
    for topic in options["topics"]:
        broker.subscriber(topic, **arguments)(_recording(probe))
    for topic in options.get("works", ()):
        broker.subscriber(topic, **arguments)(_working(probe))
    if count := options.get("gather"):
        broker.subscriber("gather", max_concurrent=count)(_gathering(probe, count))
    if count := options.get("block"):
        broker.subscriber("block", max_concurrent=count)(_blocking(options["seconds"]))
    if count := options.get("sleep"):
        broker.subscriber("sleep", max_concurrent=count)(_sleeping(options["seconds"]))
    run_async_worker(probe, broker.start, broker.stop)


def _recording(probe: Probe) -> Callable[[dict[str, Any]], Awaitable[None]]:
    async def handle(body: dict[str, Any]) -> None:
        probe.record(body)

    return handle


def _working(probe: Probe) -> Callable[[dict[str, Any]], Awaitable[None]]:
    async def handle(body: dict[str, Any]) -> None:
        probe.record(body)
        end = time.thread_time() + body["computes"]
        while time.thread_time() < end:
            pass
        # The event loop is to stand still.
        time.sleep(body["blocks"])  # noqa: ASYNC251
        if body["waits"]:
            await asyncio.sleep(body["waits"])

    return handle


def _gathering(probe: Probe, count: int) -> Callable[[dict[str, Any]], Awaitable[None]]:
    all_here = asyncio.Event()

    async def handle(body: dict[str, Any]) -> None:
        probe.running += 1
        probe.most_running = max(probe.most_running, probe.running)
        if probe.running == count:
            all_here.set()
        await all_here.wait()
        probe.running -= 1
        probe.record(body)

    return handle


def _blocking(seconds: float) -> Callable[[dict[str, Any]], None]:
    def handle(_: dict[str, Any]) -> None:
        time.sleep(seconds)

    return handle


def _sleeping(seconds: float) -> Callable[[dict[str, Any]], Awaitable[None]]:
    async def handle(_: dict[str, Any]) -> None:
        await asyncio.sleep(seconds)

    return handle


def send_paced(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Schedule timers evenly, each in a call of its own, and tell the rate that was reached.

    All is encoded before, so that one process can send thousands a second and leaves the
    processors to who is measured.
    """
    count, rate, topic = options["count"], options["rate"], options["topic"]
    delay = timedelta(seconds=options["delay"])
    operations = Operations(KeySpace())
    # Encoding takes some 30 us each.
    start = time.time() + 1 + count * 0.0001
    calls = []
    for number in range(count):
        moment = start + number / rate
        body = make_body(moment + delay.total_seconds(), number)
        timer = encode_timer(*encode_message(body), activate_in=delay)
        calls.append((moment, operations.schedule(topic, timer)))
    with Redis.from_url(url) as client:
        client.script_load(calls[0][1].script.text)
        connection = client.connection_pool.get_connection()
        for moment, call in calls:
            time.sleep(max(0.0, moment - time.time()))
            connection.send_packed_command(call.pack())
            connection.read_response()
        ended = time.time()
        client.connection_pool.release(connection)
    return {"rate": count / (ended - start)}


def schedule_paced(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Schedule timers evenly over topics, by the blocking client, on one primary or a cluster."""
    topics, delay = options["topics"], timedelta(seconds=options["delay"])
    with TimersClient(url, hash_tags=True) as client:
        for number, moment in paced(options["count"], options["rate"]):
            time.sleep(max(0.0, moment - time.time()))
            body = make_body(time.time() + options["delay"], number)
            client.schedule(body, topics[number % len(topics)], activate_in=delay)
    return {}


def feed(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Schedule timers at random times; every other one is due at once, the others within 2 s.

    Tells how many were scheduled, and the Unix time of the latest one's due time.
    """
    chance = random.Random(options["seed"])  # noqa: S311  no secret
    seconds, topic, work = options["seconds"], options["topic"], options["work"]
    moments = sorted(chance.uniform(0, seconds) for _ in range(round(options["rate"] * seconds)))
    last = start = time.time()
    with TimersClient(url) as client:
        for number, moment in enumerate(moments):
            time.sleep(max(0.0, start + moment - time.time()))
            delay = chance.choice((0.0, chance.uniform(0, 2.0)))
            body = {**make_body(time.time() + delay, number), **work}
            client.schedule(body, topic, activate_in=timedelta(seconds=delay))
            last = max(last, body["due"])
    return {"count": len(moments), "last": last}


def burst(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Schedule timers in one batch that are due at once, and tell the Unix time of that."""
    count, work = options["count"], options["work"]
    with TimersClient(url) as client:
        # So that the connection is there, and the script is known.
        client.schedule("", "unused", activate_in=MONTH)
        client.cancel_all("unused")
        due = time.time()
        bodies = [{**make_body(due, number), **work} for number in range(count)]
        client.schedule_batch(bodies, options["topic"])
    return {"count": count, "last": due}


def read_all(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Read a topic from end to end, and tell what it took."""
    with TimersClient(url) as client:
        before = peak_memory(anew=True)
        started = time.perf_counter()
        result = 0
        if options["how"] == "get_pending_timers":
            ids = client.get_pending_timers(options["topic"])
            count = len(ids)
            result = sys.getsizeof(ids) + sum(map(sys.getsizeof, ids))
        else:
            bodies = options["how"] == "iter_timers"
            count = sum(1 for _ in client.iter_timers(options["topic"], bodies=bodies))
        return {
            "count": count,
            "seconds": time.perf_counter() - started,
            "memory": peak_memory() - before - result,
            "result": result,
        }


async def publish_speed(url: str, options: dict[str, Any]) -> dict[str, Any]:
    """Schedule as fast as one process can, by one way after the other."""
    body, count = make_body(time.time(), 0, options["size"]), options["count"]
    batch = [body] * options["batch"]
    rates = {}
    layout = {"hash_tags": options.get("hash_tags", False)}
    with TimersClient(url, **layout) as client:
        async with TimersBroker(url, logger=None, **layout) as broker:

            async def publish() -> None:
                for _ in range(count):
                    await broker.publish(body, "speed", activate_in=MONTH)

            async def publish_batch() -> None:
                for _ in range(0, count, len(batch)):
                    await broker.publish_batch(*batch, topic="speed", activate_in=MONTH)

            async def schedule() -> None:
                for _ in range(count):
                    client.schedule(body, "speed", activate_in=MONTH)

            async def schedule_batch() -> None:
                for _ in range(0, count, len(batch)):
                    client.schedule_batch(batch, "speed", activate_in=MONTH)

            for way in (publish, publish_batch, schedule, schedule_batch):
                started = time.perf_counter()
                await way()
                rates[way.__name__] = count / (time.perf_counter() - started)
                client.cancel_all("speed")
    return rates


ACTIONS = {
    "paced": send_paced,
    "schedule": schedule_paced,
    "feed": feed,
    "burst": burst,
    "read": read_all,
}

if __name__ == "__main__":
    role, server, given = arguments()
    if role == "worker":
        work(server, given)
    else:
        pipe = Pipe()
        if given["action"] == "speed":
            pipe.say(**asyncio.run(publish_speed(server, given)))
        else:
            pipe.say(**ACTIONS[given["action"]](server, given))
