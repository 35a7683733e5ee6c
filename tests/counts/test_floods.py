"""Floods of wake-ups: what thousands of timers scheduled for now cost a worker."""

import asyncio

import budgets
from bench import NO_POLLS, delivering
from counting import until_asleep
from inside import loops_of
from waiting import wait_until_async

from faststream_redis_timers.delivery.schedule import FloodGap


def waiting(bench, calls):
    """Make a broker whose worker notes its calls."""
    broker = bench.broker(logger=None)

    @broker.subscriber(bench.topic, max_concurrent=100, **NO_POLLS)
    async def handle(body: str):
        calls.bodies.append((body, None))

    return broker


async def test_a_timer_scheduled_for_now_costs_a_claim_and_a_commit(bench, meter, open_calls):
    async with delivering(waiting(bench, open_calls)) as broker:
        await until_asleep([broker])
        meter.reset()
        for n in range(50):
            await broker.publish(f"{n}", bench.topic, timer_id=f"{n}")
            while bench.score(f"{n}") is not None:  # noqa: ASYNC110  no event tells
                await asyncio.sleep(0)
        traffic = meter.read()

    assert len(open_calls.ids) == 50
    assert traffic.scripts - 50 * budgets.OPERATION <= 50 * budgets.AT_ONCE


async def test_thousands_scheduled_for_now_cost_no_more_each(bench, meter, open_calls):
    ids = [f"{n}" for n in range(3000)]
    async with delivering(waiting(bench, open_calls)) as broker:
        await until_asleep([broker])
        meter.reset()
        for start in range(0, 3000, 50):
            some = ids[start : start + 50]
            await asyncio.gather(*(broker.publish(id_, bench.topic, timer_id=id_) for id_ in some))
        await open_calls.until(3000, timeout=60)
    traffic = meter.read()

    assert bench.client.count_pending(bench.topic) == 0
    assert open_calls.counts == dict.fromkeys(ids, 1)
    assert traffic.scripts - 3000 * budgets.OPERATION <= 3000 * budgets.AT_ONCE


async def test_in_a_flood_timers_share_their_claims_and_commits(
    bench, meter, open_calls, monkeypatch
):
    # So that slow machines have one too.
    monkeypatch.setattr(FloodGap, "FLOOD", 50.0)
    async with delivering(waiting(bench, open_calls)) as broker:
        await until_asleep([broker])
        meter.reset()
        for n in range(1000):
            await broker.publish(f"{n}", bench.topic, timer_id=f"{n}")
        await open_calls.until(1000, timeout=60)
        traffic = meter.read()

    assert traffic.scripts - 1000 * budgets.OPERATION <= 1000 * budgets.IN_A_FLOOD


async def test_wake_ups_are_not_read_while_all_handlers_are_busy(bench, meter, calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic, max_concurrent=1, **NO_POLLS)
    async def handle(body: str):
        calls.bodies.append((body, None))
        await calls.gate.wait()

    def publish_wakeups(count):
        now = f"{bench.home.now().timestamp():.6f}"
        with bench.redis.pipeline(transaction=False) as pipeline:
            for _ in range(count):
                pipeline.publish(bench.timeline, f"{now} {now}")
            pipeline.execute()

    async with delivering(broker):
        await until_asleep([broker])
        (loop,) = loops_of(broker)
        heard = []
        wake = loop.wake
        loop.wake = lambda *times: (heard.append(times), wake(*times))
        bench.schedule("1", "1")
        await calls.until(1)
        heard.clear()
        publish_wakeups(1000)
        # A client that waits for a reply on another connection gets none before the wake-ups
        # have arrived, and their reader has had a turn.
        for _ in range(50):
            await broker.has_pending(bench.topic, "1")
        assert len(heard) <= budgets.READ_WHILE_BUSY

        meter.reset()
        calls.gate.set()
        await until_asleep([broker])
        await wait_until_async(lambda: len(heard) >= 1000)
        traffic = meter.read()

    # All of them were older than the look that went along with the commit.
    assert traffic.sent() <= budgets.DRAIN_ONE_BY_ONE
