"""Recurring timers in virtual time: each occurrence runs when a test moves time past it."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from faststream import AckPolicy
from faststream.exceptions import AckMessage, RejectMessage, SkipMessage, StopConsume
from freezegun import freeze_time

from faststream_redis_timers import (
    Cron,
    Every,
    RetryPolicy,
    TestTimersBroker,
    TimersBroker,
    next_times,
)
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.testing import virtual_time

DAY = timedelta(days=1)
YEAR = 365 * DAY
START = datetime(2027, 1, 1, 12, tzinfo=UTC)
DAILY = Cron("0 9 * * *", tz="Europe/Berlin")


@pytest.fixture
def broker():
    return TimersBroker()


@pytest.fixture(autouse=True)
def clock():
    """Let this machine's clock stand at `START`."""
    with freeze_time(START, real_asyncio=True) as clock:
        yield clock


@pytest.fixture
def test(broker):
    return TestTimersBroker(broker, hold=True)


def recorder(broker, topic="reports", **options):
    """Subscribe with a handler that records the occurrences that it gets."""
    seen = []

    @broker.subscriber(topic, **options)
    async def handle(message: TimerMessage) -> None:
        seen.append(message.occurrence)

    return seen


async def test_a_year_of_days_has_each_once_across_both_clock_changes(broker, test):
    seen = recorder(broker)

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)
        expected = next_times(DAILY, 365, after=test.now())
        await test.advance(YEAR)

        assert seen == expected
        assert Counter(time.hour for time in seen) == {7: 217, 8: 148}
        assert len(test.scheduled_timers) == 1
        timer = await broker.get_timer("reports", "daily")
        assert (timer.due_at, timer.running) == (DAILY.after(seen[-1]), False)


async def test_the_limit_of_deliveries_is_not_for_what_recurs_for_long(broker, test, monkeypatch):
    monkeypatch.setattr(virtual_time, "MOST_DELIVERIES", 50)
    seen = recorder(broker)

    async with test:
        await broker.publish("x", "reports", timer_id="tick", repeat=Every(seconds=1))
        await test.advance(timedelta(seconds=500))

    assert len(seen) == len(set(seen)) == 500


async def test_what_fires_without_end_beside_a_series_is_an_error(broker, test, monkeypatch):
    monkeypatch.setattr(virtual_time, "MOST_DELIVERIES", 50)
    recorder(broker)

    @broker.subscriber("endless")
    async def handle(body: str) -> None:
        await broker.publish(body, "endless", activate_in=timedelta(milliseconds=1))

    async with test:
        await broker.publish("x", "reports", timer_id="tick", repeat=Every(seconds=1))
        await broker.publish("x", "endless")
        with pytest.raises(RuntimeError, match=r"50 timers have fired in this move.*'endless'"):
            await test.advance(DAY)


async def test_retries_without_end_are_an_error_however_long_they_take(broker, test, monkeypatch):
    monkeypatch.setattr(virtual_time, "MOST_DELIVERIES", 50)

    @broker.subscriber("endless")
    async def handle(body: str) -> None:
        raise LookupError

    async with test:
        await broker.publish("x", "endless", timer_id="daily", repeat=DAILY)
        with pytest.raises(RuntimeError, match=r"50 timers have fired in this move.*'endless'"):
            await test.advance(YEAR, raise_errors=False)

        # And the first attempt.
        assert handle.mock.call_count == 51


async def test_a_longer_move_than_workers_are_away_runs_each_time(broker, test):
    seen = recorder(broker)

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)
        for _ in range(3):
            await test.advance(DAY)
        await test.advance(3 * DAY)

    assert len(seen) == len(set(seen)) == 6


@pytest.mark.parametrize("policy", [AckPolicy.ACK, AckPolicy.NACK_ON_ERROR, AckPolicy.ACK_FIRST])
@pytest.mark.parametrize("instruction", [None, AckMessage, SkipMessage])
async def test_what_ends_a_timer_ends_an_occurrence(broker, test, policy, instruction):
    seen = []

    @broker.subscriber("reports", ack_policy=policy)
    async def handle(message: TimerMessage) -> None:
        seen.append(message.occurrence)
        if instruction is not None:
            raise instruction

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)
        await test.advance(2 * DAY)
        assert len(seen) == len(set(seen)) == 2
        assert (await broker.get_timer("reports", "daily")).due_at == DAILY.after(seen[-1])


async def test_under_manual_an_occurrence_ends_with_ack(broker, test):
    acknowledged = []

    @broker.subscriber("reports", ack_policy=AckPolicy.MANUAL)
    async def handle(message: TimerMessage) -> None:
        await message.ack()
        timer = await broker.get_timer("reports", "daily")
        acknowledged.append((message.occurrence, timer.due_at, message.lease_lost))

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)
        await test.advance(2 * DAY)

    assert [(time, DAILY.after(time), False) for time, *_ in acknowledged] == acknowledged
    assert len(acknowledged) == 2


@pytest.mark.parametrize("policy", [AckPolicy.ACK, AckPolicy.REJECT_ON_ERROR])
async def test_an_error_under_a_policy_that_retries_nothing_moves_on(broker, test, policy):
    seen = []

    @broker.subscriber("reports", ack_policy=policy)
    async def handle(message: TimerMessage) -> None:
        seen.append(message.occurrence)
        raise LookupError

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)
        await test.advance(2 * DAY, raise_errors=False)

    assert len(seen) == len(set(seen)) == 2


async def test_a_failed_occurrence_is_retried(broker, test):
    seen = []

    @broker.subscriber("reports", retry_policy=RetryPolicy(max_attempts=2, jitter=0))
    async def handle(message: TimerMessage) -> None:
        seen.append((message.attempt, message.occurrence))
        if message.attempt == 1:
            raise LookupError

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)
        await test.advance(2 * DAY, raise_errors=False)

    first, second = next_times(DAILY, 2, after=START)
    assert seen == [(1, first), (2, first), (1, second), (2, second)]


async def test_what_is_dead_lettered_is_redriven_beside_its_series(broker, test):
    seen = []

    @broker.subscriber("reports", dead_letter_topic="{topic}:dead")
    async def handle(message: TimerMessage) -> None:
        seen.append((message.timer_id[:6], message.occurrence, message.repeat))
        if len(seen) == 1:
            raise RejectMessage

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)
        await test.advance(DAY)
        assert await broker.redrive("reports:dead") == 1
        await test.advance(DAY)

        first, second = next_times(DAILY, 2, after=START)
        assert seen == [("daily", first, DAILY), ("daily:", first, None), ("daily", second, DAILY)]
        assert await broker.count_pending("reports") == 1
        assert await broker.count_pending("reports:dead") == 0


async def test_a_handler_that_ends_the_delivery_leaves_its_occurrence(broker, test):
    @broker.subscriber("reports")
    async def handle(body: str) -> None:
        raise StopConsume

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)
        await test.advance(3 * DAY)

        handle.mock.assert_called_once()
        timer = await broker.get_timer("reports", "daily")
        assert (timer.due_at, timer.running) == (DAILY.after(START), False)


async def test_cancelling_from_its_own_handler_ends_a_series(broker, test):
    seen = []

    @broker.subscriber("reports")
    async def handle(message: TimerMessage) -> None:
        seen.append(message.occurrence)
        if len(seen) == 2:
            await broker.cancel_timer("reports", message.timer_id)

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)
        await test.advance(5 * DAY)
        assert len(seen) == 2
        assert await broker.count_pending("reports") == 0


async def test_what_a_handler_returns_founds_no_series(broker, test):
    got = []

    @broker.subscriber("reports")
    @broker.publisher("made")
    async def handle(message: TimerMessage) -> str:
        return "made"

    for topic in ("made", "replies"):

        @broker.subscriber(topic)
        async def note(message: TimerMessage) -> None:
            got.append((message.topic, message.repeat, message.correlation_id, message.headers))

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY, reply_to="replies")
        await test.advance(DAY)

    run = f"daily@{DAILY.after(START).isoformat()}"
    headers = {"correlation_id": run, "content-type": "text/plain"}
    assert sorted(got) == [("made", None, run, headers), ("replies", None, run, headers)]


async def test_who_forwards_all_headers_founds_no_series(broker, test):
    seen = recorder(broker, "copies")

    @broker.subscriber("reports")
    async def handle(message: TimerMessage) -> None:
        assert "timer-repeat" in message.headers
        await broker.publish("copy", "copies", headers=message.headers)

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)
        await test.advance(DAY)

        assert seen == [None]
        assert await broker.count_pending("copies") == 0


async def test_who_forwards_headers_of_a_redriven_occurrence_makes_none(broker, test):
    seen = []

    @broker.subscriber("copies")
    async def read(message: TimerMessage) -> None:
        seen.append((message.repeat, message.occurrence))

    @broker.subscriber("reports", dead_letter_topic="reports:dead")
    async def handle(message: TimerMessage) -> None:
        if message.repeat is not None:
            raise RejectMessage
        assert message.occurrence is not None
        await broker.publish("copy", "copies", headers=message.headers)

    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)
        await test.advance(DAY)
        await broker.redrive("reports:dead")
        await test.advance(timedelta(seconds=1))

    assert seen == [(None, None)]


async def test_at_once_a_series_runs_once(broker):
    seen = recorder(broker, dead_letter_topic="{topic}:dead")

    test = TestTimersBroker(broker)
    async with test:
        await broker.publish("x", "reports", timer_id="daily", repeat=DAILY)

        assert seen == [DAILY.at_or_before(START)]
        (timer,) = test.scheduled_timers
        assert timer.activate_at == DAILY.after(START)
