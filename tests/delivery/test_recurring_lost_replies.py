"""Recurring timers committed first, where calls are lost: none starts under an ended lease.

Another worker may have run the same occurrence, and moved the timer to the very time that the
first one asks for.
"""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from bench import delivering
from faststream import AckPolicy
from waiting import wait_until_async

from faststream_redis_timers import Every
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.subscriber import usecase
from faststream_redis_timers.subscriber.acknowledgement import handle_and_settle

LEASE = 1.0


def subscribe(bench, calls, url=None, policy=AckPolicy.ACK_FIRST):
    broker = bench.broker(url)

    @broker.subscriber(bench.topic, ack_policy=policy, lease_ttl=LEASE, max_polling_interval=0.05)
    async def handle(message: TimerMessage):
        calls.note(message)

    return broker


def schedule(bench):
    """Schedule a timer that is due now, and next in half an hour."""
    repeat = Every(hours=1, start=datetime.now(UTC) + timedelta(minutes=30))
    bench.schedule("1", repeat=repeat)
    bench.client.reschedule_timer(bench.topic, "1", activate_in=timedelta(0))
    return repeat


def lose_the_first(monkeypatch, lose):
    """Lose the first commit of any broker."""
    is_lost = []

    async def lose_the_commit(*args, **kwargs):
        if not is_lost:
            is_lost.append(True)
            lose()
        return await handle_and_settle(*args, **kwargs)

    monkeypatch.setattr(usecase, "handle_and_settle", lose_the_commit)


async def test_with_its_answer_lost_its_handler_is_called_once(
    bench, relay, open_calls, monkeypatch
):
    lose_the_first(monkeypatch, relay.lose_reply)
    repeat = schedule(bench)
    async with delivering(subscribe(bench, open_calls, relay.url)):
        await open_calls.until(1)

    assert open_calls.ids == ["1"]
    assert bench.client.get_timer(bench.topic, "1").due_at == repeat.start
    assert relay.count("EVALSHA", "EVAL") >= 3
    bench.client.cancel_timer(bench.topic, "1")


@pytest.mark.parametrize("lost", ["request", "reply"])
async def test_when_its_lease_has_ended_meanwhile_its_handler_is_not_called(
    bench, relay, open_calls, monkeypatch, lost
):
    def lose():
        getattr(relay, f"lose_{lost}")()
        relay.on_loss = relay.refuse

    lose_the_first(monkeypatch, lose)
    repeat = schedule(bench)
    async with delivering(subscribe(bench, open_calls, relay.url)):
        await wait_until_async(lambda: relay.all_lost and bench.log.at(logging.ERROR))
        if lost == "request":
            # Another worker runs it under its own lease.
            async with delivering(subscribe(bench, open_calls)):
                await open_calls.until(1)
        else:
            lease_ends = bench.redis.time()[0] + LEASE + 1
            await wait_until_async(lambda: bench.redis.time()[0] > lease_ends)
        assert bench.client.get_timer(bench.topic, "1").due_at == repeat.start
        relay.accept()
        first = "could not be committed first, so its handler is not called"
        await wait_until_async(lambda: any(first in line for line in bench.log.lines))

    assert open_calls.ids == (["1"] if lost == "request" else [])
    assert bench.client.get_timer(bench.topic, "1").due_at == repeat.start
    bench.client.cancel_timer(bench.topic, "1")


async def test_cancelled_after_it_was_committed_first_its_handler_is_not_called(
    bench, relay, open_calls, monkeypatch
):
    def lose():
        relay.lose_reply()
        relay.on_loss = lambda: bench.client.cancel_timer(bench.topic, "1")

    lose_the_first(monkeypatch, lose)
    schedule(bench)
    async with delivering(subscribe(bench, open_calls, relay.url)):
        await wait_until_async(
            lambda: any("could not be committed first" in line for line in bench.log.lines)
        )

    assert open_calls.ids == []
    assert bench.is_gone("1")
