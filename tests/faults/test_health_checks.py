"""A health check that fails, before a call has sent anything: the call has had no effect."""

import asyncio
import time

import pytest
import redis
import redis.asyncio

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimerOutcomeUnknownError, TimersClient

OPTIONS = {"health_check_interval": 0.05, "socket_timeout": 0.3}
LONGER = 0.1
"""Seconds, more than between two health checks."""


@pytest.mark.parametrize("at_once", [False, True], ids=["one", "several"])
async def test_a_broker_knows_that_nothing_was_sent(bench, relay, at_once):
    client = redis.asyncio.Redis.from_url(relay.url, **OPTIONS)
    broker = TimersBroker(client, **bench.home.key_names)
    await broker.connect()
    await broker.publish("x", bench.topic, timer_id="before")
    await asyncio.sleep(LONGER)
    relay.stall()

    names = ["a", "b", "c"] if at_once else ["a"]
    calls = (broker.publish("x", bench.topic, timer_id=name) for name in names)
    errors = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(error, (redis.ConnectionError, redis.TimeoutError)) for error in errors)
    assert not any(isinstance(error, TimerOutcomeUnknownError) for error in errors)
    relay.resume()
    assert [timer.timer_id for timer in bench.client.iter_timers(bench.topic)] == ["before"]
    await broker.publish("x", bench.topic, timer_id="after")
    await broker.stop()
    await client.aclose()


def test_a_client_knows_that_nothing_was_sent(bench, relay):
    client = redis.Redis.from_url(relay.url, **OPTIONS)
    timers = TimersClient(client, **bench.home.key_names)
    timers.schedule("x", bench.topic, timer_id="before")
    time.sleep(LONGER)
    relay.stall()

    with pytest.raises((redis.ConnectionError, redis.TimeoutError)) as caught:
        timers.schedule("x", bench.topic, timer_id="a")

    assert not isinstance(caught.value, TimerOutcomeUnknownError)
    relay.resume()
    assert [timer.timer_id for timer in timers.iter_timers(bench.topic)] == ["before"]
    timers.schedule("x", bench.topic, timer_id="after")
    client.close()
