"""Handlers that get batches: the message, marks, and FastStream's conventions for them."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any

import pytest
from bench import LogLines
from faststream import AckPolicy, BaseMiddleware, Context, Depends
from faststream.exceptions import SetupError
from faststream.message import StreamMessage
from faststream.redis import RedisBroker
from front_ends import Home
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, Field
from waiting import wait_until_async

from faststream_redis_timers import (
    Every,
    RetryPolicy,
    TestTimersBroker,
    TimerPublishMessage,
    TimersBroker,
    TimersRoute,
    TimersRoutePublisher,
    TimersRouter,
    TimerSub,
)
from faststream_redis_timers.annotations import TimerBatchMessage
from faststream_redis_timers.opentelemetry import TimersTelemetryMiddleware
from faststream_redis_timers.prometheus import TimersPrometheusMiddleware
from faststream_redis_timers_sync.protocol.envelope import write_envelope

TOPIC = "invoices"
HOUR = timedelta(hours=1)
PAST = datetime(2020, 1, 1, tzinfo=UTC)


class Invoice(BaseModel):
    number: int


async def none_pending(broker, topic=TOPIC):
    async def none():
        return await broker.count_pending(topic) == 0

    await wait_until_async(none)


# --- the message -------------------------------------------------------------------------


async def test_due_timers_come_as_a_list(run, inbox):
    broker = run.broker()

    @broker.subscriber(TOPIC, batch=True)
    async def handle(invoices: list[Invoice], message: TimerBatchMessage) -> None:
        inbox.put((invoices, message))

    async with run(broker):
        await broker.publish_batch(*map(number, range(5)), topic=TOPIC)
        invoices, message = await inbox.get()

        assert sorted(invoice.number for invoice in invoices) == list(range(5))
        assert isinstance(message, StreamMessage)
        assert [json.loads(body)["number"] for body in message.body] == [
            invoice.number for invoice in invoices
        ]


def number(count):
    return Invoice(number=count)


async def test_a_list_has_max_records_at_most(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber(TimerSub(topic=TOPIC, batch=True, max_records=40))
    async def handle(bodies: list[int]) -> None:
        inbox.put(len(bodies))

    await broker.connect()
    await broker.publish_batch(*range(100), topic=TOPIC)
    await broker.start()

    assert [await inbox.get() for _ in range(3)] == [40, 40, 20]
    await none_pending(broker)


async def test_a_message_knows_its_timers_in_the_order_of_the_bodies(
    make_broker, inbox, server_url, key_names
):
    broker = make_broker(prefix="my:", retry_policy=RetryPolicy())

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[str], message: TimerBatchMessage) -> None:
        inbox.put((bodies, message))

    await broker.connect()
    due = [PAST + place * HOUR for place in range(3)]
    home = Home(key_names, server_url)
    for place in (2, 0, 1):
        payload = write_envelope(
            f"body {place}".encode(),
            content_type="text/plain",
            correlation_id=f"c {place}",
            headers={"x-place": place},
            reply_to="replies",
        )
        home.plant(f"my:{TOPIC}", f"id {place}", due[place].timestamp(), payload)
    home.redis.close()
    await broker.start()
    bodies, message = await inbox.get()

    assert bodies == ["body 0", "body 1", "body 2"]
    assert message.body == [b"body 0", b"body 1", b"body 2"]
    assert (message.topic, message.redelivered, message.is_split) == ("my:invoices", False, False)
    # Of the first.
    assert (message.message_id, message.correlation_id) == ("id 0", "c 0")
    assert (message.headers["x-place"], message.content_type) == ("0", "text/plain")
    assert message.reply_to == ""
    # Of each.
    assert len(message.timers) == 3
    assert [timer.timer_id for timer in message.timers] == ["id 0", "id 1", "id 2"]
    assert [timer.due_at for timer in message.timers] == due
    assert [timer.headers["x-place"] for timer in message.timers] == ["0", "1", "2"]
    assert [headers["correlation_id"] for headers in message.batch_headers] == ["c 0", "c 1", "c 2"]
    assert {timer.attempt for timer in message.timers} == {1}
    assert {(timer.redelivered, timer.repeat, timer.occurrence) for timer in message.timers} == {
        (False, None, None)
    }
    steps = [earlier.lateness - later.lateness for earlier, later in pairwise(message.timers)]
    assert steps == pytest.approx([3600, 3600])
    await none_pending(broker)
    await none_pending(broker, "replies")


async def test_timers_are_a_sequence(inbox):
    broker = TimersBroker()

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        inbox.put(message)

    async with TestTimersBroker(broker):
        messages = [TimerPublishMessage(n, timer_id=str(n)) for n in range(4)]
        await broker.publish_batch(*messages, topic=TOPIC)
        message = await inbox.get()

    timers = message.timers
    assert [timer.timer_id for timer in timers[1:3]] == ["1", "2"]
    assert [timer.timer_id for timer in reversed(timers)] == ["3", "2", "1", "0"]
    assert timers[-1].timer_id == "3"
    for index in (4, -5):
        with pytest.raises(IndexError):
            timers[index]


async def test_nothing_names_bodies_or_headers_in_a_repr(inbox):
    broker = TimersBroker()

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[str], message: TimerBatchMessage) -> None:
        inbox.put(message)

    async with TestTimersBroker(broker):
        await broker.publish("s3cret", TOPIC, timer_id="42", headers={"x": "s3cret"})
        message = await inbox.get()

    assert repr(message) == "TimerBatchMessage(topic='invoices', 1 timers)"
    assert repr(message.timers) == "BatchedTimers(topic='invoices', 1 timers)"
    assert repr(message.timers[0]) == "BatchedTimer(topic='invoices', timer_id='42')"
    assert "s3cret" not in repr(message.raw_message)


async def test_each_body_is_decoded_by_its_own_content_type(run, inbox):
    broker = run.broker()

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[Any]) -> None:
        inbox.put(bodies)

    sent = ["text", {"a": [1]}, b"\xff", None, 5, "7"]
    async with run(broker):
        messages = [
            TimerPublishMessage(body, timer_id=str(place)) for place, body in enumerate(sent)
        ]
        await broker.publish_batch(*messages, topic=TOPIC, activate_at=PAST)

        assert await inbox.get() == ["text", {"a": [1]}, b"\xff", b"", 5, "7"]


async def test_an_unreadable_timer_is_not_in_the_batch(make_broker, inbox, server_url, key_names):
    broker = make_broker(dead_letter_topic="{topic}:dead")

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[str]) -> None:
        inbox.put(sorted(bodies))

    await broker.connect()
    await broker.publish_batch("a", "b", topic=TOPIC)
    home = Home(key_names, server_url)
    home.plant(TOPIC, "broken", 1.0, write_envelope(b"x")[:12])
    home.redis.close()
    await broker.start()

    assert await inbox.get() == ["a", "b"]
    await none_pending(broker)
    assert await broker.cancel_all(f"{TOPIC}:dead") == 1


async def test_recurring_timers_come_with_others_and_go_on(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[str], message: TimerBatchMessage) -> None:
        inbox.put([(timer.timer_id, timer.repeat, timer.occurrence) for timer in message.timers])

    await broker.connect()
    hourly = Every(hours=1, start=PAST)
    await broker.publish("report", TOPIC, timer_id="report", repeat=hourly)
    await broker.reschedule_timer(TOPIC, "report", activate_at=PAST)
    await broker.publish("once", TOPIC, timer_id="once", activate_at=PAST + HOUR)
    await broker.start()
    (report, repeat, occurrence), once = await inbox.get()

    assert (report, repeat, once) == ("report", hourly, ("once", None, None))
    assert occurrence.minute == 0

    async def only_the_series_is_left():
        timers = [timer async for timer in broker.iter_timers(TOPIC)]
        return [(timer.timer_id, timer.due_at > datetime.now(UTC)) for timer in timers] == [
            ("report", True)
        ]

    await wait_until_async(only_the_series_is_left)
    assert await broker.cancel_timer(TOPIC, "report")


# --- marks -------------------------------------------------------------------------------


async def test_marks_give_timers_outcomes_of_their_own(make_broker, inbox):
    broker = make_broker(retry_policy=RetryPolicy(), dead_letter_topic="{topic}:dead")

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        await message.timers[1].nack(delay=HOUR)
        await message.timers[2].reject()
        await message.timers[3].ack()
        # The first counts.
        await message.timers[3].reject()
        inbox.put(bodies)

    await broker.connect()
    messages = [TimerPublishMessage(n, timer_id=str(n)) for n in range(5)]
    await broker.publish_batch(*messages, topic=TOPIC, activate_at=PAST)
    await broker.start()
    assert await inbox.get() == [0, 1, 2, 3, 4]

    async def settled():
        return [timer.timer_id async for timer in broker.iter_timers(TOPIC)] == ["1"]

    await wait_until_async(settled)
    kept = await broker.get_timer(TOPIC, "1")
    assert kept.due_at > datetime.now(UTC) + HOUR / 2
    (dead_letter,) = [one async for one in broker.iter_timers(f"{TOPIC}:dead")]
    assert dead_letter.headers["dead-letter-timer-id"] == "2"
    assert dead_letter.headers["dead-letter-reason"] == "rejected"
    assert await broker.cancel_all(TOPIC) + await broker.cancel_all(f"{TOPIC}:dead") == 2


@pytest.mark.parametrize("delay", [5, 0.5, "5"])
async def test_a_delay_of_a_mark_that_is_none_is_refused(delay):
    broker = TimersBroker()

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        await message.timers[0].nack(delay=delay)

    async with TestTimersBroker(broker):
        with pytest.raises(TypeError, match="delay"):
            await broker.publish(1, TOPIC)


@pytest.mark.parametrize("policy", [AckPolicy.MANUAL, AckPolicy.NACK_ON_ERROR])
async def test_a_mark_on_the_message_is_one_on_all_that_have_none(make_broker, inbox, policy):
    broker = make_broker()

    @broker.subscriber(TOPIC, batch=True, ack_policy=policy)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        await message.timers[0].nack(delay=HOUR)
        await message.ack()
        # Sent at once where the handler settles by itself.
        inbox.put((await broker.count_pending(TOPIC), message.committed))

    await broker.connect()
    await broker.publish_batch(*range(5), topic=TOPIC, activate_at=PAST)
    await broker.start()
    left, committed = await inbox.get()

    assert left == (1 if policy is AckPolicy.MANUAL else 5)
    assert committed == "ACKED"

    async def one_is_left():
        return await broker.count_pending(TOPIC) == 1

    await wait_until_async(one_is_left)
    assert await broker.cancel_all(TOPIC) == 1


@pytest.mark.parametrize("mark", ["nack", "reject"])
async def test_all_may_be_kept_or_rejected(mark):
    broker = TimersBroker(dead_letter_topic="{topic}:dead")

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        await getattr(message, mark)()

    test = TestTimersBroker(broker, hold=True)
    async with test:
        await broker.publish_batch(*range(5), topic=TOPIC)
        await test.advance()

        left = 5 if mark == "nack" else 0
        assert await broker.count_pending(TOPIC) == left
        assert await broker.count_pending(f"{TOPIC}:dead") == 5 - left


async def test_a_lease_that_was_lost_is_told_for_each_timer_and_for_all(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber(TOPIC, batch=True, ack_policy=AckPolicy.MANUAL)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        before = message.lease_lost
        await broker.cancel_timer(TOPIC, "1")
        for timer in message.timers:
            await timer.ack()
        inbox.put((before, message.lease_lost, [timer.lease_lost for timer in message.timers]))

    await broker.connect()
    messages = [TimerPublishMessage(n, timer_id=str(n)) for n in range(3)]
    await broker.publish_batch(*messages, topic=TOPIC, activate_at=PAST)
    await broker.start()

    assert await inbox.get() == (False, True, [False, True, False])


# --- once for a batch --------------------------------------------------------------------


async def test_middlewares_dependencies_and_context_are_called_once(run, inbox):
    calls = []

    class Noting(BaseMiddleware):
        async def on_receive(self):
            calls.append("receive")
            return await super().on_receive()

        async def consume_scope(self, call_next, msg):
            calls.append(("consume", len(msg.body)))
            return await call_next(msg)

    async def depend() -> str:
        calls.append("depends")
        return "value"

    broker = run.broker(Noting)

    @broker.subscriber(TOPIC, batch=True)
    async def handle(
        bodies: list[int],
        value: Annotated[str, Depends(depend)],
        timers: Annotated[Any, Context("message.timers")],
        topic: str = Context("message.topic"),
    ) -> None:
        inbox.put((len(bodies), value, topic, len(timers)))

    async with run(broker):
        await broker.publish_batch(*range(5), topic=TOPIC)

        assert await inbox.get() == (5, "value", TOPIC, 5)
    assert calls == ["receive", ("consume", 5), "depends"]


async def test_a_filter_is_called_once_and_sees_the_headers_of_the_first(run, inbox):
    broker = run.broker()
    seen = []

    def is_paid(message):
        seen.append(len(message.body))
        return message.headers.get("kind") == "paid"

    subscriber = broker.subscriber(TOPIC, batch=True)

    @subscriber(filter=is_paid)
    async def paid(bodies: list[int]) -> None:
        inbox.put(("paid", bodies))

    @subscriber
    async def other(bodies: list[int]) -> None:
        inbox.put(("other", bodies))

    async with run(broker):
        for kinds in (["paid", "open"], ["open", "paid"]):
            messages = [
                TimerPublishMessage(place, timer_id=str(place), headers={"kind": kind})
                for place, kind in enumerate(kinds)
            ]
            await broker.publish_batch(*messages, topic=TOPIC, activate_at=PAST)
            assert await inbox.get() == ("paid" if kinds[0] == "paid" else "other", [0, 1])
    assert seen == [2, 2]


async def test_a_plain_function_gets_lists_too(run, inbox):
    broker = run.broker()
    loop_inbox = []

    @broker.subscriber(TOPIC, batch=True)
    def handle(bodies: list[int]) -> None:
        loop_inbox.append(sorted(bodies))

    async with run(broker):
        await broker.publish_batch(1, 2, 3, topic=TOPIC)
        await wait_until_async(lambda: loop_inbox == [[1, 2, 3]])


# --- parsers, decoders, codecs -----------------------------------------------------------


class Shouting:
    """A codec of batches."""

    def __init__(self):
        self.decoded = 0

    async def encode(self, msg, serializer=None):
        return msg.upper().encode(), "text/shouted"

    async def decode(self, msg):
        raise NotImplementedError

    async def encode_batch(self, msgs, serializer=None):
        return [await self.encode(msg) for msg in msgs]

    async def decode_batch(self, msg):
        self.decoded += 1
        return [body.decode().lower() for body in msg.body]


@pytest.mark.parametrize("level", ["broker", "subscriber"])
async def test_a_codec_decodes_a_batch_at_once(run, inbox, level):
    codec = Shouting()
    broker = run.broker(codec=codec) if level == "broker" else run.broker()
    options = {"codec": codec} if level == "subscriber" else {}

    @broker.subscriber(TOPIC, batch=True, **options)
    async def handle(bodies: list[str], message: TimerBatchMessage) -> None:
        inbox.put((sorted(bodies), sorted(message.body)))

    async with run(broker):
        await broker.publish_batch("A", "B", topic=TOPIC)

        assert await inbox.get() == (["a", "b"], [b"A", b"B"])
    assert codec.decoded == 1


async def test_a_codec_without_batches_is_refused_at_the_start(run):
    class Single:
        async def encode(self, msg, serializer=None):
            return b"", None

        async def decode(self, msg):
            return None

    broker = run.broker()

    @broker.subscriber(TOPIC, batch=True, codec=Single())
    async def handle(bodies: list[str]) -> None:
        """Never called."""

    with pytest.raises(ValueError, match="BatchCodecProto"):
        async with run(broker):
            pass


async def test_a_parser_and_a_decoder_get_batches(run, inbox):
    broker = run.broker()

    async def parse(batch: Any, original: Any) -> Any:
        message = await original(batch)
        message.headers["x-count"] = len(batch.deliveries)
        return message

    async def decode(message: Any, original: Any) -> list[Any]:
        return sorted(await original(message))

    @broker.subscriber(TOPIC, batch=True, parser=parse, decoder=decode)
    async def handle(bodies: list[int], count: int = Context("message.headers.x-count")) -> None:
        inbox.put((bodies, count))

    async with run(broker):
        await broker.publish_batch(3, 1, 2, topic=TOPIC)

        assert await inbox.get() == ([1, 2, 3], 3)


async def test_a_parser_may_join_the_bodies(make_broker, inbox):
    registry = CollectorRegistry()
    broker = make_broker(
        middlewares=[
            TimersPrometheusMiddleware(registry=registry),
            TimersTelemetryMiddleware(tracer_provider=TracerProvider()),
        ]
    )

    async def parse(batch: Any, original: Any) -> Any:
        message = await original(batch)
        message.body = b"[" + b",".join(message.body) + b"]"
        return message

    @broker.subscriber(
        TOPIC, batch=True, parser=parse, decoder=lambda message: json.loads(message.body)
    )
    async def handle(bodies: list[int]) -> None:
        inbox.put(sorted(bodies))

    async with broker:
        await broker.publish_batch(1, 2, 3, topic=TOPIC)
        assert await inbox.get() == [1, 2, 3]
        await none_pending(broker)

    labels = {"app_name": "faststream", "broker": "redis_timers", "handler": TOPIC}
    assert registry.get_sample_value("faststream_received_messages_total", labels) == 3
    assert registry.get_sample_value("faststream_received_messages_size_bytes_sum", labels) == 3


# --- replies and callers are refused -----------------------------------------------------


async def handle_list(bodies: list[int]) -> int:
    return 5


REPLIES = "a publisher can't decorate a handler with batch=True .topic 'invoices'.*publish_batch"


@pytest.mark.parametrize("registrator_class", [TimersBroker, TimersRouter])
def test_a_publisher_inside_is_refused_at_the_decorator(registrator_class):
    registrator = registrator_class()
    published = registrator.publisher("out")(handle_list)
    subscriber = registrator.subscriber(TOPIC, batch=True)

    with pytest.raises(SetupError, match=REPLIES):
        subscriber(published)
    with pytest.raises(SetupError, match=REPLIES):
        subscriber(filter=lambda message: True)(published)

    assert not subscriber.calls


@pytest.mark.parametrize("registrator_class", [TimersBroker, TimersRouter])
def test_a_publisher_outside_is_refused_at_the_decorator(registrator_class):
    registrator = registrator_class()
    handler = registrator.subscriber(TOPIC, batch=True)(handle_list)

    with pytest.raises(SetupError, match=REPLIES):
        registrator.publisher("out")(handler)

    assert not handler._publishers


def test_publishers_of_a_route_are_refused_where_it_is_made():
    for topic, options in ((TOPIC, {"batch": True}), (TimerSub(topic=TOPIC, batch=True), {})):
        with pytest.raises(SetupError, match=REPLIES):
            TimersRoute(handle_list, topic, publishers=[TimersRoutePublisher("out")], **options)


async def test_a_publisher_of_another_broker_is_refused_at_the_start(run):
    broker = run.broker()
    handler = broker.subscriber(TOPIC, batch=True)(handle_list)
    RedisBroker().publisher("out")(handler)

    with pytest.raises(SetupError, match=REPLIES):
        async with run(broker):
            pass


async def test_reply_to_of_timers_is_ignored(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int]) -> int:
        inbox.put(bodies)
        return 5

    async with broker:
        await broker.publish(1, TOPIC, reply_to="replies")
        assert await inbox.get() == [1]
        await none_pending(broker)
        assert await broker.count_pending("replies") == 0


async def test_callers_are_refused(make_broker):
    broker = make_broker()
    subscriber = broker.subscriber(TOPIC, batch=True)

    for _ in range(2):
        with pytest.raises(SetupError, match=r"get_one\(\).*'invoices'.*batch"):
            await subscriber.get_one()
        with pytest.raises(SetupError, match=r"async for.*'invoices'.*batch"):
            async for _ in subscriber:
                pass
        await broker.start()


def session(readonly: bool = False) -> bool:  # noqa: FBT001, FBT002  a dependency of an application
    return readonly


async def of_two(bodies: list[int], note: str = "") -> None:
    raise AssertionError


async def of_any_number(*bodies: int) -> None:
    raise AssertionError


async def of_a_dependency(bodies: list[int], it: Annotated[bool, Depends(session)]) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("handler", "names"),
    [(of_two, "bodies, note"), (of_any_number, "bodies"), (of_a_dependency, "bodies, readonly")],
)
async def test_a_second_parameter_to_be_filled_from_a_message_is_refused(
    make_broker, handler, names
):
    """FastStream would give one body to each, and the others to nobody."""
    broker = make_broker()
    broker.subscriber(TOPIC, batch=True)(handler)

    error = rf"{handler.__name__}.*'invoices'.*{names}.*one list.*Context\(\)"
    with pytest.raises(SetupError, match=error):
        await broker.start()
    with pytest.raises(SetupError, match=error):
        async with TestTimersBroker(broker):
            pass


@pytest.mark.parametrize(
    ("annotation", "shown"),
    [
        (int, "int"),
        (Invoice, "Invoice"),
        (dict[str, Any], "dict"),
        (Annotated[str, Field(min_length=1)], "str"),
    ],
)
async def test_a_parameter_that_is_known_to_take_no_list_is_refused(make_broker, annotation, shown):
    broker = make_broker()

    @broker.subscriber(TOPIC, batch=True)
    async def handle(invoice: annotation) -> None:
        raise AssertionError

    error = rf"'handle' of topic 'invoices' takes invoice as .*{shown}.* annotate it as list\["
    with pytest.raises(SetupError, match=error):
        await broker.start()


async def test_a_parameter_may_be_what_a_decoder_makes_of_a_batch(run, inbox):
    async def count(message: Any, original: Any) -> int:
        return len(await original(message))

    broker = run.broker()

    @broker.subscriber(TOPIC, batch=True, decoder=count)
    async def handle(how_many: int) -> None:
        inbox.put(how_many)

    async with run(broker):
        await broker.publish_batch(1, 2, 3, topic=TOPIC)
        assert await inbox.get() == 3
        await none_pending(broker)


# --- the log -----------------------------------------------------------------------------


async def test_the_log_names_the_first_timer_and_how_many_more(make_broker):
    log = LogLines()
    broker = make_broker(logger=log.logger)

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int]) -> None:
        """Do nothing."""

    async with broker:
        await broker.publish(1, TOPIC, timer_id="a")
        await none_pending(broker)
        messages = [TimerPublishMessage(n, timer_id=f"b{n}") for n in range(3)]
        await broker.publish_batch(*messages, topic=TOPIC, activate_at=PAST)
        await none_pending(broker)

    ids = [record.message_id for record in log.records if record.getMessage() == "Processed"]
    assert ids == ["a", "b0 (+2)"]
