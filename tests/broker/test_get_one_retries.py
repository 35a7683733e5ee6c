"""Timers for callers: attempts, dead letters and renewals are as with handlers."""

import asyncio
from datetime import timedelta

from bench import delivering
from waiting import wait_until_async

from faststream_redis_timers import RetryPolicy

SOON = RetryPolicy(max_attempts=2, delay=timedelta(milliseconds=1))


async def test_a_caller_that_nacks_uses_up_the_attempts(bench):
    broker = bench.broker(retry_policy=SOON, dead_letter_topic="dead")
    subscriber = broker.subscriber(bench.topic)
    bench.schedule("1")
    async with delivering(broker):
        for attempt in (1, 2):
            message = await subscriber.get_one()
            assert message.attempt == attempt
            await message.nack()
        assert await subscriber.get_one(timeout=0.05) is None
        (dead_letter,) = [timer async for timer in broker.iter_timers("dead")]
    bench.client.cancel_all("dead")

    assert dead_letter.headers["dead-letter-reason"] == "attempts"
    assert dead_letter.headers["dead-letter-attempts"] == "2"


async def test_a_timer_whose_callers_never_settle_it_ends_as_a_dead_letter_too(bench):
    broker = bench.broker(retry_policy=SOON, dead_letter_topic="dead")
    subscriber = broker.subscriber(bench.topic, lease_ttl=0.2, renew_lease=True)
    bench.schedule("1")
    async with delivering(broker):
        # No lease of these is renewed by itself.
        messages = [await subscriber.get_one(), await subscriber.get_one()]
        bench.schedule("2")
        other = await subscriber.get_one()
        await other.ack()
        nothing = asyncio.create_task(subscriber.get_one())
        await wait_until_async(lambda: bench.client.count_pending("dead"))
        (dead_letter,) = [timer async for timer in broker.iter_timers("dead")]
    bench.client.cancel_all("dead")

    assert await nothing is None
    assert [message.attempt for message in messages] == [1, 2]
    assert (other.timer_id, other.attempt) == ("2", 1)
    assert dead_letter.headers["dead-letter-timer-id"] == "1"
    assert "dead-letter-error" not in dead_letter.headers


async def test_a_caller_renews_its_lease_by_hand(bench):
    broker = bench.broker(retry_policy=SOON)
    subscriber = broker.subscriber(bench.topic, lease_ttl=0.2)
    bench.schedule("1")
    async with delivering(broker):
        message = await subscriber.get_one()
        assert await message.renew(60)
        await wait_until_async(lambda: bench.score("1") > bench.home.now().timestamp() + 50)
        assert await subscriber.get_one(timeout=0.4) is None
        assert not message.lease_lost
        await message.ack()
        assert bench.is_gone("1")
