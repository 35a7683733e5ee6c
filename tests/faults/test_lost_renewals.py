"""Renewals whose connection is cut: the timer stays this worker's, and is delivered once."""

import logging

import pytest
from bench import HOUR, delivering
from lost import Cut
from states import balance, noting, numbers, schedule_all
from waiting import wait_until_async

from faststream_redis_timers.annotations import TimerMessage


@pytest.fixture(params=Cut.PLACES)
def cut(request, bench, relay):
    """Cut the connection of a call to a server that knows the script."""
    bench.home.claim("warm-up")
    return Cut(relay, request.param)


async def test_renewals_that_are_lost_again_and_again_keep_the_lease(
    bench, relay, cut, calls, request
):
    ids = numbers(5)
    tried = 4
    schedule_all(bench, ids)
    other = noting(bench, calls, max_polling_interval=0.05)
    broker = noting(bench, calls, relay.url, lease_ttl=2.0, renew_lease=True)
    async with delivering(broker):
        await calls.until(5)
        # It claims what is due, at once.
        async with delivering(other):
            for _ in range(tried):
                before = earliest_end(calls)
                cut(word=b"renew")
                await wait_until_async(
                    lambda before=before: relay.all_lost and earliest_end(calls) > before
                )
            calls.gate.set()
            await bench.until_gone(*ids)

    found = balance(calls, ids, tried)
    found.report(request, f"reply lost after renewal, {cut.place}")
    assert (found.lost, found.again) == (0, 0)
    assert not any(message.lease_lost for message in calls.messages)
    # A claim may have been lost with it, which is an outage.
    assert bench.log.at(logging.WARNING) == []


def earliest_end(calls):
    return min(message.raw_message.lease_ends_at for message in calls.messages)


async def test_a_renewal_by_hand_that_is_lost_is_repeated_and_holds(bench, relay, cut, calls):
    renewed = []
    broker = bench.broker(relay.url)

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        if message.timer_id == "1":
            cut(word=b"renew")
            renewed.append(await message.renew(3000.0))
        await calls.hold(message)

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        assert relay.all_lost
        assert renewed == [True]
        assert bench.score("1") > bench.home.now().timestamp() + 2900
        calls.gate.set()
        await bench.until_settled(broker)

    assert calls.ids == ["1", "last"]
    # A claim may have been lost with it, which is an outage.
    assert bench.log.at(logging.WARNING) == []


MEANWHILE = {
    "scheduled again": lambda bench: bench.schedule("1", "second", activate_in=HOUR),
    "moved": lambda bench: bench.client.reschedule_timer(bench.topic, "1", activate_in=HOUR),
    "cancelled": lambda bench: bench.client.cancel_timer(bench.topic, "1"),
    "claimed by another": lambda bench: (bench.schedule("1"), bench.home.claim(bench.topic)),
}


@pytest.mark.parametrize("name", MEANWHILE)
async def test_a_renewal_that_is_repeated_leaves_alone_what_came_in_between(
    bench, relay, cut, calls, name
):
    renewed, scores = [], []

    def act():
        MEANWHILE[name](bench)
        scores.append(bench.score("1"))

    broker = bench.broker(relay.url)

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        if message.timer_id == "1":
            relay.on_loss = act
            cut(word=b"renew")
            renewed.append(await message.renew(3000.0))
            assert message.lease_lost
        await calls.hold(message)

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        calls.gate.set()
        await bench.until_settled(broker)

    assert renewed == [False]
    # Neither the renewal nor the commit has touched it.
    assert bench.score("1") == scores[0]
    assert calls.ids == ["1", "last"]
    bench.client.cancel_all(bench.topic)
