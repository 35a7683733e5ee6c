"""Timers that may have killed their workers wait for each other, and nobody else for them."""

from itertools import chain

import pytest
from bench import NO_POLLS, Bench, delivering, until_idle
from waiting import wait_until_async

from faststream_redis_timers import RetryPolicy
from faststream_redis_timers.annotations import TimerBatchMessage, TimerMessage
from faststream_redis_timers_sync import TimerPublishMessage

MANY = 550
"""More than one claim looks through."""


def plant_suspects(bench, count):
    """Write timers that have lost their lease twice, as workers leave them that were killed."""
    ids = [f"{n}" for n in range(count)]
    bench.client.schedule_batch(
        [TimerPublishMessage("x", timer_id=one) for one in ids], bench.topic
    )
    scores = {one: f"1000.{n:06d}5" for n, one in enumerate(ids)}
    bench.redis.zadd(bench.timeline, scores)
    counts = {one: f"2 999.000000 {score}" for one, score in scores.items()}
    bench.redis.hset(bench.home.keys_of(bench.topic).attempts, mapping=counts)


@pytest.mark.parametrize("counted", [True, False])
async def test_new_timers_do_not_wait_for_a_crowd_of_suspects(bench, relay, calls, counted):
    broker = bench.broker(relay.url)
    policy = RetryPolicy(max_attempts=5) if counted else None

    @broker.subscriber(bench.topic, retry_policy=policy, lease_ttl=3600, **NO_POLLS)
    async def handle(message: TimerMessage):
        if message.timer_id.isdecimal():
            await calls.hold(message)
        else:
            calls.note(message)

    plant_suspects(bench, MANY)
    async with delivering(broker):
        await calls.until(1)
        await until_idle(bench, relay)
        bench.schedule("new")
        await bench.until_gone("new")
        assert calls.ids == ["0", "new"]
        calls.gate.set()
        # Whatever was passed over comes in its turn, and wakes the loop by itself.
        await calls.until(MANY + 1, 60.0)
        await bench.until_settled(broker)

    assert bench.client.count_pending(bench.topic) == 0
    assert all(calls.counts[f"{n}"] == 1 for n in range(MANY))


async def test_each_suspect_that_ends_calls_the_next_one_and_nobody_asks_before(
    bench, relay, calls
):
    broker = bench.broker(relay.url)

    @broker.subscriber(
        bench.topic, retry_policy=RetryPolicy(max_attempts=5), lease_ttl=3600, **NO_POLLS
    )
    async def handle(message: TimerMessage):
        await calls.hold(message)

    plant_suspects(bench, MANY)
    async with delivering(broker):
        await calls.until(1)
        await until_idle(bench, relay)
        calls.gate.set()
        # With so many a claim is in flight while the handler ends, and passes others over.
        await calls.until(MANY, 60.0)

    assert calls.most_running == 1
    assert set(calls.counts.values()) == {1}


async def test_subscribers_of_one_broker_run_one_suspect_at_a_time(bench, relay, calls):
    broker = bench.broker(relay.url, retry_policy=RetryPolicy(max_attempts=5))
    other = Bench(bench.home, "refunds")
    for topic in (bench.topic, other.topic):

        @broker.subscriber(topic, lease_ttl=3600, **NO_POLLS)
        async def handle(message: TimerMessage):
            await calls.hold(message)

    for some in (bench, other):
        plant_suspects(some, 5)
    async with delivering(broker):
        await calls.until(1)
        await until_idle(bench, relay)
        assert calls.running == 1
        calls.gate.set()
        # Each that ends calls those of the other topic too.
        await calls.until(10)

    assert calls.most_running == 1
    # What was released for another's sake did not count as an attempt.
    assert {message.attempt for message in calls.messages} == {3}


async def test_a_suspect_that_hangs_does_not_hold_up_others_forever(bench, calls):
    broker = bench.broker()

    @broker.subscriber(
        bench.topic, retry_policy=RetryPolicy(max_attempts=5), max_lease=0.2, **NO_POLLS
    )
    async def handle(message: TimerMessage):
        if message.timer_id == "0":
            await calls.hold(message)
        else:
            calls.note(message)

    plant_suspects(bench, 3)
    async with delivering(broker):
        await bench.until_gone("1", "2")
        assert calls.running == 1
        calls.gate.set()

    assert calls.ids == ["0", "1", "2"]


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("counted", [True, False])
async def test_suspects_are_claimed_alone_and_batches_of_others_do_not_wait_for_them(
    bench, relay, counted, slots
):
    broker = bench.broker(relay.url)
    policy = RetryPolicy(max_attempts=5) if counted else None
    batches = []

    @broker.subscriber(
        bench.topic,
        batch=True,
        max_concurrent=slots,
        retry_policy=policy,
        lease_ttl=3600,
        **NO_POLLS,
    )
    async def handle(message: TimerBatchMessage):
        batches.append([timer.timer_id for timer in message.timers])

    plant_suspects(bench, MANY)
    others = [f"good {n:03}" for n in range(300)]
    bench.client.schedule_batch(
        [TimerPublishMessage("x", timer_id=one) for one in others], bench.topic
    )
    before = relay.count("EVALSHA")
    async with delivering(broker):
        await bench.until_gone(*others)
        done = sum(ids[0].isdecimal() for ids in batches)
        await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0, 60.0)

    # After each call with suspects there came a batch of others.
    assert done <= 10
    lost = [ids for ids in batches if ids[0].isdecimal()]
    assert sorted(map(int, chain(*lost))) == list(range(MANY))
    # Nothing is dead-lettered for others where attempts are not counted: there lists grow.
    sizes = [len(ids) for ids in lost]
    assert sizes[:7] == ([1] * 7 if counted else [1, 2, 4, 8, 16, 32, 64])
    assert max(sizes) <= (1 if counted else 100)
    assert sorted(chain(*(ids for ids in batches if ids not in lost))) == others
    # One call claims a suspect, and the next one looks for others.
    assert relay.count("EVALSHA") - before <= 2.2 * MANY
