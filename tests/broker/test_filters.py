"""Several handlers of one topic: filters, and what each handler may have of its own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from faststream import AckPolicy, BaseMiddleware, Context, Depends
from faststream.exceptions import NackMessage
from waiting import wait_until_async

from faststream_redis_timers import TestTimersBroker, TimersRouter
from faststream_redis_timers.annotations import TimerMessage


def of_kind(kind):
    return lambda message: message.headers.get("kind") == kind


async def none_pending(broker, topic):
    async def none():
        return await broker.count_pending(topic) == 0

    await wait_until_async(none)


@pytest.fixture(params=["broker", "router"])
def subscriber_and_broker(request, make_broker):
    """A subscriber of the topic "my:invoices", made by the broker or a router of it."""
    broker = make_broker()
    registrator = broker
    if request.param == "router":
        registrator = TimersRouter(prefix="my:")
        subscriber = registrator.subscriber("invoices")
        broker.include_router(registrator)
    else:
        subscriber = registrator.subscriber("my:invoices")
    return subscriber, broker


async def test_the_first_handler_whose_filter_accepts_a_timer_gets_it(subscriber_and_broker, inbox):
    subscriber, broker = subscriber_and_broker

    @subscriber(filter=of_kind("paid"))
    async def paid(body: str) -> None:
        inbox.put(("paid", body))

    @subscriber(filter=lambda message: message.body.startswith(b"1"))
    async def first(body: str) -> None:
        inbox.put(("first", body))

    @subscriber
    async def other(body: str) -> None:
        inbox.put(("other", body))

    async with broker:
        await broker.publish("1", "my:invoices", headers={"kind": "paid"})
        assert await inbox.get() == ("paid", "1")
        await broker.publish("1", "my:invoices")
        assert await inbox.get() == ("first", "1")
        await broker.publish("2", "my:invoices")
        assert await inbox.get() == ("other", "2")
        await none_pending(broker, "my:invoices")

    assert inbox.rest() == []


async def test_a_filter_may_wait_and_decode(subscriber_and_broker, inbox):
    subscriber, broker = subscriber_and_broker

    async def is_large(message: Any) -> bool:
        return (await message.decode())["amount"] > 100

    @subscriber(filter=is_large)
    async def large(body: dict[str, int]) -> None:
        inbox.put(("large", body["amount"]))

    @subscriber
    async def small(body: dict[str, int]) -> None:
        inbox.put(("small", body["amount"]))

    async with broker:
        for amount in (1000, 1):
            await broker.publish({"amount": amount}, "my:invoices")
        assert {await inbox.get(), await inbox.get()} == {("large", 1000), ("small", 1)}


async def test_handlers_have_parsers_and_decoders_of_their_own(subscriber_and_broker, inbox):
    subscriber, broker = subscriber_and_broker

    async def parse(delivery, original):
        message = await original(delivery)
        message.headers = {**message.headers, "parsed": "yes"}
        return message

    async def decode(message, original):
        return (await original(message))[::-1]

    @subscriber(filter=of_kind("special"), parser=parse, decoder=decode)
    async def special(body: str, parsed: str = Context("message.headers.parsed")) -> None:
        inbox.put((body, parsed))

    @subscriber
    async def plain(
        body: str, parsed: str = Context("message.headers.parsed", default="no")
    ) -> None:
        inbox.put((body, parsed))

    async with broker:
        await broker.publish("abc", "my:invoices", headers={"kind": "special"})
        assert await inbox.get() == ("cba", "yes")
        await broker.publish("abc", "my:invoices")
        assert await inbox.get() == ("abc", "no")


async def test_a_handler_s_parser_and_decoder_stand_before_the_subscriber_s(make_broker, inbox):
    def tagging(tag):
        async def parse(delivery, original):
            message = await original(delivery)
            message.headers = {**message.headers, "tag": tag}
            return message

        return parse

    def decoding_to(text):
        return lambda message: text

    broker = make_broker(parser=tagging("broker"), decoder=decoding_to("broker"))
    subscriber = broker.subscriber(
        "invoices", parser=tagging("subscriber"), decoder=decoding_to("subscriber")
    )

    @subscriber(filter=of_kind("own"), parser=tagging("handler"), decoder=decoding_to("handler"))
    async def own(body: str, tag: str = Context("message.headers.tag")) -> None:
        inbox.put((body, tag))

    @subscriber
    async def other(body: str, tag: str = Context("message.headers.tag")) -> None:
        inbox.put((body, tag))

    async with broker:
        await broker.publish("x", "invoices", headers={"kind": "own"})
        assert await inbox.get() == ("handler", "handler")
        await broker.publish("x", "invoices")
        assert await inbox.get() == ("subscriber", "subscriber")


async def test_handlers_have_dependencies_of_their_own(make_broker, inbox):
    def noting(name):
        return Depends(lambda: inbox.put(name))

    broker = make_broker(dependencies=[noting("broker")])
    subscriber = broker.subscriber("invoices", dependencies=[noting("subscriber")])

    @subscriber(filter=of_kind("paid"), dependencies=[noting("paid")])
    async def paid(body: str) -> None:
        inbox.put("end")

    @subscriber(dependencies=[noting("other")])
    async def other(body: str) -> None:
        inbox.put("end")

    async with broker:
        await broker.publish("x", "invoices", headers={"kind": "paid"})
        assert [await inbox.get() for _ in range(4)] == ["broker", "subscriber", "paid", "end"]
        await broker.publish("x", "invoices")
        assert [await inbox.get() for _ in range(4)] == ["broker", "subscriber", "other", "end"]


async def test_handlers_have_publishers_of_their_own(make_broker, inbox):
    broker = make_broker()
    subscriber = broker.subscriber("invoices")

    @subscriber(filter=of_kind("paid"))
    @broker.publisher("receipts")
    async def paid(body: str) -> str:
        return f"receipt of {body}"

    @subscriber
    @broker.publisher("reminders")
    async def other(body: str) -> str:
        return f"reminder of {body}"

    @broker.subscriber("receipts")
    @broker.subscriber("reminders")
    async def collect(body: str, message: TimerMessage) -> None:
        inbox.put((message.topic, body))

    async with broker:
        await broker.publish("1", "invoices", headers={"kind": "paid"})
        assert await inbox.get() == ("receipts", "receipt of 1")
        await broker.publish("2", "invoices")
        assert await inbox.get() == ("reminders", "reminder of 2")


async def test_middlewares_run_once_however_many_handlers_are_asked(make_broker, inbox):
    class Noting(BaseMiddleware):
        async def on_receive(self):
            inbox.put("received")
            return await super().on_receive()

        async def consume_scope(self, call_next, msg):
            inbox.put("consumed")
            return await call_next(msg)

    broker = make_broker(middlewares=[Noting])
    subscriber = broker.subscriber("invoices")
    for kind in ("a", "b", "c"):

        @subscriber(filter=of_kind(kind))
        async def handle(body: str) -> None:
            inbox.put("handled")

    async with broker:
        await broker.publish("x", "invoices", headers={"kind": "c"})
        assert [await inbox.get() for _ in range(3)] == ["received", "consumed", "handled"]
        await none_pending(broker, "invoices")

    assert inbox.rest() == []


@pytest.mark.parametrize("kind", ["a", "b"])
async def test_the_subscriber_s_policy_holds_for_each_of_its_handlers(make_broker, inbox, kind):
    broker = make_broker(logger=None)
    subscriber = broker.subscriber("invoices", ack_policy=AckPolicy.ACK)

    @subscriber(filter=of_kind("a"))
    async def a(body: str) -> None:
        raise ZeroDivisionError

    @subscriber
    async def b(body: str) -> None:
        raise NackMessage

    async with broker:
        await broker.publish("x", "invoices", timer_id=kind, headers={"kind": kind})

        async def is_settled():
            timer = await broker.get_timer("invoices", kind)
            if kind == "a":
                return timer is None
            # Due when its lease would have ended.
            in_future = timer.due_at > datetime.now(UTC) + timedelta(seconds=10)
            return in_future and not timer.running

        await wait_until_async(is_settled)


async def test_a_filter_that_raises_keeps_the_timer(make_broker, inbox):
    broker = make_broker(logger=None)
    subscriber = broker.subscriber("invoices")

    def fail(message):
        inbox.put(message.timer_id)
        raise ZeroDivisionError

    @subscriber(filter=fail)
    async def handle(body: str) -> None:
        inbox.put("handled")

    async with broker:
        await broker.publish("x", "invoices", timer_id="42")
        assert await inbox.get() == "42"

    await broker.connect()
    assert await broker.get_pending_timers("invoices") == ["42"]
    assert inbox.rest() == []


async def test_under_test_each_handler_has_a_mock(make_broker):
    broker = make_broker()
    subscriber = broker.subscriber("invoices")

    @subscriber(filter=of_kind("paid"))
    async def paid(body: str) -> None:
        pass

    @subscriber
    async def other(body: str) -> None:
        pass

    async with TestTimersBroker(broker):
        await broker.publish("1", "invoices", headers={"kind": "paid"})
        paid.mock.assert_called_once_with("1")
        other.mock.assert_not_called()
        await broker.publish("2", "invoices")
        other.mock.assert_called_once_with("2")
