"""Dead letters: which timers are dead-lettered, what they say, and what becomes of them."""

import logging
from datetime import datetime, timedelta

import pytest
from bench import delivering
from faststream import AckPolicy
from faststream.exceptions import RejectMessage
from waiting import wait_until_async

from faststream_redis_timers import RetryPolicy, TimersRouter
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync.protocol.envelope import MAGIC
from faststream_redis_timers_sync.protocol.times import time_of

ONCE = RetryPolicy(max_attempts=1)
DEAD = "invoices:dead"


def subscribe(broker, topic, calls, error=None, **options):
    @broker.subscriber(topic, **options)
    async def handle(message: TimerMessage):
        calls.note(message, message.body)
        if error is not None:
            raise error


def dead_letters(bench, topic=DEAD):
    return list(bench.client.iter_timers(topic))


async def the_dead_letter(bench, topic=DEAD):
    await wait_until_async(lambda: bench.client.count_pending(topic) == 1)
    (dead_letter,) = dead_letters(bench, topic)
    bench.client.cancel_all(topic)
    return dead_letter


async def test_a_timer_whose_attempts_are_used_up_is_dead_lettered(bench, open_calls):
    broker = bench.broker(dead_letter_topic="{topic}:dead")
    policy = RetryPolicy(max_attempts=2, delay=timedelta(0))
    subscribe(broker, bench.topic, open_calls, LookupError("secret"), retry_policy=policy)
    bench.client.schedule(
        b"\x00body", bench.topic, timer_id="1", headers={"x": "José"}, correlation_id="order"
    )
    due = bench.score("1")
    async with delivering(broker):
        dead_letter = await the_dead_letter(bench)

    assert dead_letter.timer_id[:2] == "1:"
    assert len(dead_letter.timer_id) == 10
    assert dead_letter.body == b"\x00body"
    assert not dead_letter.running
    assert dead_letter.headers == {
        "correlation_id": "order",
        "x": "José",
        "dead-letter-reason": "attempts",
        "dead-letter-topic": "invoices",
        "dead-letter-timer-id": "1",
        "dead-letter-due-at": time_of(due).isoformat(),
        "dead-letter-attempts": "2",
        "dead-letter-error": "LookupError",
    }
    assert datetime.fromisoformat(dead_letter.headers["dead-letter-due-at"]) == time_of(due)
    assert dead_letter.due_at >= time_of(due)
    assert bench.is_gone("1")
    (line,) = bench.log.at(logging.WARNING)
    assert "'1' of topic 'invoices' was dead-lettered to topic 'invoices:dead': " in line
    assert line.endswith(": its attempts are used up (LookupError), attempt 2")


@pytest.mark.parametrize("how", ["RejectMessage", "reject()", "REJECT_ON_ERROR"])
async def test_a_timer_that_is_rejected_is_dead_lettered(bench, open_calls, how):
    broker = bench.broker()
    policy = AckPolicy.REJECT_ON_ERROR if how == "REJECT_ON_ERROR" else AckPolicy.NACK_ON_ERROR

    @broker.subscriber(bench.topic, dead_letter_topic=DEAD, ack_policy=policy)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        if how == "reject()":
            await message.reject()
        else:
            raise RejectMessage if how == "RejectMessage" else OSError("secret")

    bench.schedule("1")
    async with delivering(broker):
        dead_letter = await the_dead_letter(bench)

    assert dead_letter.headers["dead-letter-reason"] == "rejected"
    assert dead_letter.headers["dead-letter-error"] == {
        "REJECT_ON_ERROR": "OSError",
    }.get(how, "faststream.exceptions.RejectMessage")
    # Attempts are counted where there is a dead-letter topic, too.
    assert dead_letter.headers["dead-letter-attempts"] == "1"
    assert dead_letter.correlation_id == "1"
    assert open_calls.ids == ["1"]


@pytest.mark.parametrize(
    ("timer_id", "shown", "payload", "why"),
    [
        (b"1", "1", MAGIC + b"\x00\x09", "the envelope ends within its first 18 bytes"),
        (b"\xff\n", "\\xff\n", b"text", "its id is not UTF-8"),
    ],
)
async def test_a_timer_that_can_not_be_read_is_dead_lettered_whole(
    bench, open_calls, timer_id, shown, payload, why
):
    broker = bench.broker()
    subscribe(broker, bench.topic, open_calls, dead_letter_topic=DEAD)
    bench.home.plant(bench.topic, timer_id, 1000.0, payload)
    async with delivering(broker):
        dead_letter = await the_dead_letter(bench)

    assert dead_letter.timer_id[:-9] == shown
    assert dead_letter.body == payload
    assert dead_letter.headers["dead-letter-reason"] == "unreadable"
    assert dead_letter.headers["dead-letter-body"] == "payload"
    assert dead_letter.headers["dead-letter-timer-id"].encode(errors="surrogateescape") == timer_id
    assert "dead-letter-error" not in dead_letter.headers
    assert open_calls.ids == []
    (line,) = bench.log.complaints
    assert f"it can't be read ({why})" in line
    assert "\n" not in line


async def test_a_timer_that_kills_its_workers_or_whose_claims_are_lost_names_no_error(
    bench, open_calls
):
    """Leases that end without a word, as those of dead workers do."""
    broker = bench.broker()
    policy = RetryPolicy(max_attempts=3, delay=timedelta(0))
    subscribe(broker, bench.topic, open_calls, retry_policy=policy, dead_letter_topic=DEAD)
    bench.schedule("1")
    for _ in range(3):
        operation = bench.home.operations.settle_and_claim(
            bench.topic, [], limit=1, lease_ttl=0.001, jitter=0, suspect_from=3
        )
        await wait_until_async(lambda: bench.home.run(operation).claimed)  # noqa: B023
    async with delivering(broker):
        dead_letter = await the_dead_letter(bench)

    assert open_calls.ids == []
    assert dead_letter.headers["dead-letter-reason"] == "attempts"
    assert dead_letter.headers["dead-letter-attempts"] == "3"
    assert "dead-letter-error" not in dead_letter.headers
    assert "no worker reported an outcome" in bench.log.at(logging.WARNING)[0]


async def test_a_dead_letter_topic_is_one_like_any_other(bench, open_calls, calls):
    broker = bench.broker(dead_letter_topic="{topic}:dead")
    subscribe(broker, bench.topic, open_calls, RejectMessage)
    subscribe(broker, DEAD, calls)
    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        await wait_until_async(lambda: bench.client.count_pending(DEAD) == 0)

    (message,) = calls.messages
    assert message.headers["dead-letter-timer-id"] == "1"
    assert message.correlation_id == "1"
    assert message.body == b"first"


async def test_a_subscriber_never_dead_letters_into_its_own_topic(bench, open_calls):
    broker = bench.broker(dead_letter_topic="dead")
    with pytest.raises(ValueError, match=r"dead_letter_topic must be another topic .* own, 'dead'"):
        broker.subscriber("dead", dead_letter_topic="dead")
    subscribe(broker, "dead", open_calls, RejectMessage)
    bench.client.schedule("x", "dead", timer_id="1")
    async with delivering(broker):
        await wait_until_async(lambda: bench.client.count_pending("dead") == 0)

    assert open_calls.ids == ["1"]
    assert "'1' of topic 'dead' was removed: it was rejected" in bench.log.complaints[0]


@pytest.mark.parametrize("dead_letter_topic", ["", 5, b"dead"])
def test_what_is_no_topic_is_refused_on_each_level(bench, dead_letter_topic):
    with pytest.raises((TypeError, ValueError), match="dead_letter_topic must"):
        bench.broker(dead_letter_topic=dead_letter_topic)
    with pytest.raises((TypeError, ValueError), match="dead_letter_topic must"):
        TimersRouter(dead_letter_topic=dead_letter_topic)
    with pytest.raises((TypeError, ValueError), match="dead_letter_topic must"):
        bench.broker().subscriber("x", dead_letter_topic=dead_letter_topic)


async def test_prefixes_apply_once_and_none_switches_off(bench, open_calls):
    broker = bench.broker(prefix="shop:", dead_letter_topic="{topic}:dead")
    router = TimersRouter(prefix="orders:")
    subscribe(router, "a", open_calls, RejectMessage)
    subscribe(router, "b", open_calls, RejectMessage, dead_letter_topic="all dead")
    subscribe(router, "c", open_calls, RejectMessage, dead_letter_topic=None)
    broker.include_router(router)
    for name in "abc":
        bench.client.schedule("x", f"shop:orders:{name}", timer_id=name)
    async with delivering(broker):
        await open_calls.until(3)
        await wait_until_async(lambda: bench.client.count_pending("shop:orders:c") == 0)
        first = await the_dead_letter(bench, "shop:orders:a:dead")
        second = await the_dead_letter(bench, "shop:orders:all dead")

    assert first.headers["dead-letter-topic"] == "shop:orders:a"
    assert second.headers["dead-letter-topic"] == "shop:orders:b"


async def test_many_large_ones_go_in_calls_of_bounded_size(bench, relay, open_calls):
    broker = bench.broker(relay.url)
    subscribe(
        broker, bench.topic, open_calls, RejectMessage, dead_letter_topic=DEAD, max_concurrent=20
    )
    body = b"x" * 100_000
    for n in range(20):
        bench.client.schedule(body, bench.topic, timer_id=f"{n}")
    async with delivering(broker):
        await wait_until_async(lambda: bench.client.count_pending(DEAD) == 20)
        await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0)
    found = dead_letters(bench)
    bench.client.cancel_all(DEAD)

    assert {one.headers["dead-letter-timer-id"] for one in found} == {f"{n}" for n in range(20)}
    assert {one.body for one in found} == {body}
    sizes = [sum(map(len, c)) for c in relay.commands if c[0] == b"EVALSHA"]
    assert max(sizes) < 600_000


async def test_a_dead_letter_whose_reply_is_lost_is_not_made_twice(bench, relay, open_calls):
    broker = bench.broker(relay.url)

    @broker.subscriber(bench.topic, retry_policy=ONCE, dead_letter_topic=DEAD)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        relay.lose_reply()
        raise ValueError

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")
        bench.schedule("last")
        await open_calls.until(2)
        await bench.until_gone("last")
    found = dead_letters(bench)
    bench.client.cancel_all(DEAD)

    assert sorted(one.headers["dead-letter-timer-id"] for one in found) == ["1", "last"]
