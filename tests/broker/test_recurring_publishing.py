"""Recurring timers as brokers and publishers schedule them; what all front ends share is in
`test_contract`.
"""

from datetime import UTC, datetime, timedelta

import pytest
from faststream import BaseMiddleware
from faststream.response import PublishCommand
from waiting import wait_until_async

from faststream_redis_timers import (
    Cron,
    Every,
    TestTimersBroker,
    TimerPublishMessage,
    TimerResponse,
    TimersRouter,
)

TOPIC = "reports"
HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)
DAILY = Cron("0 9 * * *", tz="Europe/Berlin")
YEARLY = Every(timedelta(days=365), start=YEAR_2050)


@pytest.fixture
async def broker(make_broker):
    """A broker that publishes alone."""
    broker = make_broker()
    await broker.connect()
    return broker


# --- publishers --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["broker", "router"])
async def test_a_publisher_s_delay_means_nothing_to_a_series(make_broker, kind):
    broker = make_broker(prefix="my:")
    if kind == "broker":
        publisher = broker.publisher("out", activate_in=HOUR, headers={"a": "b"})
    else:
        router = TimersRouter()
        publisher = router.publisher("out", activate_in=HOUR, headers={"a": "b"})
        broker.include_router(router)
    await broker.connect()

    await publisher.publish("x", timer_id="42", repeat=YEARLY)
    await publisher.publish("x", "other", timer_id="43", repeat=YEARLY)

    timer = await broker.get_timer("out", "42")
    assert (timer.topic, timer.due_at, timer.repeat) == ("my:out", YEAR_2050, YEARLY)
    assert timer.headers["a"] == "b"
    assert (await broker.get_timer("other", "43")).repeat == YEARLY


async def test_a_publisher_pauses_resumes_and_updates_on_its_full_topic(make_broker):
    broker = make_broker(prefix="my:")
    publisher = broker.publisher("out")
    await broker.connect()
    await publisher.publish("old", timer_id="42", repeat=YEARLY)

    assert await publisher.pause_timer("42") is True
    assert (await broker.get_timer("out", "42")).paused
    assert await publisher.resume_timer("42") is True
    assert await publisher.resume_timer("42") is False
    assert await publisher.pause_timer("43") is False

    await publisher.reschedule_timer("42", activate_at=YEAR_2050 + HOUR)
    await publisher.publish("new", timer_id="42", repeat=YEARLY)
    timer = await broker.get_timer("out", "42")
    assert (timer.decode(), timer.due_at) == ("new", YEAR_2050 + HOUR)
    await publisher.publish("new", timer_id="42", repeat=YEARLY, if_exists="replace")
    assert (await broker.get_timer("out", "42")).due_at == YEAR_2050


# --- what handlers return ----------------------------------------------------------------


async def series_of_a_result(broker, topic):
    """Wait for a timer that a handler's result has become."""

    async def is_there():
        return await broker.get_timer(topic, "42")

    await wait_until_async(is_there)
    return await is_there()


@pytest.mark.parametrize("correlation_id", [None, "mine"])
async def test_a_result_may_begin_a_series(make_broker, correlation_id):
    broker = make_broker()

    @broker.subscriber("in")
    @broker.publisher("out", activate_in=HOUR)
    async def handle(body: str) -> TimerResponse:
        return TimerResponse(body, timer_id="42", repeat=YEARLY, correlation_id=correlation_id)

    async with broker:
        await broker.publish("x", "in", correlation_id="of the message")
        timer = await series_of_a_result(broker, "out")

    assert (timer.decode(), timer.due_at, timer.repeat) == ("x", YEAR_2050, YEARLY)
    # All occurrences would have that of the message that has begun the series.
    assert timer.headers.get("correlation_id") == correlation_id


async def test_a_reply_may_begin_a_series(make_broker):
    broker = make_broker()

    @broker.subscriber("in")
    async def handle(body: str) -> TimerResponse:
        return TimerResponse(body, timer_id="42", repeat=YEARLY)

    async with broker:
        await broker.publish("x", "in", reply_to="replies")
        timer = await series_of_a_result(broker, "replies")

    assert (timer.due_at, timer.repeat) == (YEAR_2050, YEARLY)


# --- middlewares and ids -----------------------------------------------------------------


@pytest.fixture
async def publish_through(make_broker):
    """Make a broker whose publishes go through a function."""

    async def make(change, **options):
        class Changing(BaseMiddleware[PublishCommand]):
            async def publish_scope(self, call_next, cmd):
                change(cmd)
                return await call_next(cmd)

        broker = make_broker(middlewares=[Changing], **options)
        await broker.connect()
        return broker

    return make


async def test_a_middleware_sees_the_definition_and_may_change_it(publish_through):
    seen = []

    def change(command):
        seen.append((command.repeat, command.if_exists))
        command.repeat = YEARLY

    broker = await publish_through(change)

    await broker.publish("x", TOPIC, timer_id="1", repeat=DAILY)
    await broker.publish("x", TOPIC, timer_id="2", if_exists="keep")
    await broker.publish_batch(TimerPublishMessage("x", timer_id="3"), topic=TOPIC, repeat=DAILY)

    assert seen == [(DAILY, None), (None, "keep"), (DAILY, None)]
    timers = [timer async for timer in broker.iter_timers(TOPIC)]
    assert [timer.timer_id for timer in timers] == ["1", "2", "3"]
    assert {timer.repeat for timer in timers} == {YEARLY}
    assert {timer.due_at for timer in timers} == {YEAR_2050}


async def test_a_middleware_may_make_a_series_due_once(publish_through):
    def change(command):
        command.repeat = None
        command.activate_at = YEAR_2050

    broker = await publish_through(change)

    await broker.publish("x", TOPIC, timer_id="1", repeat=DAILY)

    timer = await broker.get_timer(TOPIC, "1")
    assert (timer.repeat, timer.due_at) == (None, YEAR_2050)


async def test_no_id_is_made_for_a_series(make_broker):
    made = []

    def make_id():
        made.append(f"id {len(made)}")
        return made[-1]

    broker = make_broker(id_generator=make_id)
    await broker.connect()
    of_a_series = TimerPublishMessage("b", repeat=YEARLY)

    with pytest.raises(ValueError, match="needs a timer_id"):
        await broker.publish("x", TOPIC, repeat=YEARLY)
    with pytest.raises(ValueError, match="needs a timer_id"):
        await broker.publish_batch("a", topic=TOPIC, repeat=YEARLY)
    with pytest.raises(ValueError, match="needs a timer_id"):
        await broker.publish_batch(of_a_series, topic=TOPIC, activate_in=HOUR)
    assert made == []

    ids = await broker.publish_batch(
        TimerPublishMessage("a", timer_id="a"),
        TimerPublishMessage("b", activate_in=HOUR),
        topic=TOPIC,
        repeat=YEARLY,
    )
    assert ids == ["a", "id 0"]
    assert await broker.count_pending(TOPIC) == 2


# --- tests without a server --------------------------------------------------------------


async def test_at_once_a_series_is_recorded_and_runs_once(make_broker):
    broker = make_broker()
    bodies = []

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        bodies.append(body)

    test = TestTimersBroker(broker)
    async with test:
        await broker.publish("a", TOPIC, timer_id="1", repeat=YEARLY, headers={"x": "y"})
        await broker.publish_batch(
            TimerPublishMessage("b", timer_id="2"), topic=TOPIC, repeat=YEARLY
        )
        with pytest.raises(ValueError, match="needs a timer_id"):
            await broker.publish("c", TOPIC, repeat=YEARLY)

    assert bodies == ["a", "b"]
    assert [(timer.timer_id, timer.repeat) for timer in test.scheduled_timers] == [
        ("1", YEARLY),
        ("2", YEARLY),
    ]
    assert {timer.activate_at for timer in test.scheduled_timers} == {YEAR_2050}
    assert test.scheduled_timers[0].headers == {"x": "y"}


async def test_series_in_virtual_time_are_recorded_with_their_definition(make_broker):
    broker = make_broker()
    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish("a", TOPIC, timer_id="1", repeat=YEARLY, headers={"x": "y"})
        async with test.pipeline() as pipeline:
            await broker.publish("b", TOPIC, timer_id="2", repeat=YEARLY, pipeline=pipeline)
            assert len(test.scheduled_timers) == 1
            assert await pipeline.execute() == [b"1"]

    assert [(timer.body, timer.activate_at, timer.repeat) for timer in test.scheduled_timers] == [
        ("a", YEAR_2050, YEARLY),
        ("b", YEAR_2050, YEARLY),
    ]
    assert test.scheduled_timers[0].headers == {"x": "y"}
