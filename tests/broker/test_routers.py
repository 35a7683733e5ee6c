"""Routers and prefixes, several handlers of a topic, and FastStream's options at each level."""

import json
from datetime import timedelta
from typing import Any

import pytest
from faststream import AckPolicy, BaseMiddleware, Context, Depends
from faststream.exceptions import IncorrectState, SetupError
from waiting import wait_until_async

from faststream_redis_timers import (
    TimerPublishMessage,
    TimersBroker,
    TimersRoute,
    TimersRoutePublisher,
    TimersRouter,
    TimerSub,
)
from faststream_redis_timers.annotations import TimerMessage

HOUR = timedelta(hours=1)


# --- prefixes ----------------------------------------------------------------------------


async def test_a_routers_prefix_stands_before_its_topics(make_broker, inbox, key_names):
    router = TimersRouter(prefix="my-service:")

    @router.subscriber("invoices")
    @router.publisher("paid")
    async def handle(body: str, message: TimerMessage) -> str:
        inbox.put((body, message.topic))
        return body

    broker = make_broker()
    broker.include_router(router)
    async with broker:
        await broker.publish("x", "my-service:invoices")
        assert await inbox.get() == ("x", "my-service:invoices")

        async def is_paid():
            return await broker.count_pending("my-service:paid") == 1

        await wait_until_async(is_paid)


async def test_all_prefixes_stand_in_order_from_the_broker_inwards(make_broker, inbox):
    inner = TimersRouter(prefix="d:")

    @inner.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        inbox.put((message.topic, message.reply_to))

    publisher = inner.publisher("invoices", reply_to="replies")
    outer = TimersRouter(prefix="c:")
    outer.include_router(inner)
    broker = make_broker(prefix="a:")
    broker.include_router(outer, prefix="b:")

    async with broker:
        await publisher.publish("x")
        assert await inbox.get() == ("a:b:c:d:invoices", "a:b:c:d:replies")
        # The broker itself knows its own prefix alone.
        await broker.publish("x", "b:c:d:invoices", reply_to="replies")
        assert await inbox.get() == ("a:b:c:d:invoices", "a:replies")


def test_routers_may_be_given_to_constructors(client):
    inner = TimersRouter(prefix="c:")
    inner.subscriber("invoices")
    broker = TimersBroker(client, prefix="a:", routers=[TimersRouter(prefix="b:", routers=[inner])])

    (subscriber,) = broker.subscribers
    assert subscriber.topic == "a:b:c:invoices"


async def test_the_same_topic_under_two_prefixes_is_two_topics(make_broker, inbox):
    broker = make_broker()
    for name in ("a:", "b:"):
        router = TimersRouter(prefix=name)

        @router.subscriber("invoices")
        async def handle(body: str, message: TimerMessage) -> None:
            inbox.put((message.topic, body))

        broker.include_router(router)

    async with broker:
        await broker.publish("1", "a:invoices")
        await broker.publish("2", "b:invoices")
        got = {await inbox.get(), await inbox.get()}

    assert got == {("a:invoices", "1"), ("b:invoices", "2")}
    assert inbox.rest() == []


def test_to_include_a_router_twice_changes_nothing(make_broker):
    broker = make_broker(prefix="a:")
    router = TimersRouter(prefix="b:")
    subscriber, publisher = router.subscriber("invoices"), router.publisher("invoices")

    broker.include_router(router)
    broker.include_router(router)

    assert broker.subscribers == [subscriber]
    assert broker.publishers == [publisher]
    assert subscriber.topic == publisher.topic == "a:b:invoices"


def test_a_router_belongs_to_the_broker_that_included_it_last(make_broker):
    first, second = make_broker(prefix="first:"), make_broker(prefix="second:")
    router = TimersRouter(prefix="b:")
    subscriber, publisher = router.subscriber("invoices"), router.publisher("invoices")

    first.include_router(router)
    second.include_router(router)

    assert first.subscribers == first.publishers == []
    assert second.subscribers == [subscriber]
    assert subscriber.topic == publisher.topic == "second:b:invoices"


@pytest.mark.parametrize(
    "call",
    [lambda publisher: publisher.publish("x"), lambda publisher: publisher.cancel_timer("42")],
    ids=["publish", "cancel_timer"],
)
async def test_a_publisher_of_a_router_that_no_broker_includes_says_so(call):
    publisher = TimersRouter().publisher("invoices")

    with pytest.raises(IncorrectState):
        await call(publisher)


# --- routes ------------------------------------------------------------------------------


async def test_routes_name_handlers_their_options_and_publishers(make_broker, inbox):
    async def handle(body: str) -> str:
        return body.upper()

    async def collect(body: str, message: TimerMessage) -> None:
        inbox.put((body, message.headers["who"], message.reply_to))

    router = TimersRouter(
        prefix="my:",
        handlers=[
            TimersRoute(
                handle,
                "in",
                publishers=[
                    TimersRoutePublisher("out", headers={"who": "route"}, reply_to="replies"),
                    TimersRoutePublisher("later", activate_in=HOUR),
                ],
                max_concurrent=2,
                lease_ttl=60,
            ),
            TimersRoute(collect, TimerSub(topic="out", max_concurrent=1)),
        ],
    )
    broker = make_broker()
    broker.include_router(router)
    async with broker:
        await broker.publish("x", "my:in")

        assert await inbox.get() == ("X", "route", "my:replies")
        assert await broker.count_pending("my:later") == 1

    subs = {subscriber.topic: subscriber.sub for subscriber in broker.subscribers}
    assert subs == {
        "my:in": TimerSub(topic="in", max_concurrent=2, lease_ttl=60),
        "my:out": TimerSub(topic="out", max_concurrent=1),
    }


# --- several handlers --------------------------------------------------------------------


async def test_filters_choose_among_the_handlers_of_a_topic(make_broker, inbox):
    broker = make_broker()
    subscriber = broker.subscriber("invoices")

    @subscriber(filter=lambda message: message.headers.get("kind") == "paid")
    async def paid(body: str) -> None:
        inbox.put(("paid", body))

    @subscriber(filter=lambda message: message.content_type == "application/json")
    async def structured(body: dict[str, Any]) -> None:
        inbox.put(("structured", body))

    @subscriber
    async def other(body: str) -> None:
        inbox.put(("other", body))

    async with broker:
        await broker.publish("1", "invoices", headers={"kind": "paid"})
        assert await inbox.get() == ("paid", "1")
        await broker.publish({"a": 1}, "invoices")
        assert await inbox.get() == ("structured", {"a": 1})
        await broker.publish("3", "invoices")
        assert await inbox.get() == ("other", "3")


async def test_two_subscribers_of_a_topic_share_its_timers(make_broker, inbox):
    broker = make_broker()
    for _ in range(2):

        @broker.subscriber("invoices")
        async def handle(body: int) -> None:
            inbox.put(body)

    async with broker:
        await broker.publish_batch(*range(50), topic="invoices")
        got = [await inbox.get() for _ in range(50)]

        async def none_left():
            return await broker.count_pending("invoices") == 0

        await wait_until_async(none_left)

    assert sorted(got) == list(range(50))
    assert inbox.rest() == []


async def test_one_handler_may_listen_to_two_topics(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber("a")
    @broker.subscriber("b")
    async def handle(body: str, message: TimerMessage) -> None:
        inbox.put((message.topic, body))

    async with broker:
        await broker.publish("1", "a")
        await broker.publish("2", "b")

        assert {await inbox.get(), await inbox.get()} == {("a", "1"), ("b", "2")}


async def test_a_blocking_handler_works_too(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber("invoices")
    @broker.publisher("out")
    def handle(body: str) -> str:
        return body.upper()

    @broker.subscriber("out")
    async def collect(body: str) -> None:
        inbox.put(body)

    async with broker:
        await broker.publish("x", "invoices")

        assert await inbox.get() == "X"


# --- middlewares, dependencies, parsers, decoders, codecs --------------------------------


async def test_middlewares_of_all_levels_wrap_each_other_from_the_broker_inwards(
    make_broker, inbox
):
    def noting(name):
        class Noting(BaseMiddleware):
            async def on_receive(self):
                inbox.put(f"{name} received")
                return await super().on_receive()

            async def consume_scope(self, call_next, msg):
                inbox.put(f"{name} before")
                result = await call_next(msg)
                inbox.put(f"{name} after")
                return result

            async def publish_scope(self, call_next, cmd):
                if cmd.destination == "out":
                    inbox.put(f"{name} publishes")
                return await call_next(cmd)

        return Noting

    router = TimersRouter(middlewares=[noting("router")])

    @router.subscriber("in")
    @router.publisher("out")
    async def handle(body: str) -> str:
        return body

    broker = make_broker(middlewares=[noting("broker")])
    broker.include_router(router, middlewares=[noting("include")])
    async with broker:
        await broker.publish("x", "in")
        notes = [await inbox.get() for _ in range(12)]

    assert notes == [
        "broker received",
        "include received",
        "router received",
        "broker before",
        "include before",
        "router before",
        "router after",
        "include after",
        "broker after",
        "broker publishes",
        "include publishes",
        "router publishes",
    ]


async def test_dependencies_of_all_levels_are_called(make_broker, inbox):
    def noting(name):
        return Depends(lambda: inbox.put(name))

    router = TimersRouter(dependencies=[noting("router")])

    @router.subscriber("invoices", dependencies=[noting("subscriber")])
    async def handle(body: str, value: int = Depends(lambda: 42)) -> None:
        inbox.put(value)

    broker = make_broker(dependencies=[noting("broker")])
    broker.include_router(router, dependencies=[noting("include")])
    async with broker:
        await broker.publish("x", "invoices")

        assert [await inbox.get() for _ in range(5)] == [
            "broker",
            "include",
            "router",
            "subscriber",
            42,
        ]


def place(level, make_broker, **options):
    """Make a broker and a subscriber with options at one level."""
    broker = make_broker(**options if level == "broker" else {})
    router = TimersRouter(**options if level == "router" else {})
    subscriber = router.subscriber("invoices", **options if level == "subscriber" else {})
    broker.include_router(router)
    return broker, subscriber


@pytest.mark.parametrize("level", ["broker", "router", "subscriber"])
async def test_a_parser_of_any_level_makes_the_message(make_broker, inbox, level):
    async def parse(delivery, original):
        message = await original(delivery)
        message.headers["x-parsed"] = delivery.timer_id
        return message

    broker, subscriber = place(level, make_broker, parser=parse)

    @subscriber
    async def handle(body: str, parsed: str = Context("message.headers.x-parsed")) -> None:
        inbox.put((body, parsed))

    async with broker:
        await broker.publish("x", "invoices", timer_id="42")

        assert await inbox.get() == ("x", "42")


@pytest.mark.parametrize("level", ["broker", "router", "subscriber"])
async def test_a_decoder_of_any_level_decodes_bodies(make_broker, inbox, level):
    async def decode(message, original):
        return (await original(message))[::-1]

    broker, subscriber = place(level, make_broker, decoder=decode)

    @subscriber
    async def handle(body: str) -> None:
        inbox.put(body)

    async with broker:
        await broker.publish("abc", "invoices")

        assert await inbox.get() == "cba"


class Reversing:
    """A codec that writes JSON backwards."""

    async def encode(self, msg, serializer=None):
        return json.dumps(msg).encode()[::-1], "application/reversed"

    async def decode(self, msg):
        return json.loads(msg.body[::-1])


@pytest.mark.parametrize("level", ["broker", "subscriber"])
async def test_a_codec_of_any_level_decodes_bodies(make_broker, inbox, level):
    broker, subscriber = place(level, make_broker, codec=Reversing())

    @subscriber
    async def handle(body: dict[str, int], message: TimerMessage) -> None:
        inbox.put((body, message.body))

    async with broker:
        # Only a broker's codec encodes, so that of a subscriber gets what it can read.
        message = {"a": 1} if level == "broker" else b'}1 :"a"{'
        await broker.publish(message, "invoices")

        assert await inbox.get() == ({"a": 1}, b'}1 :"a"{')


async def test_a_brokers_codec_encodes_batches_and_results(make_broker, inbox):
    broker = make_broker(codec=Reversing())

    @broker.subscriber("in")
    @broker.publisher("out", activate_in=HOUR)
    async def handle(body: int) -> int:
        inbox.put(body)
        return body + 10

    async with broker:
        await broker.publish_batch(23, topic="in")
        assert await inbox.get() == 23

        async def is_out():
            return await broker.count_pending("out") == 1

        await wait_until_async(is_out)
        (timer,) = [timer async for timer in broker.iter_timers("out")]

    assert (timer.body, timer.content_type) == (b"33", "application/reversed")


async def test_a_codecs_error_names_the_topic_and_schedules_nothing(make_broker):
    class Failing(Reversing):
        async def encode(self, msg, serializer=None):
            raise ZeroDivisionError

    broker = make_broker(codec=Failing())
    await broker.connect()

    with pytest.raises(ZeroDivisionError) as caught:
        await broker.publish("x", "invoices")

    assert "'invoices'" in caught.value.__notes__[0]
    assert await broker.count_pending("invoices") == 0


class ReversingBatches(Reversing):
    """One that writes several messages in one go."""

    def __init__(self):
        self.encoded = []

    async def encode_batch(self, msgs, serializer=None):
        self.encoded.append(list(msgs))
        return [await self.encode(msg, serializer) for msg in msgs]

    async def decode_batch(self, msg):
        return [json.loads(body[::-1]) for body in msg.body]


async def test_a_codec_of_batches_encodes_all_messages_of_a_call_at_once(make_broker):
    codec = ReversingBatches()
    broker = make_broker(codec=codec)
    await broker.connect()
    message = TimerPublishMessage([2, 3], timer_id="second", activate_in=2 * HOUR)

    await broker.publish_batch({"a": 1}, message, topic="invoices", activate_in=HOUR)
    await broker.publish("x", "invoices", activate_in=HOUR)

    assert codec.encoded == [[{"a": 1}, [2, 3]]]
    bodies = [timer.body async for timer in broker.iter_timers("invoices")]
    assert bodies == [b'}1 :"a"{', b'"x"', b"]3 ,2["]
    assert await broker.cancel_all("invoices") == 3


async def test_a_codec_that_loses_a_message_of_a_batch_schedules_nothing(make_broker):
    class Losing(ReversingBatches):
        async def encode_batch(self, msgs, serializer=None):
            return (await super().encode_batch(msgs, serializer))[1:]

    broker = make_broker(codec=Losing())
    await broker.connect()

    with pytest.raises(ValueError, match="one body for each of 2 messages, got 1") as caught:
        await broker.publish_batch(1, 2, topic="invoices")

    assert "'invoices'" in caught.value.__notes__[0]
    assert await broker.count_pending("invoices") == 0


def test_two_ways_to_decode_are_refused(make_broker):
    broker = make_broker(codec=Reversing(), decoder=lambda message: message)

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    with pytest.raises((ValueError, SetupError), match="codec"):
        broker.subscribers[0]._build_fastdepends_model()


@pytest.mark.parametrize("level", ["broker", "router", "subscriber"])
async def test_an_ack_policy_of_any_level_decides_on_errors(make_broker, inbox, level):
    options = {"ack_policy": AckPolicy.ACK}
    broker = make_broker(logger=None, **options if level == "broker" else {})
    router = TimersRouter(**options if level == "router" else {})
    subscriber = router.subscriber("invoices", **options if level == "subscriber" else {})
    # The broker's policy comes to it only now.
    broker.include_router(router)

    @subscriber
    async def handle(body: str) -> None:
        inbox.put(body)
        raise ZeroDivisionError

    async with broker:
        await broker.publish("x", "invoices")
        await inbox.get()

        async def none_left():
            return await broker.count_pending("invoices") == 0

        await wait_until_async(none_left)
