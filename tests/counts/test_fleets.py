"""Fleets: what a timer costs that many workers wait for."""

from datetime import timedelta

import budgets
import pytest
from counting import until_asleep
from fleets import WORKERS, fleet_of
from waiting import wait_until_async

from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.delivery.duty import Duty

TIMERS = 20


@pytest.fixture(autouse=True)
def event_loop_is_trusted(monkeypatch):
    """A busy machine stops the event loop, which all workers share, as a handler would."""
    monkeypatch.setattr(Duty, "STALL", 3600.0)
    monkeypatch.setattr(Duty, "LEFT", 3600.0)


async def deliver(bench, meter, fleet, calls):
    """Deliver some timers, one after the other, and tell what that took."""
    begun = len(calls.ids)
    now = bench.home.now()
    for n in range(TIMERS):
        bench.schedule(f"{n}", activate_at=now + timedelta(seconds=0.5 + 0.05 * n))
    await until_asleep(fleet.brokers, at_least=0.01)
    meter.reset()
    await calls.until(begun + TIMERS)
    await until_asleep(fleet.brokers)
    return meter.read()


def changes_in(traffic):
    """Give how often workers have changed their posts or called others, by command."""
    commands = ("subscribe", "unsubscribe", "publish")
    return {name: traffic.calls[name] for name in commands if name in traffic.calls}


async def test_those_on_duty_claim_a_timer_and_stay_there(bench, meter, calls):
    async def handle(message: TimerMessage):
        await calls.hold(message)

    # However late a busy machine is, nobody is full.
    async with fleet_of(bench, handle, max_concurrent=TIMERS + 1) as fleet:
        # All of them have work once, and show that their handlers let the event loop turn.
        slots = WORKERS * (TIMERS + 1)
        bench.client.schedule_batch(["x"] * slots, bench.topic)
        await calls.until(slots)
        calls.gate.set()
        await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0)
        await fleet.thin_out()
        traffic = await deliver(bench, meter, fleet, calls)
        counted = fleet.counted()

    assert traffic.scripts <= TIMERS * budgets.FLEET
    # In one assertion: both tell who has left.
    assert (changes_in(traffic), counted) == ({}, (3, WORKERS - 3, WORKERS))


@pytest.mark.parametrize("duty", [None, 3])
async def test_up_to_eight_workers_all_claim_a_timer(bench, meter, open_calls, duty):
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with fleet_of(bench, handle, (None,) * 7, duty) as fleet:
        await fleet.deliver_one()
        traffic = await deliver(bench, meter, fleet, open_calls)

        assert fleet.counted()[0] == len(fleet.brokers)

    assert traffic.scripts <= TIMERS * budgets.HERD
    assert changes_in(traffic) == {}
