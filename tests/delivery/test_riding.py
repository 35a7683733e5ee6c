"""Settlements that wait for the next claim, and those that do not.

A settlement waits for milliseconds only. Here it may wait for hours, so that what
ends its wait is no matter of time.
"""

from datetime import timedelta

import pytest
from bench import NO_POLLS, delivering
from faststream import AckPolicy

from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.subscriber import loop

LIMIT, SETTLEMENTS = 6, 10
"""Where a script call has its limit (0: it claims nothing), and its settlements."""


@pytest.fixture(autouse=True)
def long_ride(monkeypatch):
    monkeypatch.setattr(loop, "RIDE", 2 * 3600.0)


@pytest.fixture
async def worker(bench, relay, open_calls):
    """Give a function that starts a worker; one timer is due at once, and one in an hour."""
    bench.schedule("later", activate_in=timedelta(hours=1))
    bench.schedule("first")

    def start(handle, **options):
        broker = bench.broker(relay.url)
        broker.subscriber(bench.topic, **NO_POLLS, **options)(handle)
        return delivering(broker)

    return start


def calls_that_only_settle(relay):
    steps = [command for command in relay.commands if command[0] == b"EVALSHA"]
    return sum(step[LIMIT] == b"0" and len(step) > SETTLEMENTS for step in steps)


async def test_a_commit_rides_with_the_next_claim(bench, relay, open_calls, worker):
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with worker(handle):
        await open_calls.until(1)
        bench.schedule("second")
        await open_calls.until(2)
        await bench.until_gone("first")

        assert calls_that_only_settle(relay) == 0
        assert bench.is_leased("second")
    assert open_calls.ids == ["first", "second"]


@pytest.mark.parametrize("policy", [AckPolicy.MANUAL, AckPolicy.ACK_FIRST])
async def test_a_settlement_that_a_handler_waits_for_does_not_ride(
    bench, open_calls, worker, policy
):
    async def handle(message: TimerMessage):
        await message.ack()
        open_calls.note(message, bench.is_gone(message.timer_id))

    async with worker(handle, ack_policy=policy):
        await open_calls.until(1)

    assert open_calls.bodies == [("first", True)]


async def test_a_stop_sends_what_waits_for_a_ride(bench, open_calls, worker):
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with worker(handle):
        await open_calls.until(1)

    assert bench.is_gone("first")
    assert not bench.is_gone("later")
