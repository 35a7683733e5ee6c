"""Time travel with freezegun and fakeredis: a timer 30 days away fires when the clock is moved.

fakeredis's TIME follows freezegun, inside of Lua too. `time.monotonic` is frozen as well,
so deadlines here are those of the event loop, which stays real. So does the worker's own
clock: it sees a moved clock at its next poll, which `max_polling_interval` keeps near.
"""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import fakeredis
import freezegun
import pytest

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.subscriber import loop
from faststream_redis_timers_sync.protocol.times import is_lease

TOPIC = "invoices"
START = datetime(2030, 1, 1, 12, tzinfo=UTC)
MONTH = timedelta(days=30)


@pytest.fixture
def freezer():
    with freezegun.freeze_time(START, real_asyncio=True) as freezer:
        yield freezer


@pytest.fixture
async def client(freezer):
    async with fakeredis.FakeAsyncRedis() as client:
        yield client


@pytest.fixture
async def broker(client, inbox):
    """A broker on fakeredis that notes what it delivers."""
    broker = TimersBroker(client)

    @broker.subscriber(TOPIC, max_polling_interval=0.05)
    async def handle(body: str, message: TimerMessage) -> None:
        inbox.put((body, message.due_at, message.lateness, datetime.now(UTC)))

    async with broker:
        yield broker


async def until(condition):
    """Wait for a condition with a deadline that is real."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110  as in waiting.py, whose clock is frozen here
            await asyncio.sleep(0.005)


async def test_the_servers_clock_follows(client, freezer):
    assert (await client.time())[0] == START.timestamp()
    freezer.move_to(START + MONTH)
    assert (await client.time())[0] == (START + MONTH).timestamp()


@pytest.mark.parametrize("how", ["tick", "move_to"])
async def test_a_timer_a_month_away_fires_when_the_clock_is_moved(broker, freezer, inbox, how):
    await broker.publish("x", TOPIC, activate_in=MONTH)

    if how == "tick":
        freezer.tick(MONTH)
    else:
        freezer.move_to(START + MONTH)

    assert await inbox.get() == ("x", START + MONTH, 0.0, START + MONTH)


async def test_a_time_works_like_a_delay(broker, freezer, inbox):
    await broker.publish("x", TOPIC, activate_at=START + MONTH)

    freezer.move_to(START + MONTH + timedelta(hours=1))

    assert await inbox.get() == ("x", START + MONTH, 3600.0, START + MONTH + timedelta(hours=1))


async def test_it_fires_neither_before_nor_twice(broker, freezer, inbox):
    await broker.publish("x", TOPIC, timer_id="42", activate_in=MONTH)
    await broker.publish("marker", TOPIC, activate_in=MONTH - timedelta(microseconds=1))
    freezer.move_to(START + MONTH - timedelta(microseconds=1))

    assert (await inbox.get())[0] == "marker"
    assert await broker.has_pending(TOPIC, "42")
    assert inbox.rest() == []

    freezer.tick(timedelta(microseconds=1))
    assert (await inbox.get())[0] == "x"
    freezer.tick(MONTH)
    await broker.publish("end", TOPIC)
    assert (await inbox.get())[0] == "end"
    assert inbox.rest() == []


async def test_a_timer_that_is_due_now_needs_no_move(broker, inbox):
    await broker.publish("x", TOPIC)

    assert await inbox.get() == ("x", START, 0.0, START)


async def test_a_timer_some_milliseconds_away_waits_for_the_clock(broker, freezer, inbox):
    # Near enough for the worker to wait actively: that must not block the loop.
    await broker.publish("x", TOPIC, timer_id="42", activate_in=timedelta(milliseconds=3))

    assert await broker.has_pending(TOPIC, "42")
    freezer.tick(timedelta(milliseconds=3))

    assert (await inbox.get())[0] == "x"


async def test_timers_fire_in_order_of_their_due_times(broker, freezer, inbox):
    for days in (3, 1, 2):
        await broker.publish(str(days), TOPIC, activate_in=timedelta(days=days))

    for days in (1, 2, 3):
        freezer.move_to(START + timedelta(days=days))
        assert (await inbox.get())[0] == str(days)


async def test_a_cancelled_or_moved_timer_fires_as_it_then_should(broker, freezer, inbox):
    await broker.publish("cancelled", TOPIC, timer_id="1", activate_in=MONTH)
    await broker.publish("moved", TOPIC, timer_id="2", activate_in=MONTH)
    assert await broker.cancel_timer(TOPIC, "1") is True
    assert await broker.reschedule_timer(TOPIC, "2", activate_in=2 * MONTH) is True
    await broker.publish("marker", TOPIC, activate_in=MONTH)

    freezer.tick(MONTH)
    assert (await inbox.get())[0] == "marker"
    freezer.tick(MONTH)
    assert (await inbox.get())[0] == "moved"
    assert inbox.rest() == []


async def test_a_failed_timer_is_retried_after_its_lease(client, freezer, inbox):
    broker = TimersBroker(client, logger=None)

    @broker.subscriber(TOPIC, lease_ttl=30, max_polling_interval=0.05)
    async def handle(body: str) -> None:
        inbox.put(body)
        raise ZeroDivisionError

    async def waits_again():
        return not (await broker.get_timer(TOPIC, "42")).running

    async with broker:
        await broker.publish("x", TOPIC, timer_id="42")
        assert await inbox.get() == "x"
        # Once it waits again it is no longer running, and due when its lease would have ended.
        await until(waits_again)
        assert inbox.rest() == []

        freezer.tick(timedelta(seconds=31))
        assert await inbox.get() == "x"


async def test_leases_differ_under_a_frozen_clock(client, freezer, inbox):
    broker = TimersBroker(client)
    gate = asyncio.Event()

    @broker.subscriber(TOPIC, max_concurrent=100)
    async def handle(body: int) -> None:
        inbox.put(await client.zscore(f"timers_timeline:{TOPIC}", str(body)))
        await gate.wait()

    leases = []
    async with broker:
        for number in range(20):
            # One claim each: the next is scheduled once this one runs.
            await broker.publish(number, TOPIC, timer_id=str(number))
            leases.append(await inbox.get())
        gate.set()

    assert all(is_lease(lease) for lease in leases)
    # They are spread over 10,000 microseconds at random; without that all were the same.
    assert len(set(leases)) > 10


async def test_a_timer_scheduled_again_under_a_frozen_clock_survives_the_old_commit(
    client, freezer, inbox, monkeypatch
):
    """The fence is the lease: were the two equal, the old handler would commit both."""
    # At random two are equal once in 10,000 times.
    spread = itertools.count()
    monkeypatch.setattr(loop.random, "randrange", lambda _: next(spread))
    broker = TimersBroker(client)
    gates = [asyncio.Event(), asyncio.Event()]

    @broker.subscriber(TOPIC, max_polling_interval=0.05)
    async def handle(body: int) -> None:
        inbox.put((body, asyncio.current_task()))
        await gates[body].wait()

    async def none_pending():
        return not await broker.has_pending(TOPIC, "42")

    async with broker:
        await broker.publish(0, TOPIC, timer_id="42")
        _, old = await inbox.get()
        await broker.publish(1, TOPIC, timer_id="42")
        assert (await inbox.get())[0] == 1
        gates[0].set()
        # The delivery of a timer ends when its commit has been answered.
        await asyncio.wait({old}, timeout=10)

        assert old.done()
        assert not await none_pending()
        gates[1].set()
        await until(none_pending)
