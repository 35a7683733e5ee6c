"""Batches under `TestTimersBroker`: at once, and when time is moved."""

from datetime import timedelta
from typing import Any

import pytest
from faststream.exceptions import NackMessage, StopConsume

from faststream_redis_timers import (
    Every,
    RetryPolicy,
    TestTimersBroker,
    TimerPublishMessage,
    TimersBroker,
    TimersRouter,
)
from faststream_redis_timers.annotations import TimerBatchMessage

TOPIC = "invoices"
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


@pytest.fixture
def broker():
    """A broker without any client."""
    return TimersBroker()


def lists_of(handler):
    """Give the lists with which a handler was called."""
    return [call.args[0] for call in handler.mock.call_args_list]


# --- at once -----------------------------------------------------------------------------


async def test_publish_gives_a_list_of_one(broker):
    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int]) -> None:
        """Do nothing."""

    async with TestTimersBroker(broker):
        await broker.publish(1, TOPIC, activate_in=DAY)
        await broker.publisher(TOPIC).publish(2)

        assert lists_of(handle) == [[1], [2]]


async def test_publish_batch_gives_a_list_for_each_max_records(broker):
    @broker.subscriber(TOPIC, batch=True, max_records=3)
    async def handle(bodies: list[int]) -> None:
        """Do nothing."""

    async with TestTimersBroker(broker):
        await broker.publish_batch(*range(7), topic=TOPIC)
        assert lists_of(handle) == [[0, 1, 2], [3, 4, 5], [6]]

        await broker.publish_batch(topic=TOPIC)
        assert len(lists_of(handle)) == 3


async def test_max_wait_keeps_no_test_waiting(broker):
    @broker.subscriber(TOPIC, batch=True, max_wait=3_600)
    async def handle(bodies: list[int]) -> None:
        """Do nothing."""

    async with TestTimersBroker(broker):
        await broker.publish(1, TOPIC)
        await broker.publish(2, TOPIC)
        assert lists_of(handle) == [[1], [2]]
    test = TestTimersBroker(broker, hold=True)
    async with test:
        for number in (1, 2):
            await broker.publish(number, TOPIC)
            await test.advance(SECOND)
        assert lists_of(handle) == [[1], [2]]


async def test_subscribers_of_one_topic_get_lists_and_timers(broker):
    router = TimersRouter()

    @broker.subscriber(TOPIC)
    async def single(body: int) -> None:
        """Do nothing."""

    @router.subscriber(TOPIC, batch=True, max_records=2)
    async def pairs(bodies: list[int]) -> None:
        """Do nothing."""

    @router.subscriber(TOPIC, batch=True, max_records=3)
    async def triples(bodies: list[int]) -> None:
        """Do nothing."""

    broker.include_router(router)
    async with TestTimersBroker(broker):
        await broker.publish_batch(*range(5), topic=TOPIC)

        assert lists_of(single) == list(range(5))
        # One call of its handler holds what was scheduled together, up to its own limit.
        assert lists_of(pairs) == [[0, 1], [2], [3, 4]]
        assert lists_of(triples) == [[0, 1, 2], [3, 4]]


async def test_all_is_recorded_before_its_list_is_handled(broker):
    @broker.subscriber(TOPIC, batch=True, max_records=2)
    async def handle(bodies: list[int]) -> None:
        raise LookupError(bodies)

    test = TestTimersBroker(broker)
    async with test:
        with pytest.raises(LookupError):
            await broker.publish_batch(1, 2, 3, topic=TOPIC)

    assert [timer.body for timer in test.scheduled_timers] == [1, 2]


async def test_a_handler_that_schedules_its_list_again_comes_to_an_end(broker):
    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        again = [
            TimerPublishMessage(body, timer_id=timer.timer_id)
            for body, timer in zip(bodies, message.timers, strict=True)
        ]
        await broker.publish_batch(*again, topic=TOPIC, activate_in=DAY)

    test = TestTimersBroker(broker)
    async with test:
        messages = [TimerPublishMessage(n, timer_id=str(n)) for n in range(3)]
        await broker.publish_batch(*messages, topic=TOPIC)

        assert lists_of(handle) == [[0, 1, 2]] * 10
    assert len(test.scheduled_timers) == 33


async def test_an_error_comes_out_once_the_batch_was_split(broker):
    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        if 13 in bodies:
            raise LookupError(bodies)

    async with TestTimersBroker(broker):
        with pytest.raises(LookupError, match=r"\[13\]"):
            await broker.publish_batch(11, 12, 13, 14, topic=TOPIC)

        assert lists_of(handle)[0] == [11, 12, 13, 14]
        assert sorted(lists_of(handle)[1:]) == [[11], [12], [13], [14]]


@pytest.mark.parametrize("mark", ["ack", "nack", "reject"])
async def test_an_error_comes_out_where_each_timer_was_marked(broker, mark):
    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        for timer in message.timers:
            await getattr(timer, mark)()
        raise LookupError(bodies)

    async with TestTimersBroker(broker):
        with pytest.raises(LookupError, match=r"\[1, 2\]"):
            await broker.publish_batch(1, 2, topic=TOPIC)

        assert lists_of(handle) == [[1, 2]]


# --- when time is moved ------------------------------------------------------------------


async def test_a_list_holds_what_is_due_at_that_time(broker):
    @broker.subscriber(TOPIC, batch=True, max_records=3)
    async def handle(bodies: list[int]) -> None:
        """Do nothing."""

    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish_batch(*range(5), topic=TOPIC, activate_in=DAY)
        await broker.publish(5, TOPIC, activate_in=2 * DAY)
        await test.advance(DAY - SECOND)
        assert lists_of(handle) == []

        await test.advance(DAY)
        assert list(map(len, lists_of(handle))) == [3, 2]
        assert sorted(body for bodies in lists_of(handle) for body in bodies) == list(range(5))

        await test.advance(DAY)
        assert lists_of(handle)[2:] == [[5]]
        assert await broker.count_pending(TOPIC) == 0


async def test_a_flood_of_lists_of_one_leaves_no_gap(broker):
    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int]) -> None:
        """Do nothing."""

    test = TestTimersBroker(broker, hold=True)
    async with test:
        start = test.now() + DAY
        for number in range(100):
            # In production so many would gather between claims.
            due_at = start + number * timedelta(microseconds=100)
            await broker.publish(number, TOPIC, activate_at=due_at)
        await test.advance(2 * DAY)

        assert lists_of(handle) == [[number] for number in range(100)]
        assert await broker.count_pending(TOPIC) == 0


async def test_recurring_timers_come_together_each_time(broker):
    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[str]) -> None:
        """Do nothing."""

    test = TestTimersBroker(broker, hold=True)
    async with test:
        start = test.now() + DAY
        for name in ("a", "b", "c"):
            await broker.publish(name, TOPIC, timer_id=name, repeat=Every(days=1, start=start))
        await test.advance(3 * DAY)

        assert [sorted(bodies) for bodies in lists_of(handle)] == [["a", "b", "c"]] * 3
        assert await broker.count_pending(TOPIC) == 3


async def test_ten_thousand_occurrences_within_a_second_are_one_too_many(broker):
    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        await broker.publish_batch(*bodies, topic=TOPIC)

    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish_batch(*range(100), topic=TOPIC)
        with pytest.raises(RuntimeError, match="10000 timers have fired in this move"):
            await test.advance(SECOND)

        assert sum(map(len, lists_of(handle))) == 10_000


@pytest.mark.parametrize("error", [LookupError, NackMessage(delay=SECOND)])
async def test_what_is_kept_is_retried_as_a_list(broker, error):
    @broker.subscriber(
        TOPIC, batch=True, retry_policy=RetryPolicy(delay=SECOND, jitter=0, max_attempts=3)
    )
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        if message.timers[0].attempt == 1:
            raise error

    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish_batch(*range(5), topic=TOPIC)
        await test.advance(raise_errors=False)
        assert await broker.count_pending(TOPIC) == 5

        await test.advance(SECOND)
        assert sorted(lists_of(handle)[-1]) == list(range(5))
        assert await broker.count_pending(TOPIC) == 0


async def test_a_bad_timer_is_dead_lettered_and_no_good_one(broker):
    done = []

    @broker.subscriber(
        TOPIC,
        batch=True,
        retry_policy=RetryPolicy(delay=SECOND, max_attempts=2),
        dead_letter_topic="{topic}:dead",
    )
    async def handle(bodies: list[int]) -> None:
        if 13 in bodies:
            raise LookupError
        done.extend(bodies)

    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish_batch(*range(100), topic=TOPIC)
        await test.advance(10 * SECOND, raise_errors=False)

        assert sorted(done) == [number for number in range(100) if number != 13]
        (dead_letter,) = [one async for one in broker.iter_timers(f"{TOPIC}:dead")]
        assert dead_letter.decode() == 13


async def test_stop_consume_stops_and_releases_all_but_the_marked(broker):
    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        await message.timers[0].ack()
        raise StopConsume

    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish_batch(*range(5), topic=TOPIC)
        await test.advance(DAY)

        assert len(lists_of(handle)) == 1
        assert await broker.count_pending(TOPIC) == 4


async def test_declared_series_come_as_lists(broker):
    owner = TimersBroker(series_owner="shop")
    for name in ("a", "b"):
        owner.add_series(name, TOPIC, timer_id=name, repeat=Every(days=1))

    @owner.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[Any]) -> None:
        """Do nothing."""

    test = TestTimersBroker(owner, hold=True)
    async with test:
        await test.advance(DAY)

        assert sorted(body for bodies in lists_of(handle) for body in bodies) == ["a", "b"]
