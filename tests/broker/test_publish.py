"""Publishing: what arrives at handlers, what lies in Redis, batches, pipelines."""

import dataclasses
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
import redis
import redis.asyncio
from faststream import BaseMiddleware, Context
from faststream.exceptions import FeatureNotSupportedException, IncorrectState
from pydantic import BaseModel
from waiting import wait_until_async

from faststream_redis_timers import (
    Cron,
    Every,
    TimerExistsError,
    TimerPublishMessage,
    TimersBroker,
)
from faststream_redis_timers.annotations import TimerMessage as Message
from faststream_redis_timers_sync import TimersClient

TOPIC = "invoices"
HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)
DAILY = Cron("0 9 * * *", tz="Europe/Berlin")
YEARLY = Every(timedelta(days=365), start=YEAR_2050)


class Invoice(BaseModel):
    number: int
    due: datetime
    customer: str


@dataclasses.dataclass
class Order:
    id: UUID
    total: Decimal
    tags: list[str]


class Color(Enum):
    RED = "red"


class Size(Enum):
    LARGE = 3


INVOICE = Invoice(number=1, due=YEAR_2050, customer="José")
ORDER = Order(UUID(int=7), Decimal("10.50"), ["a", "ü"])

MESSAGES = [
    ("INV-001", str),
    ("José 😀", str),
    ("", str),
    (b"\xff\x00raw", bytes),
    ({"a": [1, None, {"b": "é"}]}, dict[str, Any]),
    ([1, "two", 3.5, None], list[Any]),
    ([], list[int]),
    (42, int),
    (0, int),
    (-1.5, float),
    (True, bool),
    (False, bool),
    (INVOICE, Invoice),
    (ORDER, Order),
    (YEAR_2050, datetime),
    (date(2050, 1, 1), date),
    (timedelta(days=1, seconds=2, microseconds=3), timedelta),
    (UUID(int=7), UUID),
    (Decimal("10.50"), Decimal),
    (Color.RED, Color),
    (Size.LARGE, Size),
    ({"at": YEAR_2050, "id": UUID(int=7), "color": Color.RED}, dict[str, Any]),
    ([INVOICE, INVOICE], list[Invoice]),
]

DECODED = {21: {"at": "2050-01-01T00:00:00Z", "id": str(UUID(int=7)), "color": "red"}}
"""What a message without a type of its own decodes to, by its place above."""


@pytest.fixture
async def broker(make_broker):
    """A broker that is connected and delivers nothing."""
    broker = make_broker()
    await broker.connect()
    return broker


# --- messages ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(len(MESSAGES)), ids=lambda case: repr(MESSAGES[case][0]))
async def test_messages_arrive_at_handlers_as_they_were_sent(make_broker, inbox, case):
    message, type_ = MESSAGES[case]
    broker = make_broker()

    async def handle(body):
        inbox.put(body)

    handle.__annotations__["body"] = type_
    broker.subscriber(TOPIC)(handle)
    async with broker:
        await broker.publish(message, TOPIC)

        got = await inbox.get()

    assert got == DECODED.get(case, message)
    assert type(got) is type(message)


async def test_none_arrives_as_an_empty_body(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber(TOPIC)
    async def handle(body: Any, message: Message) -> None:
        inbox.put((body, message.body, message.content_type))

    async with broker:
        await broker.publish(None, TOPIC)

        assert await inbox.get() == (b"", b"", None)


@pytest.mark.parametrize("message", [None, *(message for message, _ in MESSAGES)], ids=repr)
async def test_both_front_ends_write_the_same_bytes(broker, redis_client, key_names, message):
    blocking = TimersClient(redis_client, **key_names)
    settings = {
        "timer_id": "42",
        "activate_at": YEAR_2050,
        "correlation_id": "order-ü",
        "headers": {"x-tenant": "José", "n": 1, "yes": True, "at": YEAR_2050, "id": UUID(int=1)},
    }
    payloads = f"{key_names['payloads_key']}:{TOPIC}"
    timeline = f"{key_names['timeline_key']}:{TOPIC}"

    blocking.schedule(message, TOPIC, reply_to="replies", **settings)
    by_blocking = redis_client.hget(payloads, "42"), redis_client.zscore(timeline, "42")
    await broker.publish(message, TOPIC, reply_to="replies", **settings)
    by_broker = redis_client.hget(payloads, "42"), redis_client.zscore(timeline, "42")
    await broker.publish_batch(
        TimerPublishMessage(message, **settings), topic=TOPIC, reply_to="replies"
    )
    by_batch = redis_client.hget(payloads, "42"), redis_client.zscore(timeline, "42")

    assert by_broker == by_blocking
    assert by_batch == by_blocking


async def test_without_fastdepends_plain_messages_arrive(make_broker, inbox):
    broker = make_broker(apply_types=False, serializer=None)

    @broker.subscriber(TOPIC)
    async def handle(body):
        inbox.put(body)

    async with broker:
        for message in ("text", {"a": 1}, b"\xff"):
            await broker.publish(message, TOPIC)
            assert await inbox.get() == message


# --- ids, correlation, headers -----------------------------------------------------------


async def test_correlation_id_and_headers_reach_the_handler_by_context(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber(TOPIC)
    async def handle(
        body: str,
        correlation_id: str = Context("message.correlation_id"),
        tenant: str = Context("message.headers.x-tenant"),
        message_id: str = Context("message.message_id"),
    ) -> None:
        inbox.put((body, correlation_id, tenant, message_id))

    async with broker:
        timer_id = await broker.publish(
            "INV-001", topic=TOPIC, correlation_id="order-7", headers={"x-tenant": "acme"}
        )

        assert await inbox.get() == ("INV-001", "order-7", "acme", timer_id)


async def test_the_correlation_id_is_the_timer_id_unless_given(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber(TOPIC)
    async def handle(body: str, correlation_id: str = Context("message.correlation_id")) -> None:
        inbox.put(correlation_id)

    async with broker:
        timer_id = await broker.publish("x", TOPIC)
        assert await inbox.get() == timer_id
        await broker.publish("x", TOPIC, timer_id="own")
        assert await inbox.get() == "own"
        ids = await broker.publish_batch("x", topic=TOPIC)
        assert [await inbox.get()] == ids


@pytest.mark.parametrize(
    "text", ["José", "日本語", "😀", "a b:c{d}\r\n\t\x00", "ü" * 1000], ids=ascii
)
async def test_any_text_arrives_unchanged(make_broker, inbox, text):
    broker = make_broker()

    @broker.subscriber(text)
    async def handle(body: str, message: Message) -> None:
        inbox.put((message.topic, message.timer_id, message.correlation_id, message.headers[text]))

    async with broker:
        returned = await broker.publish(
            "x", text, timer_id=text, correlation_id=text + "!", headers={text: text}
        )

        assert returned == text
        assert await inbox.get() == (text, text, text + "!", text)


async def test_header_values_of_other_types_arrive_as_text(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber(TOPIC)
    async def handle(body: str, message: Message) -> None:
        inbox.put(message.headers)

    headers = {
        "int": 1,
        "float": 1.5,
        "bool": True,
        "bytes": b"raw",
        "uuid": UUID(int=1),
        "datetime": YEAR_2050,
    }
    async with broker:
        await broker.publish("x", TOPIC, headers=headers)
        got = await inbox.get()

    assert {name: got[name] for name in headers} == {
        "int": "1",
        "float": "1.5",
        "bool": "true",
        "bytes": "raw",
        "uuid": str(UUID(int=1)),
        "datetime": "2050-01-01T00:00:00+00:00",
    }


async def test_headers_of_the_caller_are_left_as_they_were(broker):
    headers = {"a": "b"}

    await broker.publish("x", TOPIC, headers=headers, correlation_id="c")

    assert headers == {"a": "b"}


# --- times and ids that are taken --------------------------------------------------------


async def test_a_timer_fires_after_its_delay_and_not_before(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber(TOPIC)
    async def handle(body: str, message: Message) -> None:
        inbox.put((body, message.lateness))

    async with broker:
        await broker.publish("later", TOPIC, activate_in=timedelta(milliseconds=200))
        await broker.publish("sooner", TOPIC, activate_in=timedelta(milliseconds=50))
        await broker.publish("much later", TOPIC, activate_in=HOUR)

        arrived = [await inbox.get(), await inbox.get()]

    # Lateness counts by the server's clock, so it is below zero for one that came early.
    assert [body for body, _ in arrived] == ["sooner", "later"]
    assert all(lateness >= 0 for _, lateness in arrived)
    assert inbox.rest() == []


async def test_a_time_is_exact(broker):
    at = YEAR_2050 + timedelta(microseconds=123_456)

    await broker.publish("x", topic=TOPIC, timer_id="42", activate_at=at)

    assert (await broker.get_timer(TOPIC, "42")).due_at == at


async def test_a_returned_id_is_the_timers(broker):
    ids = {await broker.publish("x", TOPIC), await broker.publish("x", TOPIC)}

    assert len(ids) == 2
    assert set(await broker.get_pending_timers(TOPIC)) == ids
    assert await broker.publish("x", TOPIC, timer_id="own") == "own"


async def test_if_exists_decides_which_timer_stands(broker):
    await broker.publish("old", TOPIC, timer_id="42", activate_in=HOUR)

    with pytest.raises(TimerExistsError, match="42"):
        await broker.publish("new", TOPIC, timer_id="42", if_exists="error")
    assert await broker.publish("new", TOPIC, timer_id="42", if_exists="keep") == "42"
    assert (await broker.get_timer(TOPIC, "42")).decode() == "old"

    await broker.publish("new", TOPIC, timer_id="42")
    assert (await broker.get_timer(TOPIC, "42")).decode() == "new"


# --- batches -----------------------------------------------------------------------------


async def test_a_batch_mixes_plain_messages_and_ones_with_settings(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber(TOPIC, max_concurrent=1)
    async def handle(body: Any, message: Message) -> None:
        inbox.put((message.timer_id, body, message.correlation_id, message.headers.get("who")))

    # Connected alone, so that all wait before the first is delivered.
    await broker.connect()
    ids = await broker.publish_batch(
        "plain",
        None,
        TimerPublishMessage(None, timer_id="none"),
        TimerPublishMessage(
            {"a": 1}, timer_id="own", headers={"who": "message"}, correlation_id="its own"
        ),
        topic=TOPIC,
        headers={"who": "batch"},
        correlation_id="order-7",
    )
    await broker.start()

    assert ids[2:] == ["none", "own"]
    got = [await inbox.get() for _ in ids]
    assert sorted(got, key=lambda item: ids.index(item[0])) == [
        (ids[0], "plain", "order-7", "batch"),
        (ids[1], b"", "order-7", "batch"),
        ("none", b"", "order-7", "batch"),
        ("own", {"a": 1}, "its own", "message"),
    ]


async def test_a_batch_of_one_none_is_one_timer(broker):
    (timer_id,) = await broker.publish_batch(None, topic=TOPIC)

    assert await broker.get_pending_timers(TOPIC) == [timer_id]


async def test_an_empty_batch_schedules_nothing(broker):
    assert await broker.publish_batch(topic=TOPIC) == []
    assert await broker.count_pending(TOPIC) == 0


async def test_a_batch_has_a_time_and_its_messages_their_own(broker):
    await broker.publish_batch(
        TimerPublishMessage("x", timer_id="batch's"),
        TimerPublishMessage("x", timer_id="own", activate_at=YEAR_2050 + HOUR),
        TimerPublishMessage("x", timer_id="delay", activate_in=HOUR),
        topic=TOPIC,
        activate_at=YEAR_2050,
    )

    assert await broker.get_pending_timers(TOPIC) == ["delay", "batch's", "own"]
    assert (await broker.get_timer(TOPIC, "batch's")).due_at == YEAR_2050
    assert (await broker.get_timer(TOPIC, "own")).due_at == YEAR_2050 + HOUR


# --- pipelines ---------------------------------------------------------------------------


@pytest.fixture(
    params=[
        {"transaction": True},
        {"transaction": False},
        {"transaction": True, "decode_responses": True},
        {"transaction": True, "decode_responses": True, "protocol": 3},
    ],
    ids=repr,
)
async def pipeline(request, server_url):
    """A caller's pipeline of any kind."""
    options = dict(request.param)
    transaction = options.pop("transaction")
    async with (
        redis.asyncio.Redis.from_url(server_url, **options) as client,
        client.pipeline(transaction=transaction) as pipeline,
    ):
        yield pipeline


async def test_a_pipeline_holds_a_timer_back_until_it_is_executed(broker, pipeline, key_names):
    own_key = f"{key_names['timeline_key']}:{TOPIC}:own"
    pipeline.set(own_key, "x")
    timer_id = await broker.publish("x", TOPIC, headers={"a": "é"}, pipeline=pipeline)
    assert await broker.publish("y", TOPIC, timer_id="own", pipeline=pipeline) == "own"
    pipeline.delete(own_key)

    assert await broker.count_pending(TOPIC) == 0
    replies = await pipeline.execute()

    assert set(await broker.get_pending_timers(TOPIC)) == {timer_id, "own"}
    assert (await broker.get_timer(TOPIC, timer_id)).headers["a"] == "é"
    assert len(replies) == 4


async def test_a_pipeline_takes_batches_moves_and_cancels(broker, pipeline):
    ids = await broker.publish_batch(
        "a", TimerPublishMessage("b", timer_id="own"), topic=TOPIC, pipeline=pipeline
    )
    moved = await broker.reschedule_timer(TOPIC, "own", activate_at=YEAR_2050, pipeline=pipeline)
    cancelled = await broker.cancel_timer(TOPIC, ids[0], pipeline=pipeline)

    assert (moved, cancelled) == (None, None)
    assert await broker.count_pending(TOPIC) == 0
    await pipeline.execute()

    assert await broker.get_pending_timers(TOPIC) == ["own"]
    assert (await broker.get_timer(TOPIC, "own")).due_at == YEAR_2050


async def test_a_pipeline_takes_more_than_a_call_holds(broker, pipeline):
    ids = await broker.publish_batch(*range(1100), topic=TOPIC, pipeline=pipeline)
    await pipeline.execute()

    assert await broker.cancel_timers(TOPIC, ids) == 1100


async def test_keep_works_in_a_pipeline(broker, pipeline):
    await broker.publish("old", TOPIC, timer_id="42", activate_in=HOUR)

    await broker.publish("new", TOPIC, timer_id="42", if_exists="keep", pipeline=pipeline)
    await pipeline.execute()

    assert (await broker.get_timer(TOPIC, "42")).decode() == "old"


async def test_a_discarded_pipeline_schedules_nothing(broker, pipeline):
    await broker.publish("x", TOPIC, pipeline=pipeline)

    await pipeline.reset()

    assert await broker.count_pending(TOPIC) == 0


async def test_a_pipeline_takes_series(broker, pipeline):
    await broker.publish("old", TOPIC, timer_id="b", repeat=YEARLY)
    await broker.publish("old", TOPIC, timer_id="c", repeat=DAILY)

    await broker.publish("new", TOPIC, timer_id="a", repeat=YEARLY, pipeline=pipeline)
    await broker.publish_batch(
        TimerPublishMessage("new", timer_id="b"),
        TimerPublishMessage("new", timer_id="c"),
        TimerPublishMessage("new", timer_id="d", activate_at=YEAR_2050),
        topic=TOPIC,
        repeat=YEARLY,
        pipeline=pipeline,
    )

    assert await broker.count_pending(TOPIC) == 2
    replies = await pipeline.execute()
    # Nothing is in it but the calls themselves.
    assert [getattr(reply, "encode", lambda reply=reply: reply)() for reply in replies] == [
        b"1",
        b"sc1",
    ]
    timers = [timer async for timer in broker.iter_timers(TOPIC)]
    assert [timer.timer_id for timer in timers] == list("abcd")
    assert [timer.repeat for timer in timers] == [YEARLY, YEARLY, YEARLY, None]
    assert {timer.decode() for timer in timers} == {"new"}
    assert {timer.due_at for timer in timers} == {YEAR_2050}


async def test_a_first_time_that_has_passed_when_the_pipeline_is_executed_is_now(broker, client):
    every_second = Every(seconds=1)
    async with client.pipeline() as pipeline:
        await broker.publish("x", TOPIC, timer_id="42", repeat=every_second, pipeline=pipeline)
        seconds, _ = await client.time()

        async def has_passed():
            return (await client.time())[0] >= seconds + 2

        await wait_until_async(has_passed)
        await pipeline.execute()

    timer = await broker.get_timer(TOPIC, "42")
    assert timer.due_at > datetime.fromtimestamp(seconds + 2, UTC) - timedelta(microseconds=1)
    assert timer.due_at <= datetime.now(UTC)


async def test_publisher_objects_take_pipelines(broker, pipeline):
    publisher = broker.publisher(TOPIC)
    first = await publisher.publish("x", pipeline=pipeline)
    second = await publisher.publish("y", pipeline=pipeline)

    assert await publisher.reschedule_timer(first, activate_in=HOUR, pipeline=pipeline) is None
    assert await publisher.cancel_timer(second, pipeline=pipeline) is None
    await pipeline.execute()

    assert await broker.get_pending_timers(TOPIC) == [first]


USES = {
    "publish": lambda broker, pipeline: broker.publish("x", TOPIC, pipeline=pipeline),
    "publish_batch": lambda broker, pipeline: broker.publish_batch(
        "x", topic=TOPIC, pipeline=pipeline
    ),
    "a series": lambda broker, pipeline: broker.publish(
        "x", TOPIC, timer_id="1", repeat=DAILY, pipeline=pipeline
    ),
    "cancel_timer": lambda broker, pipeline: broker.cancel_timer(TOPIC, "1", pipeline=pipeline),
    "reschedule_timer": lambda broker, pipeline: broker.reschedule_timer(
        TOPIC, "1", activate_in=HOUR, pipeline=pipeline
    ),
}


@pytest.fixture(params=USES)
def use(request):
    return USES[request.param]


async def test_a_watching_pipeline_is_refused_until_multi(broker, client, use, key_names):
    async with client.pipeline() as pipeline:
        await pipeline.watch(f"{key_names['timeline_key']}:other")

        with pytest.raises(ValueError, match=r"call pipeline\.multi\(\) first"):
            await use(broker, pipeline)

        pipeline.multi()
        await use(broker, pipeline)
        assert len(await pipeline.execute()) == 1


async def test_a_blocking_pipeline_is_refused(broker, redis_client, use):
    with pytest.raises(TypeError) as caught:
        await use(broker, redis_client.pipeline())

    assert str(caught.value) == (
        "pipeline must be a redis.asyncio.client.Pipeline, got redis.client.Pipeline"
    )


@pytest.mark.parametrize("junk", [5, "pipeline", True])
async def test_what_is_no_pipeline_is_refused(broker, use, junk):
    with pytest.raises(TypeError, match=r"pipeline must be a redis\.asyncio\.client\.Pipeline"):
        await use(broker, junk)
    assert await broker.count_pending(TOPIC) == 0


async def test_a_client_in_place_of_its_pipeline_is_refused(broker, client, use):
    with pytest.raises(TypeError, match=r"pipeline must be a redis\.asyncio\.client\.Pipeline"):
        await use(broker, client)


@pytest.mark.parametrize("name", ["publish", "publish_batch"])
async def test_error_cannot_be_answered_in_a_pipeline(broker, client, name):
    topic = {"topic": TOPIC}
    async with client.pipeline() as pipeline:
        with pytest.raises(ValueError, match='if_exists="error" can\'t be used with pipeline='):
            await getattr(broker, name)("x", **topic, if_exists="error", pipeline=pipeline)

        assert len(pipeline) == 0


async def test_a_broker_that_is_stopped_fills_no_pipeline(server_url, client, use):
    broker = TimersBroker(server_url)
    await broker.stop()
    async with client.pipeline() as pipeline:
        with pytest.raises(IncorrectState, match="is stopped"):
            await use(broker, pipeline)

        assert len(pipeline) == 0


# --- what timers have not ----------------------------------------------------------------


async def test_request_says_what_to_do_instead(broker):
    for request in (
        lambda: broker.request("x", TOPIC),
        lambda: broker.publisher(TOPIC).request("x"),
    ):
        with pytest.raises(FeatureNotSupportedException, match="Publish with reply_to= and"):
            await request()


async def test_middlewares_see_what_is_published_and_may_change_it(make_broker):
    seen = []

    class Tagging(BaseMiddleware):
        async def publish_scope(self, call_next, cmd):
            seen.append(type(cmd).__name__)
            cmd.headers["x-tag"] = "yes"
            return await call_next(cmd)

    broker = make_broker(middlewares=[Tagging])
    await broker.connect()

    one = await broker.publish("x", TOPIC)
    (two,) = await broker.publish_batch("x", topic=TOPIC)
    three = await broker.publisher(TOPIC).publish("x")

    for timer_id in (one, two, three):
        assert (await broker.get_timer(TOPIC, timer_id)).headers["x-tag"] == "yes"
    assert seen == ["TimerPublishCommand"] * 3


async def test_everything_is_gone_once_all_has_been_handled(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber(TOPIC)
    async def handle(body: int) -> None:
        inbox.put(body)

    async with broker:
        await broker.publish_batch(*range(250), topic=TOPIC)
        assert {await inbox.get() for _ in range(250)} == set(range(250))

        async def none_pending():
            return await broker.count_pending(TOPIC) == 0

        await wait_until_async(none_pending)
