"""What single operations and batches cost, on both front ends."""

import asyncio
import gc
import tracemalloc
from datetime import UTC, datetime

import budgets
import pytest
import redis.asyncio
from bench import HOUR
from front_ends import async_front_end, blocking_front_end

from faststream_redis_timers_sync import Every, TimerPublishMessage, TimersClient

TOPIC = "invoices"


@pytest.fixture(params=[blocking_front_end, async_front_end], ids=["blocking", "async"])
async def front_end(request, bench):
    """A front end that is connected."""
    async with request.param(bench.home) as front_end:
        await front_end.count_pending(TOPIC)
        yield front_end


def named(count):
    return [TimerPublishMessage("x", timer_id=f"{n}") for n in range(count)]


OPERATIONS = {
    "schedule": lambda front_end: front_end.schedule("x", TOPIC, activate_in=HOUR),
    "schedule, keep": lambda front_end: front_end.schedule(
        "x", TOPIC, timer_id="0", if_exists="keep"
    ),
    "schedule 100": lambda front_end: front_end.schedule_batch(named(100), TOPIC, activate_in=HOUR),
    "schedule 200": lambda front_end: front_end.schedule_batch(named(200), TOPIC, activate_in=HOUR),
    "move": lambda front_end: front_end.reschedule_timer(TOPIC, "0", activate_in=2 * HOUR),
    "cancel": lambda front_end: front_end.cancel_timer(TOPIC, "0"),
    "cancel 200": lambda front_end: front_end.cancel_timers(TOPIC, [f"{n}" for n in range(200)]),
    "cancel all": lambda front_end: front_end.cancel_all(TOPIC),
    "has": lambda front_end: front_end.has_pending(TOPIC, "0"),
    "get": lambda front_end: front_end.get_timer(TOPIC, "0"),
    "count": lambda front_end: front_end.count_pending(TOPIC),
    "pause": lambda front_end: front_end.pause_timer(TOPIC, "unknown"),
}

DAILY = Every(days=1, start=datetime(2050, 1, 1, tzinfo=UTC))

RECURRING = {
    "schedule": lambda front_end: front_end.schedule("x", TOPIC, timer_id="0", repeat=DAILY),
    "schedule 50": lambda front_end: front_end.schedule_batch(named(50), TOPIC, repeat=DAILY),
    "schedule 200": lambda front_end: front_end.schedule_batch(named(200), TOPIC, repeat=DAILY),
}

LARGE = {"schedule 100", "schedule 200"}
"""What is larger than the 16 KiB that the server reads at once."""


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_is_one_command_and_one_round_trip(bench, meter, front_end, name):
    bench.client.schedule_batch(named(10), TOPIC, activate_in=HOUR)
    operation = OPERATIONS[name]
    await operation(front_end)
    meter.reset()
    await operation(front_end)
    traffic = meter.read()
    await front_end.cancel_all(TOPIC)

    assert traffic.sent() == traffic.sent("evalsha") == budgets.OPERATION
    # No command of another name, nor one that is sent in two pieces.
    assert traffic.reads == budgets.OPERATION or name in LARGE
    assert traffic.connections == 0


@pytest.mark.parametrize("name", RECURRING)
async def test_scheduling_recurring_timers_takes_the_server_s_time_once(
    bench, meter, front_end, name
):
    operation = RECURRING[name]
    await operation(front_end)
    meter.reset()
    await operation(front_end)
    traffic = meter.read()
    await front_end.cancel_all(TOPIC)

    # The script asks for the time too, and so it is the round trips that tell of TIME.
    assert traffic.sent() == traffic.sent("evalsha") == 1
    assert traffic.reads == budgets.RECURRING or name in LARGE
    assert traffic.connections == 0


async def test_resuming_reads_asks_for_the_time_and_writes(bench, meter, front_end):
    bench.client.schedule("x", TOPIC, timer_id="0", repeat=DAILY)
    await front_end.pause_timer(TOPIC, "0")
    await front_end.resume_timer(TOPIC, "0")
    await front_end.pause_timer(TOPIC, "0")
    meter.reset()
    assert await front_end.resume_timer(TOPIC, "0")
    traffic = meter.read()
    await front_end.cancel_all(TOPIC)

    assert traffic.sent() == traffic.sent("evalsha") == 2
    assert traffic.reads == budgets.RESUMED
    assert traffic.connections == 0


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_script_that_the_server_does_not_know_costs_one_more(bench, meter, front_end, name):
    bench.redis.script_flush()
    meter.reset()
    await OPERATIONS[name](front_end)
    traffic = meter.read()
    await front_end.cancel_all(TOPIC)

    assert traffic.sent() == budgets.FIRST_OPERATION


async def test_a_publisher_of_the_broker_costs_what_the_broker_does(bench, meter):
    broker = bench.broker()
    publisher = broker.publisher(TOPIC, activate_in=HOUR)
    await broker.connect()
    await publisher.publish("x")
    meter.reset()
    await publisher.publish("x")
    traffic = meter.read()
    await broker.cancel_all(TOPIC)

    assert traffic.sent() == traffic.reads == budgets.OPERATION


# --- many at once ------------------------------------------------------------------------
POOLS = {
    "full pools raise": redis.asyncio.ConnectionPool,
    "full pools wait": redis.asyncio.BlockingConnectionPool,
}


@pytest.mark.parametrize("pool_class", POOLS.values(), ids=POOLS)
async def test_fifty_publishes_at_once_are_fifty_commands_on_the_pool_s_connections(
    bench, meter, pool_class
):
    pool = pool_class.from_url(bench.home.server_url, max_connections=4)
    broker = bench.broker(redis.asyncio.Redis(connection_pool=pool))
    await broker.connect()
    await broker.publish("x", TOPIC, activate_in=HOUR)
    meter.reset()
    for _ in range(2):
        await asyncio.gather(*(broker.publish("x", TOPIC, activate_in=HOUR) for _ in range(50)))
    traffic = meter.read()
    assert await broker.cancel_all(TOPIC) == 101
    await pool.disconnect()

    assert traffic.sent() == 2 * 50 * budgets.OPERATION
    # The fourth has been there.
    assert traffic.connections <= 4 - 1


async def test_fifty_blocking_schedules_from_threads_are_fifty_commands(bench, meter):
    with redis.Redis.from_url(bench.home.server_url, max_connections=4) as client:
        timers = TimersClient(client, **bench.home.key_names)
        timers.schedule("x", TOPIC, activate_in=HOUR)

        def schedule():
            for _ in range(5):
                timers.schedule("x", TOPIC, activate_in=HOUR)

        meter.reset()
        await asyncio.gather(*(asyncio.to_thread(schedule) for _ in range(10)))
        traffic = meter.read()
        assert timers.cancel_all(TOPIC) == 51

    assert traffic.sent() == 50 * budgets.OPERATION
    assert traffic.connections <= 4 - 1


# --- many timers -------------------------------------------------------------------------

FAR = 2_000_000_000
"""Unix seconds at which planted timers are due."""


def plant(bench, count):
    keys = bench.home.keys_of(TOPIC)
    ids = [f"{n:05}" for n in range(count)]
    bench.redis.zadd(keys.timeline, {timer_id: FAR + n for n, timer_id in enumerate(ids)})
    bench.redis.hset(keys.payloads, mapping=dict.fromkeys(ids, b"x" * 200))
    return ids


async def test_twenty_thousand_timers_cost_their_pages(bench, meter, front_end):
    ids = plant(bench, 20_000)
    pages = 20_000 // budgets.PAGE

    # The last page is full, so another one is asked for.
    meter.reset()
    assert await front_end.get_pending_timers(TOPIC) == ids
    assert meter.read().sent() <= pages + 1

    meter.reset()
    assert [timer.timer_id async for timer in front_end.iter_timers(TOPIC)] == ids
    assert meter.read().sent() <= budgets.ITERATION * pages + 1

    meter.reset()
    assert await front_end.cancel_timers(TOPIC, ids[:10_000]) == 10_000
    assert meter.read().sent() <= 10_000 // budgets.CHANGED

    meter.reset()
    assert await front_end.cancel_all(TOPIC) == 10_000
    assert meter.read().sent() <= budgets.OPERATION

    meter.reset()
    await front_end.schedule_batch(named(10_000), TOPIC, activate_in=HOUR)
    assert meter.read().sent() <= 10_000 // budgets.CHANGED
    await front_end.cancel_all(TOPIC)


async def test_iterating_holds_a_page_however_many_timers_there_are(bench, front_end):
    async def iterate(count):
        plant(bench, count)
        seen = 0
        gc.collect()
        tracemalloc.start()
        async for _ in front_end.iter_timers(TOPIC):
            seen += 1
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seen == count
        await front_end.cancel_all(TOPIC)
        return peak

    # The first iteration finds nothing at hand of what the interpreter keeps.
    await iterate(500)
    few = await iterate(1000)
    many = await iterate(10_000)

    assert many <= budgets.ITERATION_GROWTH * few
