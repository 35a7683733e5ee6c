"""Publishers, as decorators of handlers and as objects, and replies."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from faststream import BaseMiddleware, Response
from waiting import wait_until_async

from faststream_redis_timers import TimerPublishCommand, TimerResponse, TimersRouter
from faststream_redis_timers.annotations import TimerMessage

HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)


async def pending(broker, topic):
    """Wait for a timer of the topic and give all of them."""

    async def some():
        return await broker.count_pending(topic)

    await wait_until_async(some)
    return [timer async for timer in broker.iter_timers(topic)]


async def finished(broker, topic):
    """Wait until no timer of the topic is left."""

    async def none():
        return await broker.count_pending(topic) == 0

    await wait_until_async(none)


async def server_time(client):
    seconds, microseconds = await client.time()
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)


# --- decorated publishers ----------------------------------------------------------------


async def test_a_result_is_a_timer_of_its_own(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber("in")
    @broker.publisher("out")
    async def double(number: int) -> int:
        return 2 * number

    @broker.subscriber("out")
    async def collect(number: int, message: TimerMessage) -> None:
        inbox.put((number, message.timer_id, message.correlation_id))

    async with broker:
        ids = [await broker.publish(number, "in", correlation_id=f"c{number}") for number in (1, 2)]
        results = sorted([await inbox.get(), await inbox.get()])

    assert [(number, correlation_id) for number, _, correlation_id in results] == [
        (2, "c1"),
        (4, "c2"),
    ]
    assert len({*ids, *(timer_id for _, timer_id, _ in results)}) == 4


async def test_without_a_correlation_id_results_carry_the_timers_id(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> str:
        return body

    @broker.subscriber("out")
    async def collect(body: str, message: TimerMessage) -> None:
        inbox.put((message.timer_id, message.correlation_id))

    async with broker:
        await broker.publish("x", "in", timer_id="42")
        timer_id, correlation_id = await inbox.get()

    assert correlation_id == "42"
    assert timer_id != "42"


async def test_two_publishers_make_two_timers(make_broker):
    broker = make_broker()

    @broker.subscriber("in")
    @broker.publisher("out")
    @broker.publisher("audit", activate_in=HOUR)
    async def handle(body: str) -> str:
        return body.upper()

    async with broker:
        await broker.publish("x", "in", correlation_id="c")
        (out,) = await pending(broker, "out")
        (audit,) = await pending(broker, "audit")

    assert (out.decode(), out.correlation_id) == ("X", "c")
    assert (audit.decode(), audit.correlation_id) == ("X", "c")
    assert out.timer_id != audit.timer_id
    assert audit.due_at - out.due_at > timedelta(minutes=59)


async def test_none_is_a_result_too(make_broker):
    broker = make_broker()

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> None:
        pass

    async with broker:
        await broker.publish("x", "in")
        (timer,) = await pending(broker, "out")

    assert timer.body == b""


async def test_a_failed_handler_has_no_result(make_broker, inbox):
    broker = make_broker(logger=None)

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> str:
        inbox.put(body)
        raise ZeroDivisionError

    async with broker:
        await broker.publish("x", "in")
        await inbox.get()

    await broker.connect()
    assert await broker.count_pending("out") == 0
    assert await broker.count_pending("in") == 1


@pytest.mark.parametrize(
    ("response", "delay"),
    [
        (lambda: "x", timedelta(hours=2)),
        (lambda: Response("x"), timedelta(hours=2)),
        (lambda: TimerResponse("x"), timedelta(hours=2)),
        (lambda: TimerResponse("x", activate_in=HOUR), HOUR),
        (lambda: TimerResponse("x", activate_in=timedelta(0)), timedelta(0)),
    ],
)
async def test_a_results_delay_wins_over_the_publishers(make_broker, client, response, delay):
    broker = make_broker()

    @broker.subscriber("in")
    @broker.publisher("out", activate_in=timedelta(hours=2))
    async def handle(body: str) -> Any:
        return response()

    async with broker:
        before = await server_time(client)
        await broker.publish("x", "in")
        (timer,) = await pending(broker, "out")
        after = await server_time(client)

    assert before + delay <= timer.due_at <= after + delay


async def test_a_response_sets_its_timers_id_time_headers_and_correlation_id(make_broker):
    broker = make_broker()

    @broker.subscriber("in")
    @broker.publisher("out", activate_in=HOUR)
    async def handle(body: str) -> TimerResponse:
        return TimerResponse(
            {"done": body},
            timer_id="own",
            activate_at=YEAR_2050,
            headers={"x-a": "é", "n": 1},
            correlation_id="c2",
        )

    async with broker:
        await broker.publish("x", "in", correlation_id="c1")
        (timer,) = await pending(broker, "out")

    assert (timer.timer_id, timer.due_at, timer.correlation_id) == ("own", YEAR_2050, "c2")
    assert timer.decode() == {"done": "x"}
    assert (timer.headers["x-a"], timer.headers["n"]) == ("é", "1")


async def test_a_response_may_keep_a_timer_that_waits(make_broker):
    broker = make_broker()

    @broker.subscriber("in")
    @broker.publisher("out", activate_in=HOUR)
    async def handle(body: str) -> TimerResponse:
        return TimerResponse(body, timer_id="own", if_exists="keep")

    async with broker:
        await broker.publish("old", "out", timer_id="own", activate_in=HOUR)
        await broker.publish("new", "in")
        await finished(broker, "in")
        (timer,) = await pending(broker, "out")

    assert timer.decode() == "old"


async def test_a_handler_may_schedule_its_own_timer_again(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber("in")
    async def handle(round_: int, message: TimerMessage) -> None:
        inbox.put(round_)
        if round_ < 3:
            await broker.publish(round_ + 1, "in", timer_id=message.timer_id)

    async with broker:
        await broker.publish(1, "in", timer_id="42")

        assert [await inbox.get() for _ in range(3)] == [1, 2, 3]
        await finished(broker, "in")


async def test_a_result_that_cannot_be_sent_keeps_the_timer(make_broker, inbox):
    broker = make_broker(logger=None)

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> Any:
        inbox.put(body)
        return object()

    async with broker:
        await broker.publish("x", "in", timer_id="42")
        await inbox.get()

    await broker.connect()
    assert await broker.get_pending_timers("in") == ["42"]
    assert await broker.count_pending("out") == 0


# --- replies -----------------------------------------------------------------------------


async def test_a_handlers_result_goes_where_reply_to_says(make_broker, inbox):
    broker = make_broker(prefix="my:")

    @broker.subscriber("in")
    async def handle(body: str) -> str:
        return body.upper()

    @broker.subscriber("replies")
    async def collect(body: str, message: TimerMessage) -> None:
        inbox.put((body, message.topic, message.correlation_id, message.timer_id))

    async with broker:
        timer_id = await broker.publish("x", "in", reply_to="replies", correlation_id="c")
        body, topic, correlation_id, reply_id = await inbox.get()

    assert (body, topic, correlation_id) == ("X", "my:replies", "c")
    assert reply_id != timer_id


async def test_a_reply_is_due_now_unless_the_handler_says_when(make_broker):
    broker = make_broker()

    @broker.subscriber("in")
    async def handle(body: str) -> Any:
        return TimerResponse(body, activate_at=YEAR_2050) if body == "later" else body

    async with broker:
        await broker.publish("later", "in", reply_to="replies")
        await broker.publish("now", "in", reply_to="replies")
        await finished(broker, "in")
        now, later = await pending(broker, "replies")

    assert now.decode() == "now"
    assert now.due_at < YEAR_2050
    assert (later.decode(), later.due_at) == ("later", YEAR_2050)


async def test_a_reply_and_a_publishers_timer_are_two(make_broker):
    broker = make_broker()

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> str:
        return body

    async with broker:
        await broker.publish("x", "in", reply_to="replies")
        (reply,) = await pending(broker, "replies")
        (out,) = await pending(broker, "out")

    assert reply.timer_id != out.timer_id


async def test_no_reply_ignores_reply_to(make_broker):
    broker = make_broker()

    @broker.subscriber("in", no_reply=True)
    async def handle(body: str) -> str:
        return body

    async with broker:
        await broker.publish("x", "in", reply_to="replies")
        await finished(broker, "in")

        assert await broker.count_pending("replies") == 0


# --- settings of a publisher -------------------------------------------------------------


async def test_a_publishers_headers_and_reply_to_are_on_all_its_timers(make_broker):
    broker = make_broker(prefix="my:")
    publisher = broker.publisher("out", headers={"who": "publisher", "a": "1"}, reply_to="replies")

    @broker.subscriber("in")
    @publisher
    async def handle(body: str) -> Any:
        return TimerResponse(body, headers={"who": "response"}) if body == "own" else body

    async with broker:
        for body in ("plain", "own"):
            await broker.publish(body, "in")
        await finished(broker, "in")
        await publisher.publish("called", headers={"who": "call"}, reply_to="elsewhere")
        await publisher.publish("called plainly")
        timers = {timer.decode(): timer.headers for timer in await pending(broker, "out")}

    assert {body: headers["who"] for body, headers in timers.items()} == {
        "plain": "publisher",
        "own": "response",
        "called": "call",
        "called plainly": "publisher",
    }
    assert {headers["a"] for headers in timers.values()} == {"1"}
    assert timers.pop("called")["reply_to"] == "my:elsewhere"
    assert {headers["reply_to"] for headers in timers.values()} == {"my:replies"}


async def test_middlewares_see_the_commands_of_results_and_replies(make_broker):
    seen = []

    class Watching(BaseMiddleware):
        async def publish_scope(self, call_next, cmd):
            if cmd.correlation_id == "c":
                seen.append((type(cmd), cmd.destination, cmd.body, cmd.publish_type.value))
                cmd.headers["x-seen"] = "yes"
            return await call_next(cmd)

    broker = make_broker(middlewares=[Watching])

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> str:
        return body.upper()

    async with broker:
        await broker.publish("x", "in", reply_to="replies", correlation_id="c")
        timers = [*await pending(broker, "out"), *await pending(broker, "replies")]

    assert {timer.headers["x-seen"] for timer in timers} == {"yes"}
    assert seen == [
        (TimerPublishCommand, "in", "x", "PUBLISH"),
        (TimerPublishCommand, "replies", "X", "REPLY"),
        (TimerPublishCommand, "out", "X", "PUBLISH"),
    ]


# --- publisher objects -------------------------------------------------------------------


@pytest.fixture(params=["broker", "router"])
async def publisher_and_broker(request, make_broker):
    """A publisher whose topic is my:out in full, and a broker without prefixes."""
    plain = make_broker()
    await plain.connect()
    if request.param == "broker":
        broker = make_broker(prefix="my:")
        publisher = broker.publisher("out", activate_in=HOUR)
    else:
        broker = make_broker(prefix="m")
        router = TimersRouter(prefix="y:")
        publisher = router.publisher("out", activate_in=HOUR)
        broker.include_router(router)
    await broker.connect()
    return publisher, plain


async def test_a_publisher_object_schedules_moves_and_cancels_on_its_full_topic(
    publisher_and_broker,
):
    publisher, plain = publisher_and_broker
    timer_id = await publisher.publish("x", correlation_id="c", headers={"a": "b"})

    timer = await plain.get_timer("my:out", timer_id)
    assert (timer.decode(), timer.correlation_id, timer.headers["a"]) == ("x", "c", "b")
    assert await publisher.reschedule_timer(timer_id, activate_at=YEAR_2050) is True
    assert (await plain.get_timer("my:out", timer_id)).due_at == YEAR_2050
    assert await publisher.cancel_timer(timer_id) is True
    assert await publisher.cancel_timer(timer_id) is False
    assert await publisher.reschedule_timer(timer_id, activate_in=HOUR) is False
    assert await plain.count_pending("my:out") == 0


async def test_a_publisher_objects_delay_can_be_overridden_per_call(publisher_and_broker, client):
    publisher, plain = publisher_and_broker
    before = await server_time(client)
    await publisher.publish("x", timer_id="default")
    await publisher.publish("x", timer_id="delay", activate_in=2 * HOUR)
    await publisher.publish("x", timer_id="now", activate_in=timedelta(0))
    await publisher.publish("x", timer_id="time", activate_at=YEAR_2050)
    after = await server_time(client)

    due = {timer.timer_id: timer.due_at async for timer in plain.iter_timers("my:out")}
    assert before + HOUR <= due["default"] <= after + HOUR
    assert before + 2 * HOUR <= due["delay"] <= after + 2 * HOUR
    assert before <= due["now"] <= after
    assert due["time"] == YEAR_2050


async def test_an_explicit_topic_gets_the_prefix_too(publisher_and_broker):
    publisher, plain = publisher_and_broker

    timer_id = await publisher.publish("x", "other")

    assert await plain.get_pending_timers("my:other") == [timer_id]
    assert await plain.count_pending("my:out") == 0


async def test_a_publisher_object_sends_nothing_as_an_empty_body(publisher_and_broker):
    publisher, plain = publisher_and_broker

    timer_id = await publisher.publish()

    assert (await plain.get_timer("my:out", timer_id)).body == b""


async def test_a_publisher_object_knows_if_exists(publisher_and_broker):
    publisher, plain = publisher_and_broker
    await publisher.publish("old", timer_id="42")

    await publisher.publish("new", timer_id="42", if_exists="keep")

    assert (await plain.get_timer("my:out", "42")).decode() == "old"


# --- what version 0.5 had ----------------------------------------------------------------


async def test_cancel_warns_and_cancels(publisher_and_broker):
    publisher, plain = publisher_and_broker
    timer_id = await publisher.publish("x")

    with pytest.warns(DeprecationWarning, match=r"use publisher\.cancel_timer\(\)") as warned:
        assert await publisher.cancel(timer_id) is None

    assert warned[0].filename == __file__
    assert await plain.count_pending("my:out") == 0


async def test_fetch_redis_timers_warns_and_gives_pairs_of_plain_topic_and_id(publisher_and_broker):
    publisher, _ = publisher_and_broker
    await publisher.publish("x", timer_id="before", activate_at=YEAR_2050 - HOUR)
    await publisher.publish("x", timer_id="at", activate_at=YEAR_2050)
    await publisher.publish("x", timer_id="after", activate_at=YEAR_2050 + HOUR)

    with pytest.warns(DeprecationWarning, match=r"use broker\.get_pending_timers\(\)") as warned:
        pairs = await publisher.fetch_redis_timers(YEAR_2050)

    assert warned[0].filename == __file__
    assert pairs == [("out", "before"), ("out", "at")]
