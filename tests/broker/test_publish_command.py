"""`TimerPublishCommand`: what middlewares see of what is published, made of anything returned."""

from datetime import UTC, datetime, timedelta

import pytest
from faststream import BaseMiddleware, Response
from faststream.response import PublishCommand, PublishType, ensure_response

from faststream_redis_timers import TimerPublishCommand, TimerPublishMessage, TimerResponse

HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)


def command_of(result, *, batch=False):
    return TimerPublishCommand.from_cmd(ensure_response(result).as_publish_command(), batch=batch)


def test_a_result_becomes_a_command():
    assert command_of(1).body == 1


def test_a_response_becomes_a_command_with_its_headers():
    command = command_of(Response(body=1, headers={"a": "b"}, correlation_id="c"))

    assert (command.body, command.headers, command.correlation_id) == (1, {"a": "b"}, "c")


def test_a_timer_response_becomes_a_command_with_time_and_id():
    response = TimerResponse(1, activate_at=YEAR_2050, timer_id="42", if_exists="keep")

    command = command_of(response)

    assert isinstance(command, TimerPublishCommand)
    assert (command.activate_at, command.timer_id, command.if_exists) == (YEAR_2050, "42", "keep")


def test_a_command_of_timers_is_taken_as_it_is():
    command = command_of(TimerResponse(1))

    assert TimerPublishCommand.from_cmd(command) is command


@pytest.mark.parametrize(
    ("result", "bodies"),
    [
        # None and what is empty are messages too.
        pytest.param(None, (None,), id="None"),
        pytest.param((), (None,), id="an empty sequence"),
        pytest.param("123", ("123",), id="text"),
        pytest.param("", ("",), id="empty text"),
        pytest.param(b"", (b"",), id="empty bytes"),
        pytest.param([1, 2, 3], (1, 2, 3), id="a sequence"),
        pytest.param([0, 1, 2], (0, 1, 2), id="a sequence that begins with what is false"),
    ],
)
def test_a_sequence_becomes_a_batch(result, bodies):
    assert command_of(result, batch=True).batch_bodies == bodies


@pytest.mark.parametrize("bodies", [(), (1,), (None, 2), (1, 2, 3)])
def test_a_batch_s_bodies_can_be_replaced(bodies):
    command = command_of([1, 2], batch=True)

    command.batch_bodies = bodies

    assert command.batch_bodies == bodies
    assert command.body == (bodies[0] if bodies else None)


@pytest.fixture
async def publish_through(make_broker):
    """Make a broker whose publishes go through a function."""

    async def make(change):
        class Changing(BaseMiddleware[PublishCommand]):
            async def publish_scope(self, call_next, cmd):
                assert isinstance(cmd, TimerPublishCommand)
                return await call_next(change(cmd) or cmd)

        broker = make_broker(middlewares=[Changing])
        await broker.connect()
        return broker

    return make


async def test_a_middleware_sees_what_was_asked_for(publish_through):
    seen = []
    broker = await publish_through(seen.append)

    await broker.publish(
        "x",
        "invoices",
        timer_id="42",
        activate_in=HOUR,
        headers={"a": "b"},
        correlation_id="c",
        reply_to="replies",
        if_exists="keep",
    )

    (command,) = seen
    assert (command.body, command.destination, command.timer_id) == ("x", "invoices", "42")
    assert (command.activate_in, command.activate_at, command.if_exists) == (HOUR, None, "keep")
    assert (command.headers, command.correlation_id) == ({"a": "b"}, "c")
    assert (command.reply_to, command.publish_type) == ("replies", PublishType.PUBLISH)


async def test_a_middleware_may_change_all_of_it(publish_through):
    def change(command):
        command.body = command.body.upper()
        command.destination = "elsewhere"
        command.timer_id = "43"
        command.activate_in = None
        command.activate_at = YEAR_2050
        command.add_headers({"a": "b"})
        command.correlation_id = "c"
        command.reply_to = "replies"

    broker = await publish_through(change)

    assert await broker.publish("x", "invoices", timer_id="42", activate_in=HOUR) == "43"

    timer = await broker.get_timer("elsewhere", "43")
    assert (timer.decode(), timer.due_at, timer.correlation_id) == ("X", YEAR_2050, "c")
    assert (timer.headers["a"], timer.headers["reply_to"]) == ("b", "replies")
    assert await broker.count_pending("invoices") == 0


async def test_a_middleware_may_change_the_messages_of_a_batch(publish_through):
    def change(command):
        first, *rest = command.batch_bodies
        command.batch_bodies = (*rest, TimerPublishMessage(first, timer_id="first"))

    broker = await publish_through(change)

    *_, last = await broker.publish_batch("a", "b", "c", topic="invoices")

    assert last == "first"
    timers = {timer.decode(): timer.timer_id async for timer in broker.iter_timers("invoices")}
    assert timers.keys() == {"a", "b", "c"}
    assert timers["a"] == "first"


async def test_a_middleware_may_empty_a_batch(publish_through):
    def change(command):
        command.batch_bodies = ()

    broker = await publish_through(change)

    assert await broker.publish_batch("a", "b", topic="invoices") == []
    assert await broker.count_pending("invoices") == 0
