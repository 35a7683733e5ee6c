"""Waiting: what workers send while nothing is due, and when a timer comes."""

import asyncio
import math
import random
from datetime import timedelta

import budgets
import pytest
from bench import HOUR, NO_POLLS, delivering
from counting import look_once_more, until_asleep
from inside import loops_of, schedule_of
from waiting import wait_until_async

from faststream_redis_timers.calls import listener
from faststream_redis_timers.clock import monotonic
from faststream_redis_timers.delivery.schedule import PollSchedule
from faststream_redis_timers.schemas import MAX_POLLING_INTERVAL, POLLING_INTERVAL
from faststream_redis_timers.subscriber import loop

SECOND = timedelta(seconds=1)


def waiting(bench, calls, client=None, **options):
    """Make a broker whose worker notes its calls."""
    broker = bench.broker(client)

    @broker.subscriber(bench.topic, **options)
    async def handle(body: str):
        calls.bodies.append((body, None))

    return broker


# --- a timer comes -----------------------------------------------------------------------


async def test_a_timer_that_is_waited_for_costs_its_claim_and_commit(bench, meter, open_calls):
    async with delivering(waiting(bench, open_calls, **NO_POLLS)) as broker:
        await look_once_more([broker])
        bench.schedule("1", "1", activate_in=SECOND)
        meter.reset()
        await open_calls.until(1)
        await until_asleep([broker])
        traffic = meter.read()

    assert traffic.sent() <= budgets.CLAIM_AND_COMMIT + budgets.EARLY_CLAIM


async def test_a_broker_looks_for_the_other_layout_once(bench, own_relay, open_calls):
    # Scripts ask for a key with EXISTS, too, and the server counts both.
    broker = waiting(bench, open_calls, own_relay.url)
    broker.subscriber("other")(print)
    before = own_relay.count("EXISTS")
    async with delivering(broker):
        for n in range(5):
            await broker.publish("x", bench.topic, timer_id=f"{n}")
        await open_calls.until(5)
        await until_asleep([broker])

    assert own_relay.count("EXISTS") - before == budgets.LAYOUT


async def test_ten_idle_workers_claim_a_timer_once_and_do_not_stampede(bench, meter, open_calls):
    workers = [waiting(bench, open_calls, **NO_POLLS) for _ in range(10)]
    await asyncio.gather(*(worker.start() for worker in workers))
    await look_once_more(workers)
    bench.schedule("1", "1", activate_in=SECOND)
    meter.reset()
    await open_calls.until(1)
    await asyncio.sleep(1)
    traffic = meter.read()

    assert open_calls.ids == ["1"]
    assert traffic.scripts <= budgets.HERD


async def test_a_wake_up_sets_the_alarm_and_asks_for_nothing(bench, meter, open_calls):
    workers = [waiting(bench, open_calls, **NO_POLLS) for _ in range(10)]
    await asyncio.gather(*(worker.start() for worker in workers))
    await until_asleep(workers)
    schedules = [schedule_of(loop) for worker in workers for loop in loops_of(worker)]
    bench.schedule("1", "1", activate_in=HOUR)
    meter.reset()
    await wait_until_async(lambda: all(schedule.alarm_at < math.inf for schedule in schedules))
    await until_asleep(workers)
    traffic = meter.read()
    bench.client.cancel_all(bench.topic)

    assert traffic.sent() == budgets.WAKE_UP


# --- nothing comes -----------------------------------------------------------------------

FASTER = 100
"""For tests that pass two minutes in 1.2 seconds. The loops compare times with the clock and
nothing else, so what they send in a time is what they send in 100 times that, 100 times slower."""


@pytest.mark.parametrize(
    ("subscribers", "budget"),
    [(1, budgets.IDLE_PER_SECOND), (10, budgets.IDLE_PER_SECOND_BY_TEN)],
)
async def test_idle_subscribers_send_what_the_schedule_says(
    bench, meter, monkeypatch, subscribers, budget
):
    # Pauses of average length, so that their sum does not depend on luck.
    draws = loop.RANDOM_DRAWS._replace(spread=lambda: 0.5)
    monkeypatch.setattr(loop, "RANDOM_DRAWS", draws)
    monkeypatch.setattr(listener, "PING_INTERVAL", listener.PING_INTERVAL / FASTER)
    pause = MAX_POLLING_INTERVAL / FASTER
    broker = bench.broker()

    async def handle(body: str): ...

    for n in range(subscribers):
        topic = f"topic-{n}"
        broker.subscriber(topic, polling_interval=pause, max_polling_interval=pause)(handle)
        # One that waits makes no difference.
        bench.client.schedule("x", topic, activate_in=HOUR)
    async with delivering(broker):
        await until_asleep([broker], at_least=0)
        started_at = monotonic()
        meter.reset()
        await asyncio.sleep(120 / FASTER)
        traffic = meter.read()
        passed = FASTER * (monotonic() - started_at)
    for n in range(subscribers):
        bench.client.cancel_all(f"topic-{n}")

    assert traffic.scripts >= subscribers
    assert traffic.sent("ping") >= 1
    assert traffic.sent() <= budget * passed


def polls(seconds, jitter, *, is_settled):
    """Count the polls of an idle subscriber with the default options in simulated time."""
    schedule = PollSchedule(POLLING_INTERVAL, MAX_POLLING_INTERVAL, jitter=jitter)
    if is_settled:
        for _ in range(10):
            schedule.found_nothing(0.0, math.inf)
    else:
        schedule.found(0.0, math.inf)
    count = 0
    while schedule.next_at <= seconds:
        count += 1
        schedule.found_nothing(schedule.next_at, math.inf)
    return count


def test_a_subscriber_with_default_options_polls_seldom_on_average():
    rng = random.Random(1)
    average = polls(100 * 3600, rng.random, is_settled=True) / (100 * 3600)

    assert average + 1 / listener.PING_INTERVAL <= budgets.IDLE_PER_SECOND
    assert 10 * average + 1 / listener.PING_INTERVAL <= budgets.IDLE_PER_SECOND_BY_TEN


def test_polls_in_the_minute_after_a_timer():
    shortest = polls(60, lambda: 0.0, is_settled=False)
    middle = polls(60, lambda: 0.5, is_settled=False)

    assert shortest <= budgets.MINUTE_AFTER_A_TIMER_AT_WORST
    assert middle <= budgets.MINUTE_AFTER_A_TIMER


async def test_an_idle_worker_polls_less_and_less(bench, meter, open_calls):
    started_at = monotonic()
    async with delivering(waiting(bench, open_calls)):
        await asyncio.sleep(1.0)
        traffic = meter.read()
        passed = monotonic() - started_at

    # Each pause is at least half of twice the one before it: 0.025 s, 0.05 s, ...
    assert 1 <= traffic.sent() <= budgets.START + math.log2(passed / (POLLING_INTERVAL / 2) + 1)
