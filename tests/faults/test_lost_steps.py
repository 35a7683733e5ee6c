"""Calls of workers whose connection is cut: one claim's worth is leased, nothing done twice."""

import logging
from itertools import cycle

import pytest
from bench import HOUR, delivering
from lost import Cut
from states import balance, noting, numbers, outages, schedule_all
from waiting import wait_until_async

from faststream_redis_timers.annotations import TimerMessage


@pytest.fixture(params=Cut.PLACES)
def cut(request, bench, relay):
    """Cut the connection of a call to a server that knows the script."""
    bench.home.claim("warm-up")
    return Cut(relay, request.param)


def leased(bench):
    return sum(map(bench.is_leased, bench.client.get_pending_timers(bench.topic)))


# --- claims ------------------------------------------------------------------------------


async def test_of_a_claim_that_is_lost_one_s_worth_is_leased_and_redelivered_after_its_lease(
    bench, relay, cut, calls, request
):
    ids = numbers(20)
    schedule_all(bench, ids)
    cut()
    async with delivering(noting(bench, calls, relay.url, lease_ttl=1.5)):
        # It goes on with the others.
        await calls.until(5)
        assert leased(bench) == (10 if cut.executes else 5)
        calls.gate.set()
        await bench.until_gone(*ids)

    found = balance(calls, ids, tried=1)
    found.report(request, f"reply lost after claim, {cut.place}")
    assert (found.lost, found.again) == (0, 0)
    assert len(outages(bench)) == 1


async def test_claims_that_are_lost_one_after_the_other_lease_one_s_worth(
    bench, relay, cut, open_calls
):
    ids = numbers(20)
    schedule_all(bench, ids)
    cut(times=8)
    before = len(relay.commands)
    async with delivering(noting(bench, open_calls, relay.url, lease_ttl=60)):
        await wait_until_async(lambda: relay.all_lost)
        # The first asked for timers, the others only whether the server is there.
        sent = [words[6] for words in relay.commands[before:] if words[0] == b"EVALSHA"]
        assert sent[:8] == [b"5", *[b"0"] * 7]
        rest = 15 if cut.executes else 20
        await open_calls.until(rest)
        await bench.until_gone(*open_calls.ids)

    assert leased(bench) == 20 - rest
    bench.client.cancel_all(bench.topic)


# --- settlements -------------------------------------------------------------------------

MEANWHILE = {
    "nothing": (lambda bench: None, None),
    "scheduled again": (lambda bench: bench.schedule("1", "second", activate_in=HOUR), "second"),
    "moved": (
        lambda bench: bench.client.reschedule_timer(bench.topic, "1", activate_in=HOUR),
        "first",
    ),
    "cancelled": (lambda bench: bench.client.cancel_timer(bench.topic, "1"), None),
}


@pytest.mark.parametrize("name", MEANWHILE)
async def test_a_commit_that_is_repeated_leaves_alone_what_came_in_between(
    bench, relay, cut, calls, name, request
):
    act, body = MEANWHILE[name]
    bench.schedule("1")
    async with delivering(noting(bench, calls, relay.url)) as broker:
        await calls.until(1)
        relay.on_loss = lambda: act(bench)
        cut(word=b"commit")
        calls.gate.set()
        await wait_until_async(lambda: relay.all_lost)
        await bench.until_settled(broker)

    balance(calls, ["1"], tried=1).report(request, f"reply lost after commit, {cut.place}")
    # A move finds no timer where the commit has been executed.
    is_there = body is not None and not (name == "moved" and cut.executes)
    timer = bench.client.get_timer(bench.topic, "1")
    assert (timer is not None) is is_there
    assert not is_there or (timer.decode(), timer.running) == (body, False)
    assert calls.ids == ["1", "last"]
    # A claim may have been lost with it, which is an outage.
    assert bench.log.at(logging.WARNING) == []
    bench.client.cancel_all(bench.topic)


async def test_a_commit_that_is_repeated_leaves_alone_another_worker_s_lease(
    bench, relay, cut, calls
):
    leases = []

    def schedule_and_claim():
        bench.schedule("1", "second")
        # Of another length: two leases of the same that are given within some milliseconds
        # are equal once in 30,000 times.
        leases.append(bench.home.claim(bench.topic, lease_ttl=60).lease)

    bench.schedule("1")
    async with delivering(noting(bench, calls, relay.url)) as broker:
        await calls.until(1)
        relay.on_loss = schedule_and_claim
        cut(word=b"commit")
        calls.gate.set()
        await wait_until_async(lambda: leases)
        await bench.until_settled(broker)

    assert bench.score("1") == float(leases[0])
    assert calls.ids == ["1", "last"]
    bench.client.cancel_all(bench.topic)


async def test_a_nack_that_is_repeated_keeps_the_timer_once(bench, relay, cut):
    broker = bench.broker(relay.url)

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        if message.timer_id == "1":
            await message.nack(delay=HOUR)

    bench.schedule("1")
    cut(word=b"nack")
    async with delivering(broker):
        await wait_until_async(lambda: relay.all_lost)
        await bench.until_settled(broker)

    assert bench.client.get_pending_timers(bench.topic) == ["1"]
    # A claim may have been lost with it, which is an outage.
    assert bench.log.at(logging.WARNING) == []
    bench.client.cancel_all(bench.topic)


async def test_a_release_that_is_repeated_leaves_the_timer_as_it_was(bench, relay, cut, calls):
    bench.schedule("1")
    due = bench.score("1")
    async with delivering(noting(bench, calls, relay.url, graceful_timeout=0.0)):
        await calls.until(1)
        cut(word=b"release")

    assert relay.all_lost
    assert bench.score("1") == due
    bench.client.cancel_all(bench.topic)


# --- all at once -------------------------------------------------------------------------


async def test_while_calls_are_lost_again_and_again_each_timer_is_delivered_once(
    bench, relay, open_calls, request
):
    ids = numbers(400)
    schedule_all(bench, ids)
    bench.home.claim("warm-up")
    broker = noting(bench, open_calls, relay.url, lease_ttl=1.0, max_polling_interval=0.1)
    cuts = cycle(Cut(relay, place) for place in Cut.PLACES)
    tried = 0
    async with delivering(broker):
        while left := bench.client.count_pending(bench.topic):
            # Claims and commits alike; those of handlers that end together travel as a group.
            next(cuts)(word=(b"commits", None)[tried % 2])
            tried += 1
            # It is answered in between, or it would do nothing but try.
            await wait_until_async(
                lambda left=left: (
                    (relay.all_lost and bench.client.count_pending(bench.topic) < left)
                    or not bench.client.count_pending(bench.topic)
                )
            )

    found = balance(open_calls, ids, tried)
    found.report(request, "calls lost again and again")
    assert tried >= 20
    assert (found.lost, found.again) == (0, 0)


@pytest.mark.parametrize("piece", [1, 7])
async def test_whatever_arrives_in_pieces_is_delivered(bench, relay, open_calls, piece):
    ids = numbers(10)
    async with delivering(noting(bench, open_calls, relay.url)):
        await wait_until_async(lambda: relay.count("EVALSHA"))
        relay.split(piece)
        schedule_all(bench, ids)
        await bench.until_gone(*ids)
        relay.split(None)

    assert open_calls.counts == dict.fromkeys(ids, 1)
    assert bench.log.complaints == []
