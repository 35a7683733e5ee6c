"""The delivery loop on a server that is well: batches, slots, bounds, polls."""

import asyncio
import time
from collections import Counter
from datetime import timedelta

import pytest
from bench import delivering
from waiting import wait_until_async

from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync import TimerPublishMessage


def schedule_many(bench, count, body="x", **options):
    ids = [f"{n}" for n in range(count)]
    bench.client.schedule_batch(
        [TimerPublishMessage(body, timer_id=timer_id) for timer_id in ids], bench.topic, **options
    )
    return ids


async def until_drained(bench):
    await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0, timeout=30)


# --- slots -------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 3, 7])
async def test_never_more_than_max_concurrent_handlers_run_at_once(bench, open_calls, most):
    broker = bench.broker()

    @broker.subscriber(bench.topic, max_concurrent=most)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        open_calls.running += 1
        open_calls.most_running = max(open_calls.most_running, open_calls.running)
        await asyncio.sleep(0)
        open_calls.running -= 1

    ids = schedule_many(bench, 100)
    async with delivering(broker):
        await until_drained(bench)

    assert open_calls.counts == dict.fromkeys(ids, 1)
    assert open_calls.most_running <= most


async def test_slots_are_filled_again_as_single_handlers_end(bench, calls):
    broker = bench.broker()
    gates = {}

    @broker.subscriber(bench.topic, max_concurrent=3, max_polling_interval=3600)
    async def handle(message: TimerMessage):
        calls.note(message)
        gates[message.timer_id] = asyncio.Event()
        await gates[message.timer_id].wait()

    schedule_many(bench, 10)
    async with delivering(broker):
        for begun in range(3, 11):
            await calls.until(begun)
            assert len(calls.ids) == begun
            gates[calls.ids[begun - 3]].set()
        for gate in gates.values():
            gate.set()
        await until_drained(bench)


async def test_timers_are_begun_in_order_of_due_time(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic, max_concurrent=1)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    now = bench.home.now().timestamp()
    for n in range(50):
        timer_id = f"{n * 7 % 50}"
        bench.home.plant(bench.topic, timer_id, now - 3600 + int(timer_id), b"payload")
    async with delivering(broker):
        await until_drained(bench)

    assert open_calls.ids == [f"{n}" for n in range(50)]


# --- bounds ------------------------------------------------------------------------------


async def leased_together(bench, calls, count):
    """Let all timers be claimed while their handlers wait, and count them by lease."""
    broker = bench.broker()

    @broker.subscriber(bench.topic, max_concurrent=count)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    async with delivering(broker):
        await calls.until(count)
        scores = bench.redis.zrange(bench.timeline, 0, -1, withscores=True)
        calls.gate.set()
        await until_drained(bench)
    # What a claim had leased and not returned would not run now.
    assert set(calls.counts.values()) == {1}
    return Counter(score for _, score in scores).values()


async def test_a_claim_leases_a_hundred_timers_at_most(bench, calls):
    schedule_many(bench, 250)

    assert sorted(await leased_together(bench, calls, 250)) == [50, 100, 100]


async def test_a_claim_leases_half_a_mebibyte_at_most(bench, calls):
    schedule_many(bench, 30, body="x" * 100 * 1024)

    assert sorted(await leased_together(bench, calls, 30)) == [5] * 6


async def test_a_payload_above_the_bound_is_claimed_alone(bench, calls):
    schedule_many(bench, 3, body="x" * 1200 * 1024)

    assert sorted(await leased_together(bench, calls, 3)) == [1, 1, 1]


# --- polls -------------------------------------------------------------------------------


async def test_without_a_wake_up_a_timer_is_found_by_polling(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic, max_polling_interval=0.1)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with delivering(broker):
        bench.home.plant(bench.topic, "1", bench.home.now().timestamp(), b"payload")
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]


async def test_a_timer_is_never_early(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic, max_concurrent=20)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    for n in range(20):
        bench.schedule(f"{n}", activate_in=timedelta(seconds=0.1 + n * 0.02))
    async with delivering(broker):
        await until_drained(bench)

    assert len(open_calls.ids) == 20
    assert all(message.lateness >= 0 for message in open_calls.messages)
    assert not any(message.redelivered for message in open_calls.messages)


# --- leases that end before a handler begins ---------------------------------------------


async def test_a_handler_is_not_begun_when_its_lease_has_ended(bench, open_calls):
    broker = bench.broker()
    begun = []

    # No dependencies: FastDepends would begin to look for those of all three first.
    @broker.subscriber(bench.topic, lease_ttl=0.5, max_concurrent=3)
    async def handle(body: str):
        begun.append((body, bench.score(body) - bench.home.now().timestamp()))
        if len(begun) == 1:
            time.sleep(0.8)  # noqa: ASYNC251  it blocks the loop, as a careless handler does

    for timer_id in ("1", "2", "3"):
        bench.schedule(timer_id, timer_id)
    async with delivering(broker):
        await until_drained(bench)

    assert sorted(timer_id for timer_id, _ in begun) == ["1", "2", "3"]
    # Those that were claimed with the first one came later, under another lease.
    assert all(remaining > 0 for _, remaining in begun)


async def test_handlers_that_share_a_broker_do_not_share_slots(bench, calls, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic, max_concurrent=1)
    async def blocked(message: TimerMessage):
        await calls.hold(message)

    @broker.subscriber("other", max_concurrent=1)
    async def free(message: TimerMessage):
        open_calls.note(message)

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        for n in range(5):
            bench.client.schedule("x", "other", timer_id=f"{n}")
        await open_calls.until(5)
        calls.gate.set()
        await until_drained(bench)
