"""Settlements that wait for the next claim, and those that do not.

A settlement waits for milliseconds only. Here it may wait for hours, so that what
ends its wait does not depend on time.
"""

from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from bench import NO_POLLS, delivering, until_idle
from faststream import AckPolicy

from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.delivery import core

LIMIT, SETTLEMENTS = 6, 10
"""Where a script call has its limit (0: it claims nothing), and its settlements."""


@pytest.fixture(autouse=True)
def long_ride(monkeypatch):
    monkeypatch.setattr(core, "RIDE", 2 * 3600.0)


@asynccontextmanager
async def idle_worker(bench, relay, handle, **options):
    """Start a worker that has nothing to do for an hour."""
    bench.schedule("later", activate_in=timedelta(hours=1))
    broker = bench.broker(relay.url)
    broker.subscriber(bench.topic, **NO_POLLS, **options)(handle)
    async with delivering(broker):
        await until_idle(bench, relay)
        yield


def calls_that_only_settle(relay):
    steps = [command for command in relay.commands if command[0] == b"EVALSHA"]
    return sum(step[LIMIT] == b"0" and len(step) > SETTLEMENTS for step in steps)


async def test_a_commit_rides_with_the_next_claim(bench, relay, open_calls):
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with idle_worker(bench, relay, handle):
        bench.schedule("first")
        await open_calls.until(1)
        bench.schedule("second")
        await open_calls.until(2)
        await bench.until_gone("first")

        assert calls_that_only_settle(relay) == 0
        assert bench.is_leased("second")
    assert open_calls.ids == ["first", "second"]


@pytest.mark.parametrize("policy", [AckPolicy.MANUAL, AckPolicy.ACK_FIRST])
async def test_a_settlement_that_a_handler_waits_for_does_not_ride(
    bench, relay, open_calls, policy
):
    async def handle(message: TimerMessage):
        await message.ack()
        open_calls.note(message, bench.is_gone(message.timer_id))

    async with idle_worker(bench, relay, handle, ack_policy=policy):
        bench.schedule("first")
        await open_calls.until(1)

    assert open_calls.bodies == [("first", True)]


async def test_a_stop_sends_what_waits_for_a_ride(bench, relay, open_calls):
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with idle_worker(bench, relay, handle):
        bench.schedule("first")
        await open_calls.until(1)

    assert bench.is_gone("first")
    assert not bench.is_gone("later")
