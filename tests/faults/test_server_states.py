"""A server that answers, but not as wanted: told once each way, asked seldom, over by itself."""

import asyncio
import time
from datetime import timedelta

import pytest
import redis
from bench import HOUR, NO_POLLS, bench_at, delivering, until_listening
from relay import Relay
from server_states import SETTINGS, STATES
from states import (
    balance,
    noting,
    numbers,
    outages,
    recoveries,
    schedule_all,
    until_away,
    until_back,
)

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync import TimerOutcomeUnknownError, TimerPublishMessage

MOST_PER_SECOND = 200
"""Commands that a worker may send while nothing comes of it."""

LASTS = 1.2
"""Seconds that a state lasts after it has been told."""

RESUMES = 3.0
"""Seconds until delivery resumes: a pause between tries takes up to 1.5."""


@pytest.fixture(scope="module")
def odd_url():
    """URL of a server that can be brought into all states."""
    with embedded_server(config=SETTINGS) as url:
        yield url


@pytest.fixture
async def odd_bench(odd_url, key_names):
    async with bench_at(odd_url, key_names) as bench:
        yield bench


@pytest.fixture
def odd_relay(odd_url):
    with Relay(odd_url) as relay:
        yield relay


@pytest.mark.parametrize("state", STATES)
async def test_it_is_told_once_each_way_asked_seldom_and_left_by_itself(
    odd_bench, odd_relay, open_calls, request, state
):
    bench, relay = odd_bench, odd_relay
    ids = numbers(40)
    async with delivering(noting(bench, open_calls, relay.url, max_polling_interval=0.1)) as broker:
        schedule_all(bench, ["before"])
        await bench.until_gone("before")
        bench.client.schedule_batch(
            [TimerPublishMessage("x", timer_id=timer_id) for timer_id in ids],
            bench.topic,
            activate_in=timedelta(seconds=1),
        )
        with STATES[state](bench.redis):
            await until_away(bench)
            began_at, before = time.monotonic(), len(relay.commands)
            await asyncio.sleep(LASTS)
            # Callers are told, and know that nothing was done.
            for call in (
                broker.publish("x", bench.topic, timer_id="refused", activate_in=HOUR),
                asyncio.to_thread(bench.client.schedule, "x", bench.topic, timer_id="refused"),
                broker.cancel_timer(bench.topic, "39"),
            ):
                with pytest.raises(redis.RedisError) as caught:
                    await call
                assert not isinstance(caught.value, TimerOutcomeUnknownError)
            assert not await broker.ping()
            sent, took = len(relay.commands) - before, time.monotonic() - began_at
        left_at = time.monotonic()
        await until_back(bench)
        await bench.until_gone(*ids)
        resumed = time.monotonic() - left_at
        await broker.publish("x", bench.topic, timer_id="after")
        await bench.until_gone("after")

    found = balance(open_calls, ids, tried=1)
    found.report(
        request,
        f"server {state}",
        per_second=round(sent / took),
        resumed_s=round(resumed, 2),
    )
    assert sent / took <= MOST_PER_SECOND
    assert resumed < RESUMES
    assert (found.lost, found.again) == (0, 0)
    assert open_calls.counts["refused"] == 0
    assert (len(outages(bench)), len(recoveries(bench))) == (1, 1)
    assert bench.log.complaints == outages(bench)


# --- out of memory -----------------------------------------------------------------------


async def test_while_it_is_full_scheduling_fails_loudly_and_delivering_goes_on(
    key_names, calls, request
):
    with embedded_server(config={"maxmemory-policy": "noeviction"}) as url:
        async with bench_at(url, key_names) as bench:
            broker = noting(bench, calls, max_concurrent=50)
            accepted = []
            async with delivering(broker):
                bench.redis.config_set("maxmemory", f"{bench.redis.info()['used_memory'] + 10**6}")
                refused = 0
                while refused < 50:
                    timer_id = f"{len(accepted)}"
                    try:
                        await broker.publish(b"x" * 10_000, bench.topic, timer_id=timer_id)
                    except redis.exceptions.OutOfMemoryError:
                        # It is full, and stays so.
                        refused += 1
                    else:
                        accepted.append(timer_id)
                with pytest.raises(redis.ResponseError, match="maxmemory"):
                    bench.schedule("blocking", b"x" * 10_000)
                calls.gate.set()
                # What it holds is delivered, and then there is room again.
                await bench.until_gone(*accepted)
                await broker.publish(b"x" * 10_000, bench.topic, timer_id="after")
                await bench.until_gone("after")

    found = balance(calls, accepted, refused)
    found.report(request, "server out of memory")
    assert len(accepted) > 20
    assert (found.lost, found.again) == (0, 0)
    assert set(calls.counts) == {*accepted, "after"}
    assert bench.log.complaints == []


# --- output buffers ----------------------------------------------------------------------


async def test_a_worker_whose_replies_are_cut_for_their_size_asks_seldom_and_is_told_once(
    odd_bench, odd_relay, open_calls, request
):
    bench, relay = odd_bench, odd_relay
    ids = numbers(200)
    bench.redis.config_set("client-output-buffer-limit", "normal 60000 0 0")
    for timer_id in ids:
        bench.schedule(timer_id, b"x" * 30_000)
    cut_before = cut(bench)
    async with delivering(noting(bench, open_calls, relay.url, lease_ttl=2)) as broker:
        await until_away(bench)
        began_at, before = time.monotonic(), len(relay.commands)
        await asyncio.sleep(LASTS)
        sent, took = len(relay.commands) - before, time.monotonic() - began_at
        # Each try leases one claim's worth.
        assert sum(map(bench.is_leased, ids)) <= 5 * claims(relay)
        assert not await broker.ping()
        bench.redis.config_set("client-output-buffer-limit", "normal 0 0 0")
        await until_back(bench)
        await bench.until_gone(*ids)

    found = balance(open_calls, ids, cut(bench) - cut_before)
    found.report(request, "output buffers cut", per_second=round(sent / took))
    assert sent / took <= MOST_PER_SECOND
    assert (found.lost, found.again) == (0, 0)
    assert (len(outages(bench)), len(recoveries(bench))) == (1, 1)


def claims(relay):
    return sum(words[0] in {b"EVALSHA", b"EVAL"} and words[6] == b"5" for words in relay.commands)


async def test_a_wake_up_connection_that_is_cut_for_its_buffer_is_replaced(
    odd_bench, open_calls, request
):
    bench = odd_bench
    bench.redis.config_set("client-output-buffer-limit", "pubsub 60000 0 0")
    ids = numbers(10)
    before = cut(bench)
    async with delivering(noting(bench, open_calls, **NO_POLLS)):
        for timer_id in ids:
            await until_listening(bench)
            # As if many wake-ups had not been read; what comes after them is lost.
            with bench.redis.pipeline(transaction=True) as pipeline:
                for _ in range(100):
                    pipeline.publish(bench.timeline, b"x" * 2000)
                pipeline.execute()
            bench.schedule(timer_id)
            await bench.until_gone(timer_id)
    tried = cut(bench) - before
    bench.redis.config_set("client-output-buffer-limit", "pubsub 0 0 0")

    found = balance(open_calls, ids, tried)
    found.report(request, "wake-ups' output buffer cut")
    assert tried == len(ids)
    assert (found.lost, found.again) == (0, 0)
    assert bench.log.complaints == []


def cut(bench):
    """Tell how many connections the server has cut for their output buffers."""
    return bench.redis.info("stats")["client_output_buffer_limit_disconnections"]
