"""Connections that are killed or go silent: the worker is back within a second, and polls."""

import asyncio
import logging
import time
from datetime import timedelta

import pytest
import redis.asyncio
from bench import NO_POLLS, delivering, until_idle, until_listening
from redis.connection import parse_url
from states import balance, noting, numbers, outages, until_back
from waiting import wait_until_async

from faststream_redis_timers.calls import listener
from faststream_redis_timers.delivery.schedule import Backoff
from faststream_redis_timers.subscriber import loop

BACK = 1.0
"""Seconds that it may pause until it resumes delivery. What else takes time is the machine."""

MOST_IN_POOL = 3
"""Connections that the pool of a worker with one topic may have kept."""

KILLS = {
    "all": [("TYPE", "normal", "SKIPME", "yes"), ("TYPE", "pubsub")],
    "the wake-ups'": [("TYPE", "pubsub")],
    "the pool's": [("TYPE", "normal", "SKIPME", "yes")],
}


@pytest.fixture
def pauses(monkeypatch):
    """Note the pauses, in seconds, that a worker makes after failures."""
    taken = []
    next_pause = Backoff.next_pause

    def noted(backoff):
        taken.append(next_pause(backoff))
        return taken[-1]

    monkeypatch.setattr(Backoff, "next_pause", noted)
    return taken


@pytest.mark.parametrize("which", KILLS)
async def test_a_worker_whose_connections_are_killed_is_back_within_a_second(
    own_bench, open_calls, pauses, request, which
):
    bench, tried = own_bench, 15
    ids = numbers(tried)
    longest = 0.0
    async with delivering(noting(bench, open_calls, **NO_POLLS)):
        await until_listening(bench)
        for timer_id in ids:
            pauses.clear()
            killed_at = time.monotonic()
            for words in KILLS[which]:
                bench.redis.execute_command("CLIENT", "KILL", *words)
            # The wake-up may come when nobody listens.
            bench.schedule(timer_id)
            await bench.until_gone(timer_id)
            longest = max(longest, time.monotonic() - killed_at)
            assert sum(pauses) < BACK
            await until_listening(bench)

    found = balance(open_calls, ids, tried)
    found.report(request, f"{which} connections killed", longest_s=round(longest, 3))
    assert (found.lost, found.again) == (0, 0)


async def test_while_all_connections_are_killed_under_load_each_timer_is_delivered_once(
    own_bench, open_calls, request
):
    bench, tried = own_bench, 0
    ids = numbers(500)
    async with delivering(noting(bench, open_calls, lease_ttl=1.0, max_polling_interval=0.1)):
        for timer_id in ids:
            bench.schedule(timer_id, activate_in=timedelta(seconds=int(timer_id) / 500))
        while bench.client.count_pending(bench.topic):
            for words in KILLS["all"]:
                tried += bench.redis.execute_command("CLIENT", "KILL", *words)
            before = len(open_calls.ids)
            await wait_until_async(
                lambda before=before: (
                    len(open_calls.ids) > before or not bench.client.count_pending(bench.topic)
                )
            )

    found = balance(open_calls, ids, tried)
    found.report(request, "all connections killed under load")
    assert tried > 20
    assert (found.lost, found.again) == (0, 0)


# --- half open ---------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch):
    """Shorten the wake-ups' deadlines: tests do not wait for 30 and 5 s."""
    monkeypatch.setattr(listener, "PING_INTERVAL", 0.5)
    monkeypatch.setattr(listener, "ANSWER_TIMEOUT", 1.0)


async def test_a_half_open_wake_up_connection_is_replaced_in_time(
    bench, relay, open_calls, pauses, short, request
):
    tried = 2
    ids = numbers(tried)
    longest = 0.0
    async with delivering(noting(bench, open_calls, relay.url, **NO_POLLS)):
        for timer_id in ids:
            await until_idle(bench, relay)
            pauses.clear()
            relay.swallow("SUBSCRIBE")
            silent_at = time.monotonic()
            bench.schedule(timer_id)
            await bench.until_gone(timer_id)
            longest = max(longest, time.monotonic() - silent_at)
            assert sum(pauses) < BACK

    found = balance(open_calls, ids, tried)
    found.report(request, "wake-ups half open", longest_s=round(longest, 3))
    assert (found.lost, found.again) == (0, 0)
    assert bench.log.complaints == []


async def test_while_the_wake_up_connection_is_half_open_polling_goes_on(bench, relay, open_calls):
    ids = numbers(20)
    async with delivering(noting(bench, open_calls, relay.url, max_polling_interval=0.1)):
        await until_listening(bench)
        relay.swallow("SUBSCRIBE")
        subscribed = relay.count("SUBSCRIBE")
        for timer_id in ids:
            bench.schedule(timer_id)
            await bench.until_gone(timer_id)
        # It was not replaced meanwhile: that takes 35 seconds.
        assert relay.count("SUBSCRIBE") == subscribed

    assert balance(open_calls, ids, 1).lost == 0


async def test_a_half_open_connection_of_the_pool_costs_a_deadline(
    bench, relay, open_calls, monkeypatch, pauses, request
):
    monkeypatch.setattr(loop, "CALL_TIMEOUT", 1.0)
    tried = 2
    ids = numbers(tried)
    longest = 0.0
    # redis-py's defaults: this client would wait forever.
    client = redis.asyncio.Redis(host="127.0.0.1", port=relay.port)
    async with delivering(
        noting(bench, open_calls, client, lease_ttl=0.5, max_polling_interval=0.1)
    ):
        for n, timer_id in enumerate(ids, 1):
            await until_idle_or_polling(relay)
            pauses.clear()
            relay.swallow("EVALSHA")
            silent_at = time.monotonic()
            bench.schedule(timer_id)
            await bench.until_gone(timer_id)
            longest = max(longest, time.monotonic() - silent_at)
            # Each connection that the pool has kept costs a deadline and a pause.
            assert 1 <= len(pauses) <= MOST_IN_POOL
            assert sum(pauses) < BACK
            await until_back(bench, n)
    await client.aclose()

    found = balance(open_calls, ids, tried)
    found.report(request, "pool half open", longest_s=round(longest, 3))
    assert (found.lost, found.again) == (0, 0)
    assert len(outages(bench)) == tried


async def until_idle_or_polling(relay):
    """Wait until the worker has claimed again, over whichever connection."""
    before = relay.count("EVALSHA")
    await wait_until_async(lambda: relay.count("EVALSHA") > before)


# --- refused -----------------------------------------------------------------------------

PASSWORD = "opens nothing"  # noqa: S105


@pytest.fixture
def restricted(own_bench):
    """Give a client whose user may not use the channels, and a way to allow them."""
    name = own_bench.timeline.decode()
    own_bench.redis.acl_setuser(
        name, enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], commands=["+@all"], reset=True
    )
    own_bench.redis.execute_command("ACL", "SETUSER", name, "resetchannels")
    path = parse_url(own_bench.home.server_url)["path"]
    client = redis.asyncio.Redis(unix_socket_path=path, username=name, password=PASSWORD)
    yield client, name
    own_bench.redis.acl_deluser(name)


async def test_wake_ups_that_are_refused_meanwhile_and_allowed_again_are_back(
    own_bench, open_calls, restricted, short, request
):
    bench, (client, user) = own_bench, restricted
    ids = numbers(20)
    bench.redis.execute_command("ACL", "SETUSER", user, "allchannels")
    async with delivering(noting(bench, open_calls, client, max_polling_interval=0.1)):
        await until_listening(bench)
        # The server cuts clients that listen where they no longer may.
        bench.redis.execute_command("ACL", "SETUSER", user, "resetchannels")
        await wait_until_async(lambda: bench.log.at(logging.WARNING))
        for timer_id in ids:
            bench.schedule(timer_id)
            await bench.until_gone(timer_id)
        await until_listening(bench, 0)
        bench.redis.execute_command("ACL", "SETUSER", user, "allchannels")
        await until_listening(bench)
        # The worker learns of it a moment after the server.
        await wait_until_async(lambda: "wake-ups are allowed again" in bench.log.lines)
    await client.aclose()

    balance(open_calls, ids, 1).report(request, "wake-ups refused by ACL")
    assert open_calls.counts == dict.fromkeys(ids, 1)
    assert len(bench.log.complaints) == 1


async def test_a_channel_that_was_refused_is_asked_for_again_while_others_are_busy(
    own_bench, open_calls, restricted, short
):
    bench, (client, user) = own_bench, restricted
    # With the channels of its posts, which begin with the topic's.
    allowed = b"&" + bench.channel + b"*"
    bench.redis.execute_command("ACL", "SETUSER", user, allowed)
    broker = noting(bench, open_calls, client)
    broker.subscriber("other")(open_calls.note)
    async with delivering(broker):
        await until_listening(bench)
        await wait_until_async(lambda: bench.log.at(logging.WARNING))
        bench.redis.execute_command("ACL", "SETUSER", user, "allchannels")
        other = bench.home.operations.keys.channel_of("other")
        number = 0
        while bench.redis.pubsub_numsub(other)[0][1] == 0:
            # Each is a message on the channel that was allowed all the time.
            number += 1
            bench.schedule(f"{number}")
            await asyncio.sleep(0.05)
    await client.aclose()
