"""What each acknowledgement policy makes of each way in which a handler can end."""

import asyncio
import gc
import logging
from datetime import timedelta

import pytest
import redis.asyncio
from bench import HOUR, NO_POLLS, PanicException, delivering
from faststream import AckPolicy
from faststream.exceptions import (
    AckMessage,
    NackMessage,
    RejectMessage,
    SkipMessage,
    StopConsume,
)
from waiting import wait_until_async

from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.subscriber import usecase
from faststream_redis_timers.subscriber.acknowledgement import handle_and_settle
from faststream_redis_timers_sync.protocol.times import is_lease

GONE, DUE, LEASED = "gone", "due when the lease would have ended", "leased until its lease ends"

FAILED = {
    AckPolicy.ACK: GONE,
    AckPolicy.ACK_FIRST: GONE,
    AckPolicy.REJECT_ON_ERROR: GONE,
    AckPolicy.NACK_ON_ERROR: DUE,
    AckPolicy.MANUAL: LEASED,
}


OUTCOMES = {
    "returns": (None, dict.fromkeys(AckPolicy, GONE) | {AckPolicy.MANUAL: LEASED}),
    "raises": (ValueError, FAILED),
    "raises no Exception": (PanicException, FAILED),
    "raises a group": (BaseExceptionGroup("two", [PanicException(), ValueError()]), FAILED),
    "AckMessage": (AckMessage, dict.fromkeys(AckPolicy, GONE)),
    "SkipMessage": (SkipMessage, dict.fromkeys(AckPolicy, GONE)),
    "RejectMessage": (RejectMessage, dict.fromkeys(AckPolicy, GONE)),
    "NackMessage": (NackMessage, dict.fromkeys(AckPolicy, DUE) | {AckPolicy.ACK_FIRST: GONE}),
}


def state_of(bench, lease):
    score = bench.score("1")
    if score is None:
        return GONE
    if score == lease:
        return LEASED
    assert not is_lease(score)
    assert 0 < lease - score < 1e-6
    return DUE


@pytest.mark.parametrize("policy", AckPolicy)
@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_policy_and_outcome_decide_what_becomes_of_a_timer(
    bench, open_calls, policy, outcome
):
    error, expected = OUTCOMES[outcome]
    broker = bench.broker()

    @broker.subscriber(bench.topic, ack_policy=policy)
    async def handle(message: TimerMessage):
        if message.timer_id == "last":
            await message.ack()
            return
        open_calls.note(message)
        if error is not None:
            raise error

    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(1)
        await bench.until_settled(broker)
        lease = float(open_calls.messages[0].raw_message.leases[0])
        assert state_of(bench, lease) == expected[policy]

    assert open_calls.ids == ["1"]
    # The error, and that a timer is gone for good without having been handled.
    has_failed = expected is FAILED
    is_rejected = policy is not AckPolicy.ACK_FIRST and (
        outcome == "RejectMessage" or (has_failed and policy is AckPolicy.REJECT_ON_ERROR)
    )
    assert len(bench.log.complaints) == has_failed + is_rejected


async def test_what_is_no_exception_is_logged_once(bench, open_calls):
    broker = bench.broker()
    unhandled = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))

    @broker.subscriber(bench.topic, ack_policy=AckPolicy.ACK)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        raise PanicException

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")
    gc.collect()

    assert open_calls.ids == ["1"]
    assert bench.log.complaints == ["PanicException: "]
    assert unhandled == []


@pytest.mark.parametrize("policy", AckPolicy)
async def test_a_nack_message_with_a_delay_is_due_then_unless_committed_first(
    bench, open_calls, policy
):
    broker = bench.broker()

    @broker.subscriber(bench.topic, ack_policy=policy)
    async def handle(message: TimerMessage):
        if message.timer_id == "last":
            await message.ack()
            return
        open_calls.note(message)
        raise NackMessage(delay=HOUR)

    bench.schedule("1")
    before = bench.home.now().timestamp()
    async with delivering(broker):
        await open_calls.until(1)
        await bench.until_settled(broker)
        score = bench.score("1")

    if policy is AckPolicy.ACK_FIRST:
        assert score is None
    else:
        assert before + 3600 <= score <= bench.home.now().timestamp() + 3600
    assert open_calls.ids == ["1"]
    assert bench.log.complaints == []


@pytest.mark.parametrize("policy", AckPolicy)
async def test_stop_consume_releases_its_timer_unless_it_is_committed_first(
    bench, open_calls, policy
):
    broker = bench.broker()

    @broker.subscriber(bench.topic, ack_policy=policy)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        raise StopConsume

    bench.schedule("1")
    due = bench.score("1")
    async with delivering(broker):
        await open_calls.until(1)

    assert bench.score("1") == (None if policy is AckPolicy.ACK_FIRST else due)
    assert open_calls.ids == ["1"]


async def test_a_broker_s_policy_holds_for_subscribers_without_one(bench, open_calls):
    broker = bench.broker(ack_policy=AckPolicy.ACK)

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        raise ValueError

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]


@pytest.mark.parametrize("policy", AckPolicy)
@pytest.mark.parametrize("method", ["ack", "reject"])
async def test_by_hand_a_timer_has_left_redis_when_the_await_returns(bench, calls, policy, method):
    broker = bench.broker()
    was_gone = []

    @broker.subscriber(bench.topic, ack_policy=policy)
    async def handle(message: TimerMessage):
        calls.note(message)
        await getattr(message, method)()
        was_gone.append(bench.is_gone("1"))

    bench.schedule("1")
    async with delivering(broker):
        await wait_until_async(lambda: was_gone)

    assert was_gone == [True]
    assert calls.ids == ["1"]


@pytest.mark.parametrize("policy", [AckPolicy.MANUAL, AckPolicy.ACK, AckPolicy.NACK_ON_ERROR])
@pytest.mark.parametrize("delay", [None, HOUR])
async def test_a_nack_by_hand_stands_whatever_the_policy_says_afterwards(
    bench, calls, policy, delay
):
    broker = bench.broker()
    leases = []

    @broker.subscriber(bench.topic, ack_policy=policy)
    async def handle(message: TimerMessage):
        if message.timer_id == "last":
            await message.ack()
            return
        leases.append(bench.score("1"))
        await message.nack(delay)

    bench.schedule("1")
    before = bench.home.now().timestamp()
    async with delivering(broker):
        await wait_until_async(lambda: leases)
        await bench.until_settled(broker)
        score = bench.score("1")

    if delay is None:
        assert state_of(bench, leases[0]) == DUE
    else:
        assert not is_lease(score)
        assert before + 3600 <= score <= bench.home.now().timestamp() + 3600
    assert len(leases) == 1


@pytest.mark.parametrize("policy", AckPolicy)
async def test_a_timer_acked_by_hand_stays_gone_though_its_handler_raises(
    bench, open_calls, policy
):
    broker = bench.broker()

    @broker.subscriber(bench.topic, ack_policy=policy)
    async def handle(message: TimerMessage):
        if message.timer_id == "1":
            open_calls.note(message)
            await message.ack()
            raise ValueError
        await message.ack()

    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(1)
        await bench.until_settled(broker)
        assert bench.is_gone("1")

    assert open_calls.ids == ["1"]


async def test_by_hand_a_timer_may_be_settled_after_its_handler_has_ended(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic, ack_policy=AckPolicy.MANUAL)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        if message.timer_id == "last":
            await message.ack()

    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(1)
        await bench.until_settled(broker)
        assert bench.is_leased("1")

        await open_calls.messages[0].ack()

        assert bench.is_gone("1")


async def test_of_several_by_hand_the_first_counts(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic, ack_policy=AckPolicy.MANUAL)
    async def handle(message: TimerMessage):
        if message.timer_id == "1":
            open_calls.note(message)
            await message.nack(HOUR)
            await message.nack(timedelta(0))
            await message.reject()
        await message.ack()

    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(1)
        await bench.until_settled(broker)
        assert bench.score("1") > bench.home.now().timestamp() + 3000

    assert open_calls.ids == ["1"]


async def test_committed_first_it_is_gone_before_its_handler_begins(bench, calls):
    broker = bench.broker()
    was_gone = []

    @broker.subscriber(bench.topic, ack_policy=AckPolicy.ACK_FIRST)
    async def handle(message: TimerMessage):
        was_gone.append(bench.is_gone("1"))

    bench.schedule("1")
    async with delivering(broker):
        await wait_until_async(lambda: was_gone)

    assert was_gone == [True]


async def test_committed_first_but_cancelled_before_its_handler_is_not_called(
    bench, open_calls, relay
):
    broker = bench.broker(relay.url)

    @broker.subscriber(bench.topic, ack_policy=AckPolicy.ACK_FIRST, max_polling_interval=0.05)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with delivering(broker):
        relay.hold_replies()
        bench.schedule("1")
        await wait_until_async(lambda: bench.is_leased("1"))
        bench.client.cancel_timer(bench.topic, "1")
        relay.resume()
        await wait_until_async(lambda: bench.log.at(logging.WARNING))

    (warning,) = bench.log.at(logging.WARNING)
    assert "'1'" in warning
    assert open_calls.ids == []


async def test_an_ack_that_was_not_waited_for_long_enough_can_be_awaited_again(
    bench, open_calls, relay
):
    broker = bench.broker(relay.url)
    timed_out = []

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        relay.hold_replies()
        try:
            await asyncio.wait_for(message.ack(), timeout=0.05)
        except TimeoutError:
            timed_out.append(message.timer_id)
        relay.resume()
        await message.ack()
        open_calls.note(message)

    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(1)
        assert bench.is_gone("1")

    assert timed_out == open_calls.ids == ["1"]


@pytest.mark.parametrize("policy", AckPolicy)
async def test_what_no_filter_accepts_is_kept_unless_committed_first(bench, open_calls, policy):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic, ack_policy=policy)

    @subscriber(filter=lambda message: message.timer_id == "last")
    async def handle(message: TimerMessage):
        open_calls.note(message)
        await message.ack()

    bench.schedule("1")
    async with delivering(broker):
        await wait_until_async(lambda: bench.log.at(logging.ERROR))
        await bench.until_settled(broker)
        assert bench.is_gone("1") is (policy is AckPolicy.ACK_FIRST)
        assert not bench.is_leased("1")

    assert open_calls.ids == ["last"]
    assert len(bench.log.at(logging.ERROR)) == 1


async def test_a_cancellation_that_is_not_ours_is_a_failure_and_waits_for_its_lease(
    bench, open_calls
):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        if message.timer_id == "1":
            cancelled = asyncio.get_running_loop().create_future()
            cancelled.cancel()
            await cancelled

    before = bench.home.now().timestamp()
    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(1)
        await bench.until_settled(broker)

    assert open_calls.ids == ["1", "last"]
    assert bench.score("1") >= before + 30


async def test_committed_first_with_its_answer_lost_its_handler_is_called_all_the_same(
    bench, relay, open_calls, monkeypatch
):
    broker = bench.broker(relay.url)

    @broker.subscriber(bench.topic, ack_policy=AckPolicy.ACK_FIRST)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async def lose_the_commit(*args, **kwargs):
        relay.lose_reply()
        return await handle_and_settle(*args, **kwargs)

    monkeypatch.setattr(usecase, "handle_and_settle", lose_the_commit)
    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(1)

    assert open_calls.ids == ["1"]
    assert bench.is_gone("1")
    assert relay.count("EVALSHA", "EVAL") >= 3


async def test_committed_first_but_cancelled_before_the_commit_was_sent_its_handler_is_not_called(
    bench, open_calls, monkeypatch
):
    monkeypatch.setattr("faststream_redis_timers_sync.protocol.clients._LONGEST_WAIT_FOR_POOL", 0.1)
    client = redis.asyncio.Redis.from_url(bench.home.server_url, max_connections=1)
    broker = bench.broker(client)

    @broker.subscriber(bench.topic, ack_policy=AckPolicy.ACK_FIRST, **NO_POLLS)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    pipeline = client.pipeline()

    async def without_a_connection(*args, **kwargs):
        await pipeline.watch("some-key")
        return await handle_and_settle(*args, **kwargs)

    monkeypatch.setattr(usecase, "handle_and_settle", without_a_connection)
    bench.schedule("1")
    async with delivering(broker):
        # The commit has waited for the pool's connection in vain.
        await wait_until_async(lambda: bench.log.at(logging.WARNING))
        assert bench.client.cancel_timer(bench.topic, "1") is False
        await pipeline.reset()
        await wait_until_async(lambda: len(bench.log.at(logging.WARNING)) == 2)
    await client.aclose()

    assert open_calls.ids == []
    assert "could not be committed first" in bench.log.at(logging.WARNING)[1]
