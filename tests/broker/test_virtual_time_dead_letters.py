"""`TestTimersBroker(hold=True)`: retries, dead letters and redriving, as time is moved."""

from datetime import UTC, datetime, timedelta

import pytest
from faststream import AckPolicy
from faststream.exceptions import NackMessage, RejectMessage

from faststream_redis_timers import RetryPolicy, TestTimersBroker, TimersBroker, TimersRouter
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync.testing import FakeTimersClient

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
DEAD = "invoices:dead"
POLICY = RetryPolicy(max_attempts=3, delay=10 * SECOND, factor=2.0, jitter=0.0)


class CardDeclinedError(Exception):
    """What a handler of these tests fails with."""


ERROR_NAME = f"{__name__}.CardDeclinedError"


@pytest.fixture
def broker():
    """A broker without any client, whose failed timers come to an end."""
    return TimersBroker(retry_policy=POLICY, dead_letter_topic="{topic}:dead")


@pytest.fixture
def test(broker):
    return TestTimersBroker(broker, hold=True)


@pytest.fixture
def failing(broker):
    """The attempts of a handler that fails as long as `failing` is true."""
    tries = Tries()

    @broker.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        tries.append((message.attempt, message.lateness))
        if tries.is_failing:
            raise CardDeclinedError(body)

    return tries


class Tries(list):
    """Attempts and how late each was, in seconds."""

    is_failing = True


async def the_only(broker, topic):
    (timer,) = [timer async for timer in broker.iter_timers(topic)]
    return timer


async def test_a_timer_is_retried_dead_lettered_and_redriven(broker, test, failing):
    async with test:
        await broker.publish(
            "INV-001", "invoices", timer_id="42", activate_in=DAY, headers={"customer": "José"}
        )
        before = await broker.get_timer("invoices", "42")
        for delay in (DAY, 10 * SECOND, 20 * SECOND):
            with pytest.raises(CardDeclinedError):
                await test.advance(delay)
        assert failing == [(1, 0.0), (2, 10.0), (3, 30.0)]

        assert await broker.count_pending("invoices") == 0
        dead_letter = await the_only(broker, DEAD)
        assert dead_letter.timer_id.startswith("42:")
        assert (dead_letter.due_at, dead_letter.running) == (before.due_at + 30 * SECOND, False)
        assert (dead_letter.decode(), dead_letter.correlation_id) == ("INV-001", "42")
        assert dead_letter.headers == {
            **before.headers,
            "dead-letter-reason": "attempts",
            "dead-letter-topic": "invoices",
            "dead-letter-timer-id": "42",
            "dead-letter-due-at": before.due_at.isoformat(),
            "dead-letter-attempts": "3",
            "dead-letter-error": ERROR_NAME,
            "correlation_id": "42",
        }
        # There it lies: nothing brings it back but somebody who asks.
        await test.advance(DAY)
        assert len(failing) == 3

        failing.is_failing = False
        assert await broker.redrive(DEAD) == 1
        assert await broker.count_pending(DEAD) == 0
        timer = await broker.get_timer("invoices", "42")
        assert (timer.body, timer.headers) == (before.body, before.headers)
        assert timer.due_at <= test.now()
        await test.advance()
        attempt, lateness = failing[3]
        assert attempt == 1
        assert 0 <= lateness < 3600
        assert await broker.count_pending("invoices") == 0


async def test_all_attempts_take_place_in_one_move_where_errors_are_dropped(broker, test, failing):
    async with test:
        await broker.publish("INV-001", "invoices", activate_in=DAY)
        await test.advance(2 * DAY, raise_errors=False)

        assert [attempt for attempt, _ in failing] == [1, 2, 3]
        assert await broker.count_pending(DEAD) == 1


async def test_one_that_fails_again_is_dead_lettered_again(broker, test, failing):
    async with test:
        await broker.publish("INV-001", "invoices", timer_id="42")
        ids = set()
        for _ in range(3):
            await test.advance(HOUR, raise_errors=False)
            dead_letter = await the_only(broker, DEAD)
            assert dead_letter.headers["dead-letter-timer-id"] == "42"
            ids.add(dead_letter.timer_id)
            assert await broker.redrive(DEAD, [dead_letter.timer_id]) == 1

        assert len(ids) == 3
        assert [attempt for attempt, _ in failing] == [1, 2, 3] * 3


async def test_a_waiting_timer_stands_and_the_dead_letter_stays(broker, test, failing):
    async with test:
        await broker.publish("old", "invoices", timer_id="42")
        await test.advance(HOUR, raise_errors=False)
        await broker.publish("new", "invoices", timer_id="42", activate_in=DAY)

        assert await broker.redrive(DEAD) == 0

        assert (await broker.get_timer("invoices", "42")).decode() == "new"
        assert await broker.count_pending(DEAD) == 1


async def test_a_rejected_timer_is_dead_lettered_at_once(broker, test):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        raise RejectMessage

    async with test:
        await broker.publish("INV-001", "invoices")
        await test.advance()

        headers = (await the_only(broker, DEAD)).headers
        assert headers["dead-letter-reason"] == "rejected"
        assert headers["dead-letter-attempts"] == "1"
        assert headers["dead-letter-error"] == "faststream.exceptions.RejectMessage"
        assert await broker.redrive(DEAD) == 1


async def test_a_handler_that_never_settles_uses_its_attempts_up_too(broker, test):
    got = []

    @broker.subscriber("invoices", ack_policy=AckPolicy.MANUAL)
    async def handle(body: str, message: TimerMessage) -> None:
        got.append(message.attempt)

    async with test:
        await broker.publish("INV-001", "invoices")
        await test.advance(DAY)

        assert got == [1, 2, 3]
        headers = (await the_only(broker, DEAD)).headers
        assert headers["dead-letter-attempts"] == "3"
        assert "dead-letter-error" not in headers


async def test_a_delay_of_the_handlers_own_counts_as_an_attempt(broker, test):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        raise NackMessage(delay=HOUR)

    async with test:
        await broker.publish("INV-001", "invoices")
        await test.advance(2 * HOUR - SECOND)
        assert await broker.count_pending(DEAD) == 0
        await test.advance(SECOND)

        assert await broker.count_pending(DEAD) == 1


async def test_dead_letters_have_handlers_of_their_own(broker, test, failing):
    got = []

    @broker.subscriber(DEAD, retry_policy=None, dead_letter_topic=None)
    async def tell(body: str, message: TimerMessage) -> None:
        got.append((body, message.attempt, message.headers["dead-letter-error"]))

    async with test:
        await broker.publish("INV-001", "invoices")
        await test.advance(HOUR, raise_errors=False)

        assert got == [("INV-001", None, ERROR_NAME)]
        tell.mock.assert_called_once_with("INV-001")
        assert await broker.redrive(DEAD) == 0


async def test_without_a_dead_letter_topic_there_is_an_end_too():
    broker = TimersBroker(retry_policy=POLICY)
    test = TestTimersBroker(broker, hold=True)

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        raise CardDeclinedError

    async with test:
        await broker.publish("INV-001", "invoices")
        await test.advance(HOUR, raise_errors=False)

        assert handle.mock.call_count == 3
        assert await broker.count_pending("invoices") == 0
        assert await broker.redrive(DEAD) == 0


async def test_prefixes_apply_once(failing):
    broker = TimersBroker(prefix="shop:")
    router = TimersRouter(prefix="billing:", retry_policy=POLICY, dead_letter_topic="{topic}:dead")

    @router.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        raise CardDeclinedError

    broker.include_router(router)
    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish("INV-001", "billing:invoices", timer_id="42")
        await test.advance(HOUR, raise_errors=False)

        dead_letter = await the_only(broker, "billing:invoices:dead")
        assert dead_letter.topic == "shop:billing:invoices:dead"
        assert dead_letter.headers["dead-letter-topic"] == "shop:billing:invoices"
        assert await broker.redrive("billing:invoices:dead") == 1
        assert await broker.has_pending("billing:invoices", "42")


async def test_blocking_code_redrives_what_a_worker_has_dead_lettered(broker, failing):
    timers = FakeTimersClient()
    test = TestTimersBroker(broker, hold=True, client=timers)
    async with test:
        timers.schedule("INV-001", "invoices", timer_id="42")
        timers.schedule("INV-002", "invoices", timer_id="43")
        await test.advance(HOUR, raise_errors=False)
        one, two = timers.get_pending_timers(DEAD)

        assert timers.redrive(DEAD, [one]) == 1

        assert timers.get_pending_timers("invoices") == [one.partition(":")[0]]
        (dead_letter,) = timers.pop_due(DEAD)
        assert dead_letter.timer_id == two
        failing.is_failing = False
        await test.advance()
        assert failing[-1][0] == 1
        assert timers.count_pending("invoices") == timers.count_pending(DEAD) == 0
        assert timers.redrive(DEAD) == 0


async def test_at_once_nothing_is_pending_and_nothing_is_redriven(broker, failing):
    async with TestTimersBroker(broker):
        with pytest.raises(CardDeclinedError):
            await broker.publish("INV-001", "invoices")

        assert [attempt for attempt, _ in failing] == [1]
        assert await broker.count_pending(DEAD) == 0
        assert await broker.redrive(DEAD) == 0


async def test_first_due_is_told_as_it_was_asked_for(broker, test, failing):
    at = datetime.now(UTC).replace(microsecond=250_000) + DAY
    async with test:
        await broker.publish("INV-001", "invoices", activate_at=at)
        await test.advance(2 * DAY, raise_errors=False)

        headers = (await the_only(broker, DEAD)).headers
        assert datetime.fromisoformat(headers["dead-letter-due-at"]) == at
