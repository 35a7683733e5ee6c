"""Retries: how often, after which delay, and how attempts are counted."""

import asyncio
import logging
from datetime import timedelta

import pytest
from bench import HOUR, delivering
from faststream import AckPolicy
from faststream.exceptions import NackMessage
from inside import loop_of
from waiting import wait_until_async

from faststream_redis_timers import RetryPolicy, TimersRouter
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync.protocol.times import time_of

SOON = timedelta(milliseconds=1)
AT_ONCE = RetryPolicy(max_attempts=3, delay=SOON)


def attempts_of(bench, timer_id, topic=None):
    """Read what is counted: times, first due time, and the score that it belongs to."""
    value = bench.redis.hget(bench.home.keys_of(topic or bench.topic).attempts, timer_id)
    return value and (int(value.split()[0]), *map(float, value.split()[1:]))


def failing(bench, calls, broker=None, error=ValueError, **options):
    """Subscribe a handler that fails each time."""
    broker = broker or bench.broker()

    @broker.subscriber(bench.topic, **options)
    async def handle(message: TimerMessage):
        calls.note(message)
        raise error

    return broker


# --- the policy by itself


def test_delays_grow_up_to_the_longest():
    policy = RetryPolicy(
        max_attempts=6,
        delay=timedelta(seconds=10),
        factor=3,
        max_delay=timedelta(minutes=2),
        jitter=0,
    )
    delays = [policy(attempt) for attempt in range(1, 7)]
    assert [delay and delay.total_seconds() for delay in delays] == [10, 30, 90, 120, 120, None]


def test_without_a_delay_there_is_none_after_any_number_of_attempts():
    policy = RetryPolicy(max_attempts=10**6, delay=timedelta(0), factor=10)

    assert {policy(attempt) for attempt in (1, 300, 310, 10**5)} == {timedelta(0)}


def test_delays_are_spread_and_never_above_the_longest():
    policy = RetryPolicy(max_attempts=10**6, max_delay=timedelta(seconds=20), jitter=0.5)
    first = {policy(1).total_seconds() for _ in range(100)}
    assert len(first) > 50
    assert 5 <= min(first) <= max(first) <= 15
    # The power alone would be too large for a number.
    last = {policy(999_999).total_seconds() for _ in range(100)}
    assert len(last) > 50
    assert max(last) <= 20


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_attempts": 0}, ValueError, "max_attempts must be at least 1, got 0"),
        ({"max_attempts": 2.0}, TypeError, "max_attempts must be an int, got 2.0"),
        ({"delay": 10}, TypeError, r"delay must be a timedelta, got the number 10"),
        ({"delay": -HOUR}, ValueError, "delay must not be negative"),
        ({"max_delay": None}, TypeError, "max_delay must be a timedelta, got None"),
        ({"factor": 0.5}, ValueError, "factor must be from 1 to inf, got 0.5"),
        ({"factor": float("nan")}, ValueError, "factor must be from 1 to inf, got nan"),
        ({"jitter": 1.5}, ValueError, "jitter must be from 0 to 1, got 1.5"),
        ({"jitter": True}, TypeError, "jitter must be a number, got True"),
    ],
)
def test_a_policy_that_can_not_work_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        RetryPolicy(**arguments)


async def asynchronous(_attempt, _error):
    return SOON


class Asynchronous:
    async def __call__(self, _attempt, _error):
        return SOON


@pytest.mark.parametrize(
    "policy",
    [
        *(RetryPolicy, 5, timedelta(seconds=1), asynchronous, Asynchronous()),
        # Each failure would only tell that it can't be called so.
        *(lambda: SOON, lambda _attempt: SOON, lambda _attempt, *, error: error),
    ],
)
def test_what_is_no_policy_is_refused_on_each_level(bench, policy):
    message = r"retry_policy must be a RetryPolicy\(...\), a function"
    with pytest.raises(TypeError, match=message):
        bench.broker(retry_policy=policy)
    with pytest.raises(TypeError, match=message):
        TimersRouter(retry_policy=policy)
    with pytest.raises(TypeError, match=message):
        bench.broker().subscriber("x", retry_policy=policy)


# --- attempts


async def test_a_timer_is_retried_after_the_policys_delay_and_not_forever(bench, open_calls):
    broker = failing(bench, open_calls, retry_policy=AT_ONCE)
    bench.schedule("1")
    due = bench.score("1")
    async with delivering(broker):
        await bench.until_gone("1")

    messages = open_calls.messages
    assert [message.attempt for message in messages] == [1, 2, 3]
    assert [message.redelivered for message in messages] == [False, True, True]
    # All speak of the first due time.
    assert {message.due_at for message in messages} == {time_of(due)}
    assert messages[2].lateness > messages[1].lateness > messages[0].lateness >= 0
    (removed,) = [line for line in bench.log.at(logging.ERROR) if "was removed" in line]
    assert "'1' of topic 'invoices' was removed: " in removed
    assert ": its attempts are used up (ValueError), attempt 3; " in removed


async def test_while_it_waits_for_its_next_attempt_it_holds_no_slot(bench, open_calls):
    broker = bench.broker()

    # Jitter could take the delay below an hour by a fifth.
    policy = RetryPolicy(delay=HOUR, jitter=0)

    @broker.subscriber(bench.topic, max_concurrent=1, retry_policy=policy)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        if message.timer_id == "1":
            raise ValueError

    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(1)
        bench.schedule("2")
        await bench.until_gone("2")
    waits = bench.client.get_timer(bench.topic, "1")

    assert not waits.running
    assert 3500 < waits.due_at.timestamp() - bench.home.now().timestamp() < 3601
    times, first_due, score = attempts_of(bench, "1")
    assert (times, score) == (1, bench.score("1"))
    assert first_due < score


async def test_a_function_decides_by_attempt_and_error(bench, open_calls):
    asked = []

    def decide(attempt, error):
        asked.append((attempt, type(error)))
        return SOON if attempt < 2 else None

    broker = failing(bench, open_calls, error=KeyError, retry_policy=decide)
    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert asked == [(1, KeyError), (2, KeyError)]


@pytest.mark.parametrize("answer", [ZeroDivisionError, 5, "soon"])
async def test_a_policy_that_fails_loses_nothing(bench, open_calls, answer):
    def decide(_attempt, _error):
        if isinstance(answer, type):
            raise answer
        return answer

    broker = failing(bench, open_calls, retry_policy=decide, lease_ttl=60)
    bench.schedule("1")
    async with delivering(broker):
        await wait_until_async(lambda: open_calls.ids and not bench.is_leased("1"))

    assert bench.score("1") > bench.home.now().timestamp() + 30
    (line,) = [line for line in bench.log.at(logging.ERROR) if "retry_policy failed" in line]
    assert "timer '1' of topic 'invoices' after attempt 1" in line


async def test_the_nearest_policy_counts_and_none_switches_it_off(bench, open_calls):
    router = TimersRouter(retry_policy=RetryPolicy(max_attempts=2, delay=SOON))
    inner = TimersRouter(retry_policy=None)
    router.include_router(inner)
    broker = bench.broker(retry_policy=RetryPolicy(max_attempts=1))
    topics = {
        "broker's": broker.subscriber("broker's"),
        "own": broker.subscriber("own", retry_policy=AT_ONCE),
        "router's": router.subscriber("router's"),
        "none": inner.subscriber("none", lease_ttl=0.2),
        "own in none": inner.subscriber("own in none", retry_policy=AT_ONCE),
    }
    for subscriber in topics.values():

        @subscriber
        async def handle(message: TimerMessage):
            open_calls.note(message, message.attempt)
            raise ValueError

    broker.include_router(router)
    for topic in topics:
        bench.client.schedule("x", topic, timer_id=topic)
    async with delivering(broker):
        await wait_until_async(lambda: open_calls.counts["none"] >= 3)
        await wait_until_async(
            lambda: (
                not any(bench.client.count_pending(topic) for topic in topics if topic != "none")
            )
        )
    bench.client.cancel_all("none")

    assert {
        topic: max(n or 0 for id_, n in open_calls.bodies if id_ == topic) for topic in topics
    } == {
        "broker's": 1,
        "own": 3,
        "router's": 2,
        "none": 0,
        "own in none": 3,
    }


async def test_a_nack_with_a_delay_of_its_own_is_an_attempt_too(bench, open_calls):
    policy = RetryPolicy(max_attempts=2, delay=HOUR)
    broker = failing(bench, open_calls, error=NackMessage(delay=SOON), retry_policy=policy)
    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert [message.attempt for message in open_calls.messages] == [1, 2]
    assert any("(faststream.exceptions.NackMessage), attempt 2" in x for x in bench.log.complaints)


async def test_a_nack_by_hand_follows_the_policy(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic, retry_policy=AT_ONCE, ack_policy=AckPolicy.MANUAL)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        await message.nack()

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert len(open_calls.ids) == 3


async def test_attempts_are_counted_only_where_somebody_asks(bench, open_calls):
    broker = failing(bench, open_calls, lease_ttl=0.1)
    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(2)
        assert attempts_of(bench, "1") is None
    bench.client.cancel_all(bench.topic)

    assert {message.attempt for message in open_calls.messages} == {None}


async def test_a_released_timer_has_not_been_tried(bench, calls):
    policy = RetryPolicy(max_attempts=2)
    for _ in range(3):
        broker = bench.broker(graceful_timeout=0.01)

        @broker.subscriber(bench.topic, retry_policy=policy)
        async def handle(message: TimerMessage):
            await calls.hold(message)

        if not calls.ids:
            bench.schedule("1")
            due = bench.score("1")
        before = len(calls.ids)
        async with delivering(broker):
            await calls.until(before + 1)
            assert attempts_of(bench, "1")[0] == 1
        assert bench.score("1") == due
        assert attempts_of(bench, "1") is None
    bench.client.cancel_all(bench.topic)

    assert [message.attempt for message in calls.messages] == [1, 1, 1]


async def test_a_timer_that_the_same_worker_claims_again_is_no_attempt(bench, calls):
    broker = bench.broker()
    short = 0.2

    @broker.subscriber(bench.topic, lease_ttl=short, retry_policy=AT_ONCE, polling_interval=0.01)
    async def handle(message: TimerMessage):
        if message.timer_id == "1" and message.attempt == 1:
            await calls.hold(message)
            raise ValueError
        calls.note(message)

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        first = bench.score("1")
        await wait_until_async(lambda: bench.score("1") > first + 2 * short)
        assert attempts_of(bench, "1")[0] == 1
        calls.gate.set()
        await bench.until_gone("1")

    assert [message.attempt for message in calls.messages] == [1, 2]


@pytest.mark.parametrize("how", ["schedule", "reschedule", "a client that knows no attempts"])
async def test_scheduling_or_rescheduling_a_timer_resets_its_attempts(bench, open_calls, how):
    broker = failing(bench, open_calls, retry_policy=RetryPolicy(delay=HOUR))
    bench.schedule("1")
    async with delivering(broker):
        await wait_until_async(lambda: open_calls.ids and not bench.is_leased("1"))
        match how:
            case "schedule":
                bench.schedule("1")
            case "reschedule":
                bench.client.reschedule_timer(bench.topic, "1", activate_in=SOON)
            case _:
                bench.redis.zadd(bench.timeline, {"1": bench.home.now().timestamp()})
                loop_of(broker.subscribers[0]).poll_now()
        await open_calls.until(2)
        await wait_until_async(lambda: not bench.is_leased("1"))
        assert attempts_of(bench, "1")[0] == 1
    bench.client.cancel_all(bench.topic)

    assert [message.attempt for message in open_calls.messages] == [1, 1]


VOID = ["9 abc {}", "9 0x7 {}", "9 nan {}", "9 - {}", f"{10**20} 1.5 {{}}", f"{'9' * 400} 1.5 {{}}"]


@pytest.mark.parametrize("value", VOID, ids=["word", "hex", "nan", "sign", "large", "huge"])
async def test_a_count_that_can_not_be_read_is_void(bench, open_calls, value):
    # A lease that was lost long ago: a timer without attempts left is dead-lettered unseen.
    lost = "1000000000.1234565"
    bench.home.plant(bench.topic, "1", float(lost), b"x")
    bench.redis.hset(bench.home.keys_of(bench.topic).attempts, "1", value.format(lost))
    broker = bench.broker(dead_letter_topic="{topic}:dead")
    failing(bench, open_calls, broker, retry_policy=AT_ONCE)
    async with delivering(broker):
        await bench.until_gone("1")
        bench.schedule("2")
        await bench.until_gone("2")

    assert [message.attempt for message in open_calls.messages] == [1, 2, 3, 1, 2, 3]
    assert bench.log.at(logging.CRITICAL) == []
    bench.client.cancel_all(f"{bench.topic}:dead")


@pytest.mark.leaks_keys
async def test_a_claim_that_finds_no_timer_at_all_removes_what_others_left_of_counts(
    bench, open_calls
):
    attempts = bench.home.keys_of(bench.topic).attempts
    bench.redis.hset(attempts, "of a timer that an older client has committed", "1 1.0 1.0")
    async with delivering(failing(bench, open_calls)):
        await wait_until_async(lambda: not bench.redis.exists(attempts))


async def test_handlers_of_many_failing_timers_share_their_calls(bench, open_calls):
    broker = failing(bench, open_calls, retry_policy=AT_ONCE, max_concurrent=50)
    for n in range(100):
        bench.schedule(f"{n}")
    async with delivering(broker):
        await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0)
        await asyncio.sleep(0)

    assert set(open_calls.counts.values()) == {3}
