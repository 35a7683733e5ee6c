"""Connections: how many a broker needs, and that it does with few."""

import asyncio

import budgets
import pytest
import redis.asyncio
from bench import delivering
from counting import until_asleep

TOPICS = [f"topic-{n}" for n in range(20)]

POOLS = {
    "that raises when full": redis.asyncio.ConnectionPool,
    "that waits when full": redis.asyncio.BlockingConnectionPool,
}


@pytest.mark.parametrize("pool_class", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("size", [1, 3])
async def test_twenty_subscribers_share_the_pool_and_one_connection_for_wake_ups(
    bench, meter, open_calls, pool_class, size
):
    pool = pool_class.from_url(bench.home.server_url, max_connections=size)
    broker = bench.broker(redis.asyncio.Redis(connection_pool=pool))

    async def handle(body: str):
        open_calls.bodies.append((body, None))
        if not body.endswith("again"):
            # So that handlers publish while others claim and commit.
            topic, _, number = body.partition("/")
            await broker.publish(f"{topic}/{number} again", topic)

    for topic in TOPICS:
        broker.subscriber(topic)(handle)
    meter.reset()
    async with delivering(broker):
        publishes = (broker.publish(f"{topic}/{n}", topic) for topic in TOPICS for n in range(5))
        await asyncio.gather(*publishes)
        await open_calls.until(2 * len(TOPICS) * 5)
        await until_asleep([broker], at_least=0)
        traffic = meter.read()
    left = [bench.client.count_pending(topic) for topic in TOPICS]
    await pool.disconnect()

    assert left == [0] * len(TOPICS)
    assert set(open_calls.counts.values()) == {1}
    assert traffic.connections <= size + budgets.BESIDE_THE_POOL
    assert bench.log.complaints == []


async def test_without_a_limit_subscribers_that_wait_hold_one_connection_each_at_most(bench, meter):
    broker = bench.broker()

    async def handle(body: str): ...

    for topic in TOPICS:
        broker.subscriber(topic)(handle)
    meter.reset()
    async with delivering(broker):
        await until_asleep([broker], at_least=0)
        traffic = meter.read()

    assert traffic.connections <= len(TOPICS) + budgets.BESIDE_THE_POOL


@pytest.mark.parametrize("is_started", [False, True])
async def test_a_broker_that_only_publishes_holds_one_connection(bench, meter, is_started):
    broker = bench.broker()
    meter.reset()
    await (broker.start() if is_started else broker.connect())
    for n in range(20):
        await broker.publish("x", bench.topic, timer_id=f"{n}")
    await broker.cancel_all(bench.topic)
    traffic = meter.read()

    assert traffic.connections == budgets.PUBLISHER
