"""`TestTimersBroker(hold=True)`: timers wait until a test moves time, then fire as on a server.

That its operations answer as a server's stands in the contract suite, where it is a front end.
"""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from bench import fail_in_a_task_group
from faststream import AckPolicy, Context, FastStream, TestApp
from faststream.exceptions import (
    AckMessage,
    IncorrectState,
    NackMessage,
    RejectMessage,
    SetupError,
    SkipMessage,
    StopConsume,
    SubscriberNotFound,
)
from freezegun import freeze_time

from faststream_redis_timers import (
    ScheduledTimer,
    TestTimersBroker,
    TimerExistsError,
    TimerPublishMessage,
    TimerResponse,
    TimersBroker,
    TimersRouter,
)
from faststream_redis_timers.annotations import Pipeline, Redis, TimerMessage
from faststream_redis_timers.testing import virtual_time
from faststream_redis_timers_sync.testing import FakeTimersClient

ROOT = Path(__file__).parents[2]
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MONTH = 30 * DAY
LEASE = timedelta(seconds=30)


@pytest.fixture
def broker():
    """A broker without any client."""
    return TimersBroker()


@pytest.fixture
def test(broker):
    return TestTimersBroker(broker, hold=True)


def called_with(handler):
    """Tell what a handler was called with, in order."""
    return [call.args[0] for call in handler.mock.call_args_list]


# --- time --------------------------------------------------------------------------------


async def test_a_timer_fires_when_it_is_due_and_not_before(broker, test):
    got = []

    @broker.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        got.append((body, message.due_at, message.lateness, message.redelivered, test.now()))

    async with test as entered:
        assert entered is broker
        await broker.publish("x", "invoices", timer_id="42", activate_in=MONTH)
        due_at = (await broker.get_timer("invoices", "42")).due_at
        await test.advance(MONTH - SECOND)
        assert not handle.mock.called
        assert await broker.has_pending("invoices", "42")

        await test.advance(SECOND)

        assert got == [("x", due_at, 0.0, False, due_at)]
        handle.mock.assert_called_once_with("x")
        assert not await broker.has_pending("invoices", "42")
        await test.advance(MONTH)
        assert len(got) == 1


async def test_of_those_due_at_the_same_time_topics_go_by_name(broker, test):
    got = []

    @broker.subscriber("c")
    @broker.subscriber("a")
    @broker.subscriber("b")
    async def handle(body: str, message: TimerMessage) -> None:
        got.append((message.topic, body))

    async with test:
        at = test.now() + DAY
        for topic in "bca":
            for body in "yx":
                await broker.publish(body, topic, timer_id=body, activate_at=at)
        await test.advance(MONTH)

    assert got == [(topic, body) for topic in "abc" for body in "xy"]


async def test_what_is_due_now_waits_too(broker, test):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    async with test:
        await broker.publish("x", "invoices")
        await broker.publish_batch("y", "z", topic="invoices", activate_in=HOUR)
        assert not handle.mock.called

        await test.advance()
        assert called_with(handle) == ["x"]
        await test.advance(HOUR)
        assert sorted(called_with(handle)) == ["x", "y", "z"]


async def test_time_moves_by_what_was_asked_for_and_runs_on(broker, test):
    with freeze_time("2030-01-01 12:00") as clock:
        async with test:
            assert test.now() == datetime(2030, 1, 1, 12, tzinfo=UTC)
            await test.advance(MONTH)
            assert test.now() == datetime(2030, 1, 31, 12, tzinfo=UTC)
            clock.tick(HOUR)
            assert test.now() == datetime(2030, 1, 31, 13, tzinfo=UTC)


async def test_an_absolute_time_is_reached_too(broker, test):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    async with test:
        await broker.publish("x", "invoices", activate_at=datetime.now(UTC) + MONTH)
        await test.advance(MONTH)

        handle.mock.assert_called_once_with("x")


async def test_timers_of_all_topics_fire_in_the_order_of_their_times(broker, test):
    got = []

    @broker.subscriber("a")
    @broker.subscriber("b")
    async def handle(body: int) -> None:
        got.append(body)

    async with test:
        for topic, hours in [("a", 3), ("b", 1), ("a", 2), ("b", 5), ("a", 4), ("b", 2)]:
            await broker.publish(hours, topic, activate_in=hours * HOUR)
        await test.advance(4 * HOUR)

        assert got == [1, 2, 2, 3, 4]


async def test_a_timer_that_is_late_says_so(broker):
    got = []

    @broker.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        got.append((message.due_at, message.lateness))

    timers = FakeTimersClient()
    with freeze_time("2030-01-01 12:00"):
        async with TestTimersBroker(broker, hold=True, client=timers) as entered:
            await entered.publish("x", "invoices", activate_in=HOUR)
            timers.advance(3 * HOUR)
            assert got == []
        # A worker that was down: a new block begins with what has waited.
        test = TestTimersBroker(broker, hold=True, client=timers)
        async with test:
            await test.advance()

    assert got == [(datetime(2030, 1, 1, 13, tzinfo=UTC), 7200.0)]


async def test_a_daily_report_is_made_thirty_times_in_thirty_days(broker, test):
    @broker.subscriber("reports")
    async def handle(day: int, message: TimerMessage) -> None:
        await broker.publish(day + 1, "reports", timer_id=message.timer_id, activate_in=DAY)

    async with test:
        await broker.publish(1, "reports", timer_id="daily", activate_in=DAY)
        await test.advance(MONTH)

        assert called_with(handle) == list(range(1, 31))
        timer = await broker.get_timer("reports", "daily")
        assert (timer.decode(), timer.running) == (31, False)


async def test_what_fires_without_end_is_an_error_that_names_the_topic(broker, test, monkeypatch):
    monkeypatch.setattr(virtual_time, "MOST_DELIVERIES", 50)

    @broker.subscriber("endless")
    async def handle(body: str) -> None:
        await broker.publish(body, "endless")

    async with test:
        await broker.publish("x", "endless")
        with pytest.raises(RuntimeError, match=r"50 timers have fired.*'endless'"):
            await test.advance(HOUR)

        assert handle.mock.call_count == 50
        assert await broker.count_pending("endless") == 1


async def test_what_a_handlers_task_schedules_fires_in_the_same_move(broker, test):
    got, tasks = [], []

    async def remind(body: str) -> None:
        await asyncio.sleep(0)
        await broker.publish(body, "reminders", activate_in=HOUR)

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        tasks.append(asyncio.create_task(remind(body)))
        got.append(test.now())

    @broker.subscriber("reminders")
    async def collect(body: str, message: TimerMessage) -> None:
        got.append(message.due_at)

    async with test:
        await broker.publish("x", "invoices", activate_in=DAY)
        await test.advance(DAY + HOUR)

        assert got == [got[0], got[0] + HOUR]
    assert all(task.done() for task in tasks)


# --- before it fires ---------------------------------------------------------------------


async def test_a_timer_that_is_cancelled_never_fires(broker, test):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    async with test:
        for timer_id in ("1", "2", "3", "4"):
            await broker.publish("x", "invoices", timer_id=timer_id, activate_in=MONTH)
        await test.advance(MONTH - HOUR)

        assert await broker.cancel_timer("invoices", "1") is True
        assert await broker.cancel_timer("invoices", "1") is False
        assert await broker.cancel_timers("invoices", ["2", "unknown"]) == 1
        assert await broker.get_pending_timers("invoices") == ["3", "4"]
        assert await broker.cancel_all("invoices") == 2
        assert await broker.count_pending("invoices") == 0
        await test.advance(MONTH)

        assert not handle.mock.called


async def test_a_timer_that_is_moved_fires_then(broker, test):
    publisher = broker.publisher("invoices")

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    async with test:
        await broker.publish("later", "invoices", timer_id="1", activate_in=DAY)
        await broker.publish("earlier", "invoices", timer_id="2", activate_in=MONTH)
        assert await broker.reschedule_timer("invoices", "1", activate_in=8 * DAY) is True
        assert await publisher.reschedule_timer("2", activate_in=HOUR) is True
        assert await broker.reschedule_timer("invoices", "3", activate_in=HOUR) is False

        await test.advance(DAY)
        assert called_with(handle) == ["earlier"]
        await test.advance(7 * DAY)
        assert called_with(handle) == ["earlier", "later"]


async def test_one_that_waits_is_replaced_kept_or_in_the_way(broker, test):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    async with test:
        for timer_id in ("1", "2", "3"):
            await broker.publish("old", "invoices", timer_id=timer_id, activate_in=DAY)
        await broker.publish("new", "invoices", timer_id="1", activate_in=HOUR)
        await broker.publish("new", "invoices", timer_id="2", if_exists="keep")
        with pytest.raises(TimerExistsError, match="3"):
            await broker.publish("new", "invoices", timer_id="3", if_exists="error")

        await test.advance(HOUR)
        assert called_with(handle) == ["new"]
        await test.advance(DAY)
        assert called_with(handle) == ["new", "old", "old"]

    assert [timer.body for timer in test.scheduled_timers] == ["old", "old", "old", "new"]


async def test_timers_can_be_looked_at(broker, test):
    async with test:
        await broker.publish({"n": 1}, "invoices", timer_id="user:1", activate_in=DAY)
        await broker.publish("x", "invoices", timer_id="user:2", activate_in=HOUR)
        await broker.publish("x", "invoices", timer_id="other", activate_in=2 * HOUR)
        await test.advance(timedelta(minutes=30))

        pending = await broker.get_pending_timers("invoices", before=test.now() + HOUR)
        assert pending == ["user:2"]
        assert [timer.timer_id async for timer in broker.iter_timers("invoices")] == [
            "user:2",
            "other",
            "user:1",
        ]
        matching = broker.iter_timers("invoices", match="user:*")
        assert {timer.timer_id async for timer in matching} == {"user:1", "user:2"}
        assert (await broker.get_timer("invoices", "user:1")).decode() == {"n": 1}
        assert await broker.get_timer("invoices", "unknown") is None
        assert await broker.ping() is True


# --- what becomes of a timer -------------------------------------------------------------


async def test_an_error_comes_out_and_the_timer_is_due_again_after_its_lease(broker, test):
    got = []

    @broker.subscriber("invoices", lease_ttl=60)
    async def handle(body: str, message: TimerMessage) -> None:
        got.append((message.due_at, message.lateness, message.redelivered))
        if len(got) < 3:
            raise ZeroDivisionError

    async with test:
        await broker.publish("x", "invoices", timer_id="42", activate_in=DAY)
        first = (await broker.get_timer("invoices", "42")).due_at
        with pytest.raises(ZeroDivisionError):
            await test.advance(MONTH)
        assert timedelta(0) <= test.now() - first < HOUR
        timer = await broker.get_timer("invoices", "42")
        assert (timer.due_at, timer.running) == (first + 2 * LEASE, False)

        with pytest.raises(ZeroDivisionError):
            await test.advance(2 * LEASE)
        await test.advance(2 * LEASE)

        # A timer that was kept counts as redelivered where its lease had ended unsettled.
        assert got == [(first + n * 2 * LEASE, 0.0, False) for n in range(3)]
        assert not await broker.has_pending("invoices", "42")


async def test_an_error_leaves_the_others_for_the_next_move(broker, test):
    @broker.subscriber("bad", ack_policy=AckPolicy.REJECT_ON_ERROR)
    async def fail(body: str) -> None:
        raise ZeroDivisionError(body)

    @broker.subscriber("good")
    async def handle(body: str) -> None:
        pass

    async with test:
        for hours, topic in enumerate(["good", "bad", "good", "bad", "good"]):
            await broker.publish(str(hours), topic, activate_in=hours * HOUR)
        with pytest.raises(ZeroDivisionError, match="1"):
            await test.advance(DAY)
        assert called_with(handle) == ["0"]
        with pytest.raises(ZeroDivisionError, match="3"):
            await test.advance(DAY)
        await test.advance(DAY)

        assert called_with(handle) == ["0", "2", "4"]


async def test_all_attempts_take_place_where_errors_are_dropped(broker, test):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        if handle.mock.call_count < 5:
            raise ZeroDivisionError

    async with test:
        await broker.publish("x", "invoices", activate_in=DAY)
        await test.advance(DAY, raise_errors=False)
        assert handle.mock.call_count == 1
        await test.advance(HOUR, raise_errors=False)

        assert handle.mock.call_count == 5
        assert await broker.count_pending("invoices") == 0


@pytest.mark.parametrize(
    ("policy", "error", "is_kept"),
    [
        (AckPolicy.NACK_ON_ERROR, ZeroDivisionError(), True),
        (AckPolicy.REJECT_ON_ERROR, ZeroDivisionError(), False),
        (AckPolicy.ACK, ZeroDivisionError(), False),
        (AckPolicy.ACK_FIRST, ZeroDivisionError(), False),
        (AckPolicy.MANUAL, ZeroDivisionError(), True),
        (AckPolicy.NACK_ON_ERROR, AckMessage(), False),
        (AckPolicy.NACK_ON_ERROR, SkipMessage(), False),
        (AckPolicy.NACK_ON_ERROR, RejectMessage(), False),
        (AckPolicy.ACK, NackMessage(), True),
        (AckPolicy.ACK, NackMessage(delay=LEASE), True),
        (AckPolicy.ACK, StopConsume(), True),
    ],
    ids=repr,
)
async def test_a_timer_is_kept_or_not_as_in_production(broker, test, policy, error, is_kept):
    @broker.subscriber("invoices", ack_policy=policy)
    async def handle(body: str) -> None:
        raise error

    async with test:
        await broker.publish("x", "invoices", timer_id="42")
        if isinstance(error, ZeroDivisionError):
            with pytest.raises(ZeroDivisionError):
                await test.advance()
        else:
            await test.advance()

        assert await broker.has_pending("invoices", "42") is is_kept


async def test_a_nack_with_a_delay_is_due_then(broker, test):
    got = []

    @broker.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        got.append(message.due_at)
        if len(got) < 3:
            raise NackMessage(delay=HOUR)

    async with test:
        await broker.publish("x", "invoices")
        await test.advance(2 * HOUR - SECOND)
        assert len(got) == 2
        await test.advance(SECOND)

    # The first was late by what passed until time was moved.
    assert got[2] - got[1] == HOUR <= got[1] - got[0]


async def test_a_timer_that_nobody_settled_runs_until_its_lease_ends_and_is_redelivered(
    broker, test
):
    got = []

    @broker.subscriber("invoices", ack_policy=AckPolicy.MANUAL)
    async def handle(body: str, message: TimerMessage) -> None:
        got.append(message)
        if len(got) == 2:
            await message.ack()

    async with test:
        await broker.publish("x", "invoices", timer_id="42")
        await test.advance()
        timer = await broker.get_timer("invoices", "42")
        assert timer.running is True
        await test.advance(LEASE - SECOND)
        assert len(got) == 1
        await test.advance(2 * SECOND)

        assert [message.redelivered for message in got] == [False, True]
        assert got[1].due_at == timer.due_at
        assert not await broker.has_pending("invoices", "42")


async def test_leases_end_between_two_microseconds_whichever_these_are(broker, test):
    @broker.subscriber("invoices", ack_policy=AckPolicy.MANUAL)
    async def handle(body: int, message: TimerMessage) -> None:
        if handle.mock.call_count > 10:
            await message.ack()

    async with test:
        at = test.now() + HOUR
        for n in range(10):
            at += timedelta(microseconds=1)
            await broker.publish(n, "invoices", activate_at=at)
        await test.advance(2 * HOUR)

        assert called_with(handle) == [*range(10), *range(10)]
        assert await broker.count_pending("invoices") == 0


async def test_a_handler_sees_its_timer_running(broker, test):
    seen = []

    @broker.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        seen.append((await broker.get_timer("invoices", message.timer_id)).running)
        seen.append(await broker.cancel_timer("invoices", message.timer_id))

    @broker.subscriber("first", ack_policy=AckPolicy.ACK_FIRST)
    async def handle_first(body: str, message: TimerMessage) -> None:
        seen.append(await broker.has_pending("first", message.timer_id))

    async with test:
        await broker.publish("x", "invoices")
        await broker.publish("x", "first", activate_in=HOUR)
        await test.advance(HOUR)

    assert seen == [True, False, False]


@pytest.mark.parametrize("how", ["scheduled again", "moved"])
async def test_what_a_handler_makes_of_its_own_timer_fires(broker, test, how):
    @broker.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        if handle.mock.call_count > 1:
            return
        if how == "moved":
            await broker.reschedule_timer("invoices", message.timer_id, activate_in=DAY)
        else:
            await broker.publish(body, "invoices", timer_id=message.timer_id, activate_in=DAY)

    async with test:
        await broker.publish("x", "invoices", timer_id="42")
        await test.advance()
        assert await broker.has_pending("invoices", "42")
        await test.advance(DAY)

        assert called_with(handle) == ["x", "x"]
        assert not await broker.has_pending("invoices", "42")


async def test_a_subscriber_that_stops_leaves_its_timers_and_the_others_go_on(broker, test):
    @broker.subscriber("stopping")
    async def stop(body: str) -> None:
        raise StopConsume

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    async with test:
        await broker.publish_batch("a", "b", topic="stopping", activate_in=HOUR)
        await broker.publish("x", "invoices", activate_in=2 * HOUR)
        await test.advance(DAY)

        assert stop.mock.call_count == 1
        assert await broker.count_pending("stopping") == 2
        handle.mock.assert_called_once_with("x")


async def test_a_handler_that_exits_the_process_is_not_held_back(broker, test):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        sys.exit(3)

    async with test:
        await broker.publish("x", "invoices")
        with pytest.raises(SystemExit, match="3"):
            await test.advance()

        assert await broker.count_pending("invoices") == 1


async def fail_by_a_cancelled_future() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@pytest.mark.parametrize("after_a_group", [False, True])
async def test_what_was_cancelled_under_a_handler_is_a_failure(broker, test, after_a_group):
    """Up to Python 3.12, a task group that fails leaves the test's task counted as cancelled."""
    if after_a_group:
        await fail_in_a_task_group()

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        if handle.mock.call_count < 3:
            await fail_by_a_cancelled_future()

    async with test:
        await broker.publish("x", "invoices", timer_id="42")
        with pytest.raises(asyncio.CancelledError):
            await test.advance()
        assert not (await broker.get_timer("invoices", "42")).running
        await test.advance(HOUR, raise_errors=False)

        assert handle.mock.call_count == 3
        assert await broker.count_pending("invoices") == 0


@pytest.mark.parametrize("raise_errors", [True, False])
async def test_a_move_that_is_cancelled_releases_the_timer(broker, test, raise_errors):
    begun = asyncio.Event()

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        begun.set()
        if handle.mock.call_count == 1:
            await asyncio.Event().wait()

    async with test:
        await broker.publish("x", "invoices", timer_id="42", activate_in=HOUR)
        due_at = (await broker.get_timer("invoices", "42")).due_at
        move = asyncio.create_task(test.advance(DAY, raise_errors=raise_errors))
        await begun.wait()
        move.cancel()
        with pytest.raises(asyncio.CancelledError):
            await move
        timer = await broker.get_timer("invoices", "42")
        assert (timer.due_at, timer.running) == (due_at, False)

        await test.advance()
        assert handle.mock.call_count == 2
        assert await broker.count_pending("invoices") == 0


async def test_a_timer_that_no_filter_accepts_is_kept_and_seen(broker, test):
    subscriber = broker.subscriber("invoices")

    @subscriber(filter=lambda message: message.headers.get("kind") == "paid")
    async def paid(body: str) -> None:
        pass

    async with test:
        await broker.publish("1", "invoices", headers={"kind": "paid"})
        await broker.publish("2", "invoices", activate_in=HOUR)
        with pytest.raises(SubscriberNotFound):
            await test.advance(DAY)

        paid.mock.assert_called_once_with("1")
        assert await broker.count_pending("invoices") == 1


@pytest.mark.parametrize("options", [{}, {"batch": True}])
@pytest.mark.parametrize("headers", [{}, {"kind": "unknown"}])
async def test_handlers_are_functions_also_when_the_last_lease_has_ended(
    broker, test, options, headers
):
    subscriber = broker.subscriber("invoices", **options)

    @subscriber(filter=lambda message: message.headers.get("kind") != "unknown")
    def blocking(body: Any) -> str:
        return f"blocking {body}"

    @broker.subscriber("others")
    async def asynchronous(body: str) -> str:
        return f"asynchronous {body}"

    async with test:
        await broker.publish("1", "invoices", headers=headers)
        await test.advance(raise_errors=False)
        # Otherwise it would be redelivered, under a lease that lasts.
        await broker.cancel_all("invoices")
        await test.advance(2 * LEASE)

        assert blocking("2") == "blocking 2"
        assert await asynchronous("3") == "asynchronous 3"


# --- publishers and replies --------------------------------------------------------------


async def test_results_become_timers_that_fire_in_the_same_move(broker, test):
    @broker.subscriber("in")
    @broker.publisher("out", activate_in=HOUR)
    async def handle(body: str) -> Any:
        return TimerResponse(body.upper(), activate_in=DAY) if body == "own" else body.upper()

    @broker.subscriber("out")
    async def collect(body: str, correlation_id: str = Context("message.correlation_id")) -> None:
        assert correlation_id == "c"

    async with test:
        (publisher,) = broker.publishers
        await broker.publish("x", "in", activate_in=MONTH, correlation_id="c")
        await broker.publish("own", "in", activate_in=MONTH, correlation_id="c")
        await test.advance(MONTH)
        assert sorted(called_with(handle)) == ["own", "x"]
        assert not collect.mock.called

        await test.advance(HOUR)
        collect.mock.assert_called_once_with("X")
        publisher.mock.assert_called_once_with("X")
        await test.advance(MONTH)
        assert called_with(collect) == called_with(publisher) == ["X", "OWN"]


async def test_a_publisher_that_nobody_hears_is_called_when_its_timer_is_due(broker, test):
    publisher = broker.publisher("elsewhere", activate_in=HOUR)

    async with test:
        await publisher.publish("x", timer_id="42")
        assert not publisher.mock.called
        assert await broker.has_pending("elsewhere", "42")

        await test.advance(HOUR)

        publisher.mock.assert_called_once_with("x")
        assert not await broker.has_pending("elsewhere", "42")


async def test_what_waits_for_a_caller_is_left_to_the_publishers_mock(broker, test):
    subscriber = broker.subscriber("exports")
    publisher = broker.publisher("exports")
    broker.subscriber("unpublished")

    async with test:
        await publisher.publish("x", activate_in=HOUR)
        await broker.publish("y", "unpublished")
        await test.advance(DAY)

        publisher.mock.assert_called_once_with("x")
        assert await broker.count_pending("unpublished") == 1
    assert len(subscriber.calls) == 0


async def test_a_subscriber_that_is_started_in_the_block_waits_for_the_move(make_broker, inbox):
    broker = make_broker()
    tasks = asyncio.all_tasks()
    test = TestTimersBroker(broker, hold=True)
    async with test:
        late = broker.subscriber("late")

        @late
        async def handle(body: str) -> None:
            inbox.put(body)

        await late.start()
        assert asyncio.all_tasks() == tasks
        await broker.publish("a", "late")
        await broker.publish("b", "late", activate_in=HOUR)
        await test.advance()
        assert inbox.rest() == ["a"]
        await test.advance(HOUR)
        assert inbox.rest() == ["b"]

    assert asyncio.all_tasks() == tasks
    assert broker.config.broker_config.connection._wake_ups is None
    async with broker:
        await broker.publish("for real", "late")
        assert await inbox.get() == "for real"


async def test_what_has_no_subscriber_stays(broker, test):
    async with test:
        await broker.publish("x", "elsewhere")
        await test.advance(MONTH)

        assert await broker.count_pending("elsewhere") == 1


async def test_replies_come_in_the_same_move(broker, test):
    @broker.subscriber("in")
    async def handle(body: str) -> str:
        return body.upper()

    @broker.subscriber("replies")
    async def collect(body: str, message: TimerMessage) -> None:
        assert message.correlation_id == "c"

    async with test:
        await broker.publish("x", "in", activate_in=MONTH, reply_to="replies", correlation_id="c")
        await test.advance(MONTH)

        collect.mock.assert_called_once_with("X")


async def test_what_was_scheduled_is_recorded_with_its_time(broker, test):
    with freeze_time("2030-01-01 12:00"):
        async with test:
            await test.advance(DAY)
            await broker.publish(
                {"n": 1}, "in", timer_id="1", activate_in=HOUR, correlation_id="c", headers={"n": 1}
            )
            await broker.publish_batch(
                "a", TimerPublishMessage("b", timer_id="own"), topic="in", activate_in=DAY
            )
            with pytest.raises(ValueError, match="timer_id"):
                await broker.publish("x", "in", timer_id="")

    first, second, third = test.scheduled_timers
    assert first == ScheduledTimer(
        topic="in",
        timer_id="1",
        activate_at=datetime(2030, 1, 2, 13, tzinfo=UTC),
        body={"n": 1},
        correlation_id="c",
        headers={"n": "1"},
    )
    assert (second.body, third.body, third.timer_id) == ("a", "b", "own")
    assert second.activate_at == datetime(2030, 1, 3, 12, tzinfo=UTC)


# --- pipelines ---------------------------------------------------------------------------


async def test_a_pipeline_does_all_when_it_is_executed(broker, test):
    publisher = broker.publisher("invoices")

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    async with test:
        async with test.pipeline() as pipeline:
            await broker.publish("a", "invoices", timer_id="1", pipeline=pipeline)
            await broker.publish_batch("b", "c", topic="invoices", pipeline=pipeline)
            assert await publisher.cancel_timer("1", pipeline=pipeline) is None
            assert (
                await broker.reschedule_timer("invoices", "1", activate_in=DAY, pipeline=pipeline)
                is None
            )
            await test.advance()
            assert (handle.mock.called, test.scheduled_timers) == (False, [])

            assert await pipeline.execute() == [b"1", b"11", b"w", b"0"]
            assert await pipeline.execute() == []
        async with test.pipeline() as pipeline:
            await broker.publish("never", "invoices", pipeline=pipeline)
        await test.advance()

        assert sorted(called_with(handle)) == ["b", "c"]
    assert [timer.body for timer in test.scheduled_timers] == ["a", "b", "c"]


async def test_a_handlers_pipeline_takes_timers_and_nothing_else(broker, test):
    refused = []

    @broker.subscriber("invoices")
    async def handle(body: str, pipeline: Pipeline, redis: Redis) -> None:
        await broker.publish(body, "out", pipeline=pipeline, activate_in=HOUR)
        await pipeline.execute()
        async with redis.pipeline() as own:
            await broker.publish(body, "out", pipeline=own, activate_in=HOUR)
            await own.execute()
        for command in (lambda: redis.get("a"), lambda: pipeline.get("a")):
            with pytest.raises(NotImplementedError, match=r"TestTimersBroker has no server.*GET"):
                await command()
            refused.append(command)

    async with test:
        await broker.publish("x", "invoices")
        await test.advance()

        assert await broker.count_pending("out") == 2
    assert len(refused) == 2


async def test_a_pipeline_of_a_server_is_refused(broker, test):
    other = TestTimersBroker(TimersBroker(), hold=True)
    async with fakeredis.FakeAsyncRedis() as redis, test:
        for pipeline in (redis.pipeline(), other.pipeline()):
            with pytest.raises(TypeError, match=r"TestTimersBroker.*its own pipeline"):
                await broker.publish("x", "invoices", pipeline=pipeline)
            with pytest.raises(TypeError, match="executed elsewhere"):
                await broker.cancel_timer("invoices", "42", pipeline=pipeline)
        with pytest.raises(ValueError, match='if_exists="error"'):
            await broker.publish("x", "in", if_exists="error", pipeline=test.pipeline())

    assert test.scheduled_timers == []


async def test_at_once_a_pipeline_is_anybodys(broker):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    test = TestTimersBroker(broker)
    async with fakeredis.FakeAsyncRedis() as redis, test:
        for pipeline in (redis.pipeline(), test.pipeline()):
            await broker.publish("x", "invoices", timer_id="42", pipeline=pipeline)
            await broker.cancel_timer("invoices", "42", pipeline=pipeline)
            assert await pipeline.execute() == []

        assert handle.mock.call_count == 2


# --- several brokers, and blocking code --------------------------------------------------


async def test_several_brokers_share_timers_and_time():
    first, second = TimersBroker(), TimersBroker(prefix="second:")
    router = TimersRouter(prefix="r:")
    elsewhere = TimersBroker(timeline_key="t", payloads_key="p", attempts_key="a")
    got = []

    for registrator, topic in [(second, "in"), (router, "in"), (elsewhere, "second:in")]:

        @registrator.subscriber(topic)
        async def handle(body: str, message: TimerMessage) -> None:
            got.append((body, message.topic))

    first.include_router(router)
    first.publisher("unheard")
    test = TestTimersBroker(first, second, elsewhere, hold=True)
    async with test as brokers:
        assert tuple(brokers) == (first, second, elsewhere)
        await first.publish("1", "second:in", activate_in=3 * HOUR)
        await second.publish("2", "in", activate_in=2 * HOUR)
        await first.publish("3", "r:in", activate_in=HOUR)
        await elsewhere.publish("4", "second:in", activate_in=MONTH)
        assert await second.count_pending("in") == 2
        assert await elsewhere.count_pending("second:in") == 1
        await test.advance(DAY)

    assert got == [("3", "r:in"), ("2", "second:in"), ("1", "second:in")]
    assert [subscriber.topic for subscriber in first.subscribers] == ["r:in"]


async def test_of_several_subscribers_one_gets_a_timer(broker, test):
    @broker.subscriber("in")
    async def first(body: str) -> None:
        pass

    @broker.subscriber("in")
    async def second(body: str) -> None:
        pass

    async with test:
        await broker.publish("x", "in")
        await test.advance()

        assert first.mock.call_count + second.mock.call_count == 1


async def test_what_blocking_code_schedules_is_handled(timers):
    broker = TimersBroker(prefix="shop:")
    timers.schedule({"n": 0}, "shop:invoices", timer_id="0", activate_in=HOUR)
    test = TestTimersBroker(broker, hold=True, client=timers)

    @broker.subscriber("invoices")
    async def handle(body: dict[str, int]) -> None:
        await broker.publish(body, "done", timer_id=str(body["n"]), activate_in=DAY)

    async with test:
        timers.schedule({"n": 1}, "shop:invoices", timer_id="1", activate_in=HOUR)
        timers.schedule({"n": 2}, "shop:invoices", timer_id="2", activate_in=HOUR)
        assert timers.cancel_timer("shop:invoices", "2")
        await test.advance(HOUR)

        assert called_with(handle) == [{"n": 0}, {"n": 1}]
        assert [timer.message for timer in timers.scheduled[-2:]] == [{"n": 0}, {"n": 1}]
        assert timers.get_pending_timers("shop:done") == ["0", "1"]
        assert timers.now() - test.now() < HOUR
        assert timers.pop_due("shop:done") == []
        timers.advance(DAY)
        assert len(timers.pop_due("shop:done")) == 2
        assert await broker.count_pending("done") == 0

    assert [(timer.topic, timer.body) for timer in test.scheduled_timers] == [
        ("shop:invoices", {"n": 1}),
        ("shop:invoices", {"n": 2}),
        ("shop:done", {"n": 0}),
        ("shop:done", {"n": 1}),
    ]


async def test_a_blocking_handler_schedules_from_its_thread(timers):
    broker = TimersBroker()

    @broker.subscriber("in")
    def handle(body: str) -> None:
        timers.schedule(body, "out", timer_id="42", activate_in=HOUR)

    @broker.subscriber("out")
    async def collect(body: str, message: TimerMessage) -> None:
        assert message.lateness == 0.0

    test = TestTimersBroker(broker, hold=True, client=timers)
    async with test:
        await broker.publish("x", "in", activate_in=DAY)
        await test.advance(DAY + HOUR)

        collect.mock.assert_called_once_with("x")


# --- the block's edges -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "error", "text"),
    [
        (5, TypeError, "by=timedelta(seconds=5)"),
        (None, TypeError, "by must be a timedelta, got None"),
        (-HOUR, ValueError, "by must not be negative, got"),
    ],
)
async def test_time_moves_by_a_length_and_forward(test, by, error, text):
    async with test:
        with pytest.raises(error) as caught:
            await test.advance(by)

    assert text in str(caught.value)


async def test_time_is_moved_where_it_makes_sense_alone(broker, test):
    errors = []

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        with pytest.raises(IncorrectState, match="outside handlers") as caught:
            await test.advance(DAY)
        errors.append(caught.value)

    with pytest.raises(IncorrectState, match="only inside the `async with` block"):
        await test.advance(DAY)
    async with test:
        await broker.publish("x", "invoices")
        await test.advance()
    assert len(errors) == 1
    with pytest.raises(IncorrectState, match="only inside the `async with` block"):
        await test.advance(DAY)

    at_once = TestTimersBroker(broker)
    async with at_once:
        with pytest.raises(IncorrectState, match="hold=True"):
            await at_once.advance(DAY)


def test_what_contradicts_itself_is_refused(broker):
    with pytest.raises(ValueError, match="hold=True can't be used with with_real=True"):
        TestTimersBroker(broker, hold=True, with_real=True)
    with pytest.raises(ValueError, match="client= needs hold=True"):
        TestTimersBroker(broker, client=FakeTimersClient())


async def test_timers_wait_for_the_next_block(broker, test):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    async with test:
        await broker.publish("x", "invoices", activate_in=DAY)
    with pytest.raises(SetupError):
        assert handle.mock.called
    async with test:
        await test.advance(DAY)
        handle.mock.assert_called_once_with("x")


@pytest.mark.parametrize(
    "is_inner", [True, False], ids=["virtual time in at once", "at once in virtual time"]
)
async def test_blocks_may_be_nested(broker, test, is_inner):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    at_once = TestTimersBroker(broker)
    outer, inner = (at_once, test) if is_inner else (test, at_once)
    config = broker.config.broker_config
    before = config.producer, config.connection._runner
    async with outer:
        async with inner:
            await broker.publish("x", "invoices", activate_in=DAY)
            assert await broker.count_pending("invoices") == int(inner is test)
            assert len(inner.scheduled_timers) == 1
        await broker.publish("y", "invoices", activate_in=DAY)
        assert await broker.count_pending("invoices") == int(outer is test)
        assert [timer.body for timer in outer.scheduled_timers] == ["y"]
    assert (config.producer, config.connection._runner) == before


async def test_nothing_about_the_broker_is_changed_after_an_error(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        inbox.put(body)

    def state():
        config = broker.config.broker_config
        topics = {subscriber.topic for subscriber in broker.subscribers}
        return [dict(vars(thing)) for thing in (broker, config, config.connection)], topics

    async def fail_in_a_block():
        test = TestTimersBroker(broker, hold=True)
        async with test:
            await broker.publisher("out", persistent=False).publish("x")
            await broker.publish("virtual", "invoices")
            await test.advance()
            raise ZeroDivisionError

    before = state()
    with pytest.raises(ZeroDivisionError):
        await fail_in_a_block()

    assert state() == before
    assert await inbox.get() == "virtual"
    async with broker:
        await broker.publish("for real", "invoices")
        assert await inbox.get() == "for real"


@pytest.mark.parametrize("connect_only", [None, True])
async def test_an_app_can_be_tested(broker, connect_only):
    publisher = broker.publisher("out")
    app = FastStream(broker)

    @app.after_startup
    async def schedule() -> None:
        await broker.publish("x", "invoices", activate_in=DAY)

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        await publisher.publish(body)

    test = TestTimersBroker(broker, hold=True, connect_only=connect_only)
    async with test, TestApp(app):
        await test.advance(DAY)

        handle.mock.assert_called_once_with("x")
        publisher.mock.assert_called_once_with("x")


# --- the documents -----------------------------------------------------------------------


def test_the_tests_in_the_docs_pass(tmp_path):
    text = (ROOT / "docs" / "testing.md").read_text()
    blocks = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
    (tmp_path / "test_docs.py").write_text("\n".join(blocks))
    options = ["-c", "/dev/null", "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    options += ["-W", "error", "-o", "asyncio_mode=auto", "-q"]
    options += ["-o", "asyncio_default_fixture_loop_scope=function"]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{text.count('async def test_')} passed" in done.stdout
