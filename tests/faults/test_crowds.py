"""Many subscribers and handlers on one connection, and handlers that hang: the others go on."""

import asyncio
import threading

import pytest
import redis.asyncio
from bench import delivering
from states import balance, numbers, schedule_all
from waiting import wait_until_async

from faststream_redis_timers.annotations import TimerMessage

TOPICS = [f"topic-{n}" for n in range(20)]


@pytest.fixture(
    params=[redis.asyncio.ConnectionPool, redis.asyncio.BlockingConnectionPool],
    ids=["raises when full", "waits when full"],
)
async def pool_of_one(request, bench):
    pool = request.param.from_url(bench.home.server_url, max_connections=1)
    yield pool
    await pool.disconnect()


async def test_beside_handlers_that_hang_all_others_go_on_with_one_connection(
    bench, open_calls, pool_of_one, request
):
    # One hangs in each way: waiting, and blocking its thread.
    client = redis.asyncio.Redis(connection_pool=pool_of_one)
    broker = bench.broker(client, graceful_timeout=0.1)
    gate = threading.Event()
    hanging = []

    async def handle(message: TimerMessage):
        open_calls.note(message)
        if message.timer_id.endswith("again"):
            return
        # Handlers use the connection too.
        topic = message.raw_message.topic
        await broker.publish("x", topic, timer_id=f"{message.timer_id} again")

    for topic in TOPICS:
        broker.subscriber(topic)(handle)

    @broker.subscriber("waits", max_concurrent=2)
    async def wait(message: TimerMessage):
        open_calls.note(message)
        if message.timer_id == "hangs":
            hanging.append(message)
            await asyncio.Event().wait()

    @broker.subscriber("blocks", max_concurrent=2)
    def block(message: TimerMessage):
        open_calls.note(message)
        if message.timer_id == "blocks":
            hanging.append(message)
            gate.wait(timeout=30)

    ids = {topic: [f"{topic}/{n}" for n in range(10)] for topic in TOPICS}
    others = {"waits": ["w1", "w2", "w3"], "blocks": ["b1", "b2", "b3"]}
    try:
        async with delivering(broker):
            schedule_all(bench, ["hangs"], "waits")
            schedule_all(bench, ["blocks"], "blocks")
            await open_calls.until(2)
            for topic, some in {**ids, **others}.items():
                schedule_all(bench, some, topic)
            await open_calls.until(2 + 2 * 200 + 6)
            assert len(hanging) == 2
            await until_left(bench, {"waits": ["hangs"], "blocks": ["blocks"]})
            # A pool that is waited for long is told, and nothing else.
            assert [line for line in bench.log.complaints if "max_connections" not in line] == []
            gate.set()
    finally:
        gate.set()

    all_ids = [timer_id for some in (*ids.values(), *others.values()) for timer_id in some]
    all_ids += [f"{timer_id} again" for some in ids.values() for timer_id in some]
    found = balance(open_calls, all_ids, tried=2)
    found.report(request, "20 subscribers, 1 connection, 2 handlers hang")
    assert (found.lost, found.again) == (0, 0)
    bench.client.cancel_all("waits")
    bench.client.cancel_all("blocks")
    await client.aclose()


async def until_left(bench, pending):
    """Wait until no other timers are left."""
    topics = [*TOPICS, *pending]
    await wait_until_async(
        lambda: (
            {topic: left for topic in topics if (left := bench.client.get_pending_timers(topic))}
            == pending
        )
    )


async def test_beside_one_that_hangs_two_hundred_handlers_run_at_once(
    bench, calls, pool_of_one, request
):
    client = redis.asyncio.Redis(connection_pool=pool_of_one)
    broker = bench.broker(client, graceful_timeout=0.1)

    @broker.subscriber(bench.topic, max_concurrent=201)
    async def handle(message: TimerMessage):
        if message.timer_id == "hangs":
            await asyncio.Event().wait()
        await calls.hold(message)

    ids = numbers(1000)
    schedule_all(bench, ["hangs", *ids])
    async with delivering(broker):
        await calls.until(200)
        assert calls.running == 200
        calls.gate.set()
        await bench.until_gone(*ids)

    found = balance(calls, ids, tried=1)
    found.report(request, "200 handlers, 1 connection, 1 hangs")
    assert (found.lost, found.again) == (0, 0)
    assert calls.most_running == 200
    # It was released when the worker stopped.
    assert bench.client.get_pending_timers(bench.topic) == ["hangs"]
    assert not bench.is_leased("hangs")
    bench.client.cancel_all(bench.topic)
    await client.aclose()
