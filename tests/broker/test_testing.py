"""`TestTimersBroker`: handlers without a server, and what is left of it afterwards."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from faststream import Context, FastStream, TestApp
from faststream.exceptions import (
    AckMessage,
    IncorrectState,
    NackMessage,
    RejectMessage,
    SetupError,
    SkipMessage,
)
from pydantic import BaseModel
from waiting import wait_until_async

from faststream_redis_timers import (
    ScheduledTimer,
    TestTimersBroker,
    TimerPublishMessage,
    TimerResponse,
    TimersBroker,
    TimersRouter,
)
from faststream_redis_timers.annotations import Redis, TimerMessage, TimersBroker as Broker

HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)


class Invoice(BaseModel):
    number: int


@pytest.fixture
def broker():
    """A broker without any client."""
    return TimersBroker()


# --- delivery ----------------------------------------------------------------------------


async def test_what_is_scheduled_is_delivered_at_once(broker):
    got = []

    @broker.subscriber("invoices")
    async def handle(invoice: Invoice, message: TimerMessage) -> None:
        got.append((invoice, message.timer_id, message.topic, message.redelivered))

    async with TestTimersBroker(broker) as entered:
        assert entered is broker
        await broker.publish(Invoice(number=1), "invoices", timer_id="42", activate_in=HOUR)

        assert got == [(Invoice(number=1), "42", "invoices", False)]
        handle.mock.assert_called_once_with({"number": 1})


async def test_correlation_id_headers_and_lateness_reach_the_handler(broker):
    got = []

    @broker.subscriber("invoices")
    async def handle(
        body: str,
        message: TimerMessage,
        correlation_id: str = Context("message.correlation_id"),
        tenant: str = Context("message.headers.x-tenant"),
    ) -> None:
        got.append((correlation_id, tenant))
        assert abs(message.lateness) < 1e-5
        assert abs(datetime.now(UTC) - message.due_at) < timedelta(minutes=1)

    async with TestTimersBroker(broker):
        timer_id = await broker.publish("x", "invoices", headers={"x-tenant": "José"})
        await broker.publish("x", "invoices", correlation_id="c", headers={"x-tenant": 1})

    assert got == [(timer_id, "José"), ("c", "1")]


async def test_what_is_scheduled_is_recorded(broker):
    @broker.subscriber("invoices")
    async def handle(body: Any) -> None:
        pass

    test_broker = TestTimersBroker(broker)
    async with test_broker:
        before = datetime.now(UTC)
        await broker.publish(
            Invoice(number=1),
            "invoices",
            timer_id="1",
            activate_in=HOUR,
            correlation_id="c",
            headers={"n": 1},
        )
        await broker.publish("x", "nobody listens", timer_id="2", activate_at=YEAR_2050)
        third = await broker.publish("now", "invoices")
        after = datetime.now(UTC)

    first, second, now = test_broker.scheduled_timers
    assert before + HOUR <= first.activate_at <= after + HOUR
    assert first == ScheduledTimer(
        topic="invoices",
        timer_id="1",
        activate_at=first.activate_at,
        body=Invoice(number=1),
        correlation_id="c",
        headers={"n": 1},
    )
    assert second == ScheduledTimer(
        topic="nobody listens",
        timer_id="2",
        activate_at=YEAR_2050,
        body="x",
        correlation_id="2",
        headers={},
    )
    assert before <= now.activate_at <= after
    assert (now.timer_id, now.correlation_id) == (third, third)


async def test_batches_are_delivered_and_recorded_one_by_one(broker):
    got = []

    @broker.subscriber("invoices")
    async def handle(body: Any) -> None:
        got.append(body)

    test_broker = TestTimersBroker(broker)
    async with test_broker:
        ids = await broker.publish_batch(
            "a",
            None,
            TimerPublishMessage(
                "c", timer_id="own", activate_at=YEAR_2050, headers={"b": "2"}, correlation_id="cc"
            ),
            topic="invoices",
            headers={"a": "1"},
            correlation_id="c",
        )
        assert await broker.publish_batch(topic="invoices") == []

    assert got == ["a", b"", "c"]
    timers = test_broker.scheduled_timers
    assert [timer.timer_id for timer in timers] == ids
    assert [timer.body for timer in timers] == ["a", None, "c"]
    assert [timer.correlation_id for timer in timers] == ["c", "c", "cc"]
    assert [timer.headers for timer in timers] == [{"a": "1"}, {"a": "1"}, {"a": "1", "b": "2"}]
    assert timers[2].activate_at == YEAR_2050


async def test_publishers_and_results_are_recorded_with_their_times(broker):
    publisher = broker.publisher("out", activate_in=HOUR, headers={"who": "publisher"})

    @broker.subscriber("in")
    @publisher
    async def handle(body: str) -> Any:
        return TimerResponse(body, activate_at=YEAR_2050, timer_id="own") if body else "default"

    test_broker = TestTimersBroker(broker)
    async with test_broker:
        before = datetime.now(UTC)
        await broker.publish("x", "in", correlation_id="c")
        await broker.publish("", "in")
        await publisher.publish("called")

        assert [call.args for call in publisher.mock.call_args_list] == [
            ("x",),
            ("default",),
            ("called",),
        ]

    out = [timer for timer in test_broker.scheduled_timers if timer.topic == "out"]
    assert [timer.body for timer in out] == ["x", "default", "called"]
    assert (out[0].timer_id, out[0].activate_at, out[0].correlation_id) == ("own", YEAR_2050, "c")
    assert all(timer.activate_at >= before + HOUR for timer in out)
    assert {timer.headers["who"] for timer in out} == {"publisher"}


async def test_a_publisher_of_a_topic_with_a_handler_reaches_it(broker):
    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> str:
        return body.upper()

    @broker.subscriber("out")
    async def collect(body: str) -> None:
        pass

    async with TestTimersBroker(broker):
        await broker.publish("x", "in")

        handle.mock.assert_called_once_with("x")
        collect.mock.assert_called_once_with("X")
        (publisher,) = broker.publishers
        publisher.mock.assert_called_once_with("X")


async def test_replies_are_delivered(broker):
    @broker.subscriber("in")
    async def handle(body: str) -> str:
        return body.upper()

    @broker.subscriber("replies")
    async def collect(body: str) -> None:
        pass

    test_broker = TestTimersBroker(broker)
    async with test_broker:
        await broker.publish("x", "in", reply_to="replies", correlation_id="c")

        collect.mock.assert_called_once_with("X")

    assert [timer.correlation_id for timer in test_broker.scheduled_timers] == ["c", "c"]


async def test_a_timer_that_recurs_can_be_tested(broker):
    @broker.subscriber("in")
    async def handle(round_: int, message: TimerMessage, own: Broker) -> None:
        if round_ < 3:
            await own.publish(round_ + 1, "in", timer_id=message.timer_id, activate_in=HOUR)

    async with TestTimersBroker(broker):
        await broker.publish(1, "in", timer_id="42")

        assert sorted(call.args for call in handle.mock.call_args_list) == [(1,), (2,), (3,)]


async def test_filters_work(broker):
    subscriber = broker.subscriber("invoices")

    @subscriber(filter=lambda message: message.headers.get("kind") == "paid")
    async def paid(body: str) -> None:
        pass

    @subscriber
    async def other(body: str) -> None:
        pass

    async with TestTimersBroker(broker):
        await broker.publish("1", "invoices", headers={"kind": "paid"})
        await broker.publish("2", "invoices")

        paid.mock.assert_called_once_with("1")
        other.mock.assert_called_once_with("2")


# --- prefixes, routers, several brokers --------------------------------------------------


async def test_prefixes_and_routers_are_in_the_topics():
    broker = TimersBroker(prefix="a:")
    router = TimersRouter(prefix="b:")

    @router.subscriber("in")
    @router.publisher("out")
    async def handle(body: str) -> str:
        return body.upper()

    publisher = router.publisher("in")
    broker.include_router(router)
    test_broker = TestTimersBroker(broker)
    async with test_broker:
        await broker.publish("1", "b:in")
        await publisher.publish("2")

        assert [call.args for call in handle.mock.call_args_list] == [("1",), ("2",)]
        (out,) = [publisher for publisher in broker.publishers if publisher.topic == "a:b:out"]
        assert [call.args for call in out.mock.call_args_list] == [("1",), ("2",)]

    assert [timer.topic for timer in test_broker.scheduled_timers] == ["a:b:in", "a:b:out"] * 2


async def test_several_brokers_deliver_to_each_other():
    first, second = TimersBroker(), TimersBroker(prefix="second:")

    @second.subscriber("in")
    async def handle(body: str) -> None:
        pass

    test_broker = TestTimersBroker(first, second)
    async with test_broker as brokers:
        assert tuple(brokers) == (first, second)
        await first.publish("1", "second:in")
        await second.publish("2", "in")

        assert [call.args for call in handle.mock.call_args_list] == [("1",), ("2",)]

    assert [timer.topic for timer in test_broker.scheduled_timers] == ["second:in"] * 2


# --- subscribers without handlers --------------------------------------------------------


async def test_what_waits_for_a_caller_is_recorded_and_calls_the_publishers_mock(broker):
    subscriber = broker.subscriber("exports")
    publisher = broker.publisher("exports")
    broker.subscriber("unpublished")

    test_broker = TestTimersBroker(broker)
    async with test_broker:
        await publisher.publish("x")
        await broker.publish("y", "unpublished")

        publisher.mock.assert_called_once_with("x")
        assert len(subscriber.calls) == 0

    assert [timer.body for timer in test_broker.scheduled_timers] == ["x", "y"]
    assert {each.topic for each in broker.subscribers} == {"exports", "unpublished"}
    assert len(subscriber.calls) == 0


async def test_with_real_a_caller_gets_the_timers_of_a_publisher(make_broker):
    broker = make_broker(prefix="my:")
    subscriber = broker.subscriber("exports")
    publisher = broker.publisher("exports")
    unheard = broker.publisher("unheard")

    async with TestTimersBroker(broker, with_real=True):
        for number in range(3):
            await publisher.publish(number)
        messages = [await subscriber.get_one(timeout=10) for _ in range(3)]
        for message in messages:
            await message.ack()
        await unheard.publish("x")
        await wait_until_async(lambda: unheard.mock.called)

        assert sorted([await message.decode() for message in messages]) == [0, 1, 2]
        assert not publisher.mock.called

    async with broker:
        await publisher.publish("after")
        message = await subscriber.get_one(timeout=10)
        await message.ack()
    assert await message.decode() == "after"


# --- subscribers that are started in the block -------------------------------------------


async def test_a_subscriber_that_is_started_in_the_block_delivers_at_once(make_broker, inbox):
    broker = make_broker()
    tasks = asyncio.all_tasks()

    test_broker = TestTimersBroker(broker)
    async with test_broker:
        late = broker.subscriber("late")
        exports = broker.subscriber("exports")

        @late
        async def handle(body: str) -> None:
            inbox.put(body)

        await late.start()
        await exports.start()
        assert asyncio.all_tasks() == tasks
        assert late.running
        await broker.publish("a", "late")
        assert inbox.rest() == ["a"]
        with pytest.raises(IncorrectState, match="TestTimersBroker starts it only if"):
            await exports.get_one()

    assert not late.running
    assert asyncio.all_tasks() == tasks
    # The real one has a listener of its own, that hears its server.
    assert broker.config.broker_config.connection._wake_ups is None
    async with broker:
        await broker.publish("for real", "late")
        assert await inbox.get() == "for real"
        await broker.publish("for a caller", "exports")
        message = await exports.get_one(timeout=10)
        await message.ack()


async def test_a_block_beside_a_worker_starts_nothing_and_leaves_it_its_listener(
    make_broker, inbox
):
    broker = make_broker()
    connection = broker.config.broker_config.connection

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        inbox.put(body)

    async with broker:
        wake_ups = connection.wake_ups
        async with TestTimersBroker(broker):
            late = broker.subscriber("late")
            late(handle)
            await late.start()
            names = {task.get_name() for task in asyncio.all_tasks()}
            assert "timers of 'invoices'" in names
            assert "timers of 'late'" not in names
            await broker.publish("tried", "late")
            assert inbox.rest() == ["tried"]

        assert connection.wake_ups is wake_ups
        await late.start()
        await broker.publish_batch("1", topic="invoices")
        assert await inbox.get() == "1"
        await broker.publish("2", "late")
        assert await inbox.get() == "2"


# --- errors ------------------------------------------------------------------------------


async def test_a_handlers_error_comes_out_of_publish(broker):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        raise ZeroDivisionError

    async with TestTimersBroker(broker):
        with pytest.raises(ZeroDivisionError):
            await broker.publish("x", "invoices")

        handle.mock.assert_called_once_with("x")


@pytest.mark.parametrize(
    "instruction",
    [
        RejectMessage(),
        NackMessage(),
        NackMessage(delay=HOUR),
        AckMessage(),
        SkipMessage(),
    ],
    ids=repr,
)
async def test_instructions_do_not_come_out_of_publish(broker, instruction):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        raise instruction

    async with TestTimersBroker(broker):
        await broker.publish("x", "invoices")

        handle.mock.assert_called_once_with("x")


@pytest.mark.parametrize("how", ["ack", "nack", "reject"])
async def test_a_handler_may_settle_its_timer(broker, how):
    @broker.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        await getattr(message, how)()

    async with TestTimersBroker(broker):
        await broker.publish("x", "invoices")

        handle.mock.assert_called_once_with("x")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"activate_in": 5}, TypeError),
        ({"activate_at": datetime(2050, 1, 1)}, ValueError),  # noqa: DTZ001  naive is the point
        ({"timer_id": ""}, ValueError),
        ({"headers": {"a": None}}, TypeError),
        ({"if_exists": "maybe"}, ValueError),
        ({"pipeline": 5}, TypeError),
    ],
    ids=repr,
)
async def test_what_the_broker_refuses_is_refused_and_not_recorded(broker, arguments, error):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    test_broker = TestTimersBroker(broker)
    async with test_broker:
        with pytest.raises(error, match=next(iter(arguments)).rstrip("s")):
            await broker.publish("x", "invoices", **arguments)

        assert not handle.mock.called
    assert test_broker.scheduled_timers == []


async def test_a_batch_that_the_broker_refuses_is_refused(broker):
    async with TestTimersBroker(broker):
        with pytest.raises(ValueError, match="'1' occurs twice"):
            await broker.publish_batch(
                TimerPublishMessage("a", timer_id="1"),
                TimerPublishMessage("b", timer_id="1"),
                topic="invoices",
            )


async def test_an_argument_that_does_not_fit_comes_out_of_publish(broker):
    @broker.subscriber("invoices")
    async def handle(number: int) -> None:
        pass

    async with TestTimersBroker(broker):
        with pytest.raises(Exception, match="number"):
            await broker.publish("no number", "invoices")


async def test_commands_of_the_client_are_refused(broker):
    @broker.subscriber("invoices")
    async def handle(body: str, redis: Redis) -> None:
        await redis.get(body)

    async with TestTimersBroker(broker):
        with pytest.raises(NotImplementedError, match=r"TestTimersBroker has no server.*GET"):
            await broker.publish("x", "invoices")


# --- nothing is ever pending -------------------------------------------------------------


async def test_every_look_answers_that_nothing_is_pending(broker):
    publisher = broker.publisher("invoices")
    async with TestTimersBroker(broker):
        await broker.publish("x", "invoices", timer_id="42", activate_in=HOUR)

        assert await broker.has_pending("invoices", "42") is False
        assert await broker.get_timer("invoices", "42") is None
        assert await broker.count_pending("invoices") == 0
        assert await broker.get_pending_timers("invoices") == []
        assert [timer async for timer in broker.iter_timers("invoices")] == []
        assert [timer async for timer in broker.iter_timers("invoices", match="*")] == []
        assert await broker.cancel_timer("invoices", "42") is False
        assert await broker.cancel_timers("invoices", ["42", "43"]) == 0
        assert await broker.cancel_all("invoices") == 0
        assert await broker.reschedule_timer("invoices", "42", activate_in=HOUR) is False
        assert await publisher.cancel_timer("42") is False
        assert await publisher.reschedule_timer("42", activate_in=HOUR) is False
        assert await broker.ping() is True


@pytest.mark.parametrize("options", [{}, {"batch": True}])
@pytest.mark.parametrize("hold", [False, True])
async def test_a_timeout_of_a_blocking_handler_is_refused_as_at_start(broker, options, hold):
    @broker.subscriber("invoices", handler_timeout=1, **options)
    def handle(body: list[str]) -> None:
        pass

    with pytest.raises(SetupError, match="handler_timeout of topic 'invoices' needs asynchronous"):
        async with TestTimersBroker(broker, hold=hold):
            pass


async def test_a_timeout_of_an_asynchronous_handler_is_accepted_each_time(broker):
    @broker.subscriber("invoices", handler_timeout=60)
    async def handle(body: str) -> None:
        pass

    for _ in range(2):
        async with TestTimersBroker(broker):
            await broker.start()
            await broker.publish("x", "invoices")
            handle.mock.assert_called_once_with("x")


# --- the block's edges -------------------------------------------------------------------


async def test_mocks_exist_within_the_block_alone(broker):
    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    async with TestTimersBroker(broker):
        await broker.publish("x", "invoices")
    with pytest.raises(SetupError):
        handle.mock.assert_called_once_with("x")
    # A second block starts from scratch.
    async with TestTimersBroker(broker):
        assert not handle.mock.called


async def test_nothing_about_the_broker_is_changed_afterwards(make_broker, inbox):
    broker = make_broker()
    publisher = broker.publisher("out")

    @broker.subscriber("invoices")
    @broker.publisher("audit", activate_in=HOUR)
    async def handle(body: str) -> str:
        inbox.put(body)
        return body

    def state():
        config = broker.config.broker_config
        topics = {subscriber.topic for subscriber in broker.subscribers}
        return [dict(vars(thing)) for thing in (broker, config, config.connection)], topics

    async def fail_in_a_block():
        async with TestTimersBroker(broker):
            await broker.publish("in the block", "invoices")
            await publisher.publish("x")
            raise ZeroDivisionError

    before = state()
    with pytest.raises(ZeroDivisionError):
        await fail_in_a_block()

    assert state() == before
    assert await inbox.get() == "in the block"
    async with broker:
        await broker.publish("for real", "invoices", timer_id="42")
        assert await inbox.get() == "for real"

        async def is_audited():
            return await broker.count_pending("audit") == 1

        await wait_until_async(is_audited)
        assert await publisher.publish("x", activate_in=HOUR)
        assert await broker.count_pending("out") == 1


async def test_an_app_can_be_tested(broker):
    started = []
    app = FastStream(broker)

    @app.after_startup
    async def schedule() -> None:
        started.append(await broker.publish("x", "invoices"))

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    async with TestTimersBroker(broker), TestApp(app):
        handle.mock.assert_called_once_with("x")
    assert len(started) == 1


# --- on a real server --------------------------------------------------------------------


async def test_with_real_handlers_have_mocks_on_a_real_server(make_broker):
    broker = make_broker(prefix="my:")
    publisher = broker.publisher("unheard")

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> str:
        return body.upper()

    @broker.subscriber("out")
    async def collect(body: str) -> None:
        pass

    async with TestTimersBroker(broker, with_real=True):
        await broker.publish("x", "in")
        await publisher.publish("y", activate_in=timedelta(milliseconds=20))
        await wait_until_async(lambda: collect.mock.called and publisher.mock.called)

        handle.mock.assert_called_once_with("x")
        collect.mock.assert_called_once_with("X")
        publisher.mock.assert_called_once_with("y")

        async def none_left():
            topics = ("in", "out", "unheard")
            return not any([await broker.count_pending(topic) for topic in topics])

        await wait_until_async(none_left)

    assert not broker.running
    async with broker:
        assert await broker.ping() is True


async def test_with_real_takes_several_brokers_and_ends_what_it_has_started(make_broker):
    first, second = make_broker(), make_broker(prefix="second:")
    publisher = first.publisher("unheard")

    @second.subscriber("in")
    async def handle(body: str) -> str:
        return body.upper()

    @first.subscriber("replies")
    async def collect(body: str, message: TimerMessage) -> None:
        assert message.correlation_id == "c"

    tasks = asyncio.all_tasks()
    async with TestTimersBroker(first, second, with_real=True):
        await first.publish("x", "second:in", activate_in=timedelta(milliseconds=20))
        await handle.wait_call(timeout=10)
        await handle.assert_called_once_with("x")
        await second.publish("y", "in", reply_to="replies", correlation_id="c")
        await wait_until_async(lambda: handle.mock.call_count == 2)
        # The prefix of the broker that publishes stands before the topic of a reply.
        assert not collect.mock.called
        await first.publish("z", "second:in", reply_to="replies", correlation_id="c")
        await collect.wait_call(timeout=10)

        collect.mock.assert_called_once_with("Z")
        assert not publisher.mock.called
        assert await second.cancel_all("replies") == 1

    with pytest.raises(SetupError):
        handle.mock.assert_not_called()
    assert asyncio.all_tasks() == tasks
    assert [subscriber.topic for subscriber in first.subscribers] == ["replies"]


async def test_with_real_needs_a_client(broker):
    with pytest.raises(Exception, match="has no client"):
        async with TestTimersBroker(broker, with_real=True):
            pass


async def test_a_timer_that_recurs_is_recorded_and_does_not_recur_without_end():
    broker = TimersBroker()

    @broker.subscriber("daily")
    async def handle(body: str, message: TimerMessage) -> None:
        await broker.publish(
            body, "daily", timer_id=message.timer_id, activate_in=timedelta(days=1)
        )

    testing = TestTimersBroker(broker)
    async with testing:
        await broker.publish("report", "daily", timer_id="report")
        assert handle.mock.call_count == 10

    assert [timer.timer_id for timer in testing.scheduled_timers] == ["report"] * 11
