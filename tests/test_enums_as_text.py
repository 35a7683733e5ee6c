"""Topics, ids and prefixes may be members of ``class Topic(str, Enum)``: their value is meant.

Such a member is its value to most of str's methods, and its name (``Topic.INVOICES``) to f-strings
and `str`, so a single f-string is enough to make a topic that nobody listens to.
"""

import inspect
from contextlib import aclosing
from datetime import timedelta
from enum import Enum

import pytest
from faststream.specification import AsyncAPI
from front_ends import FRONT_ENDS_AND_HOMES, FrontEnd
from waiting import wait_until_async

from faststream_redis_timers import (
    TestTimersBroker,
    TimerPublishMessage,
    TimerResponse,
    TimersBroker,
    TimersRoute,
    TimersRoutePublisher,
    TimersRouter,
    TimerSub,
)
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync import Every, TimerExistsError
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.testing import FakeTimersClient

HOUR = timedelta(hours=1)


def member_of_an_enum(value):
    return Enum("Text", {"MEMBER": value}, type=str).MEMBER


class OfItsOwn(str):
    """A text that says something else than it is, wherever it is asked."""

    __slots__ = ()

    def _is_asked(self, *_args, **_kwargs):
        msg = "a text of the user's own type is asked what it is"
        raise AssertionError(msg)

    __str__ = __format__ = __add__ = __radd__ = __hash__ = encode = replace = _is_asked


@pytest.fixture(params=[member_of_an_enum, OfItsOwn])
def text(request):
    return request.param


# --- calls -------------------------------------------------------------------------------

FEW_FRONT_ENDS = [
    front_end
    for front_end in FRONT_ENDS_AND_HOMES
    if front_end.id in {"blocking-default-real", "async-default-real", "memory", "virtual-time"}
]
TEXTS = {"topic", "timer_id", "timer_ids", "dead_topic", "reply_to", "match", "correlation_id"}


@pytest.mark.parametrize(("make_front_end", "home"), FEW_FRONT_ENDS, indirect=["home"])
async def test_in_every_call_the_value_is_meant(make_front_end, home, text):
    topic, timer_id = text("invoices"), text("42")
    called = set()

    class Noted:
        """A front end that notes which of its methods were called."""

        def __getattr__(self, name):
            called.add(name)
            return getattr(front_end, name)

    async with (
        make_front_end(home, prefix=text("shop:")) as front_end,
        make_front_end(home) as plain,
    ):
        noted = Noted()
        given = {
            "reply_to": text("replies"),
            "correlation_id": text("order-7"),
            "headers": {"name": text("value")},
            "activate_in": HOUR,
        }
        scheduled = await noted.schedule("x", topic, timer_id=timer_id, **given)
        assert (type(scheduled), scheduled) == (str, "42")
        timer = await plain.get_timer("shop:invoices", "42")
        wanted = {"correlation_id": "order-7", "reply_to": "shop:replies", "name": "value"}
        assert timer.headers == {"content-type": "text/plain", **wanted}

        batch = [TimerPublishMessage("y", timer_id=text("43"), correlation_id=text("order-8"))]
        scheduled = await noted.schedule_batch(batch, topic, **given)
        assert [(type(each), each) for each in scheduled] == [(str, "43")]
        assert (await plain.get_timer("shop:invoices", "43")).correlation_id == "order-8"

        assert await noted.has_pending(topic, timer_id)
        assert await noted.count_pending(topic) == 2
        assert await noted.get_pending_timers(topic) == ["42", "43"]
        timer = await noted.get_timer(topic, timer_id)
        assert (type(timer.topic), timer.topic) == (str, "shop:invoices")
        assert (type(timer.timer_id), timer.timer_id) == (str, "42")
        async with aclosing(noted.iter_timers(topic, match=text("4[23]"))) as timers:
            found = [timer async for timer in timers]
        assert {type(timer.topic) for timer in found} == {str}
        assert {timer.topic for timer in found} == {"shop:invoices"}

        assert await noted.reschedule_timer(topic, timer_id, activate_in=2 * HOUR)
        assert await plain.get_pending_timers("shop:invoices") == ["43", "42"]
        assert await noted.cancel_timer(topic, timer_id)
        assert await noted.cancel_timers(topic, [text("43"), "43"]) == 1
        assert await noted.redrive(topic, [text("44")]) == 0
        await noted.schedule("x", topic, timer_id=timer_id, repeat=Every(days=1, spread=True))
        series = await plain.get_timer("shop:invoices", "42")
        assert series.repeat == Every(days=1, spread=True).bound_to("shop:invoices", "42")
        assert await noted.pause_timer(topic, timer_id)
        assert await noted.resume_timer(topic, timer_id)
        assert await noted.cancel_timer(topic, timer_id)
        await plain.schedule("x", "shop:invoices")
        assert await noted.cancel_all(topic) == 1

    with_texts = {
        name
        for name, method in vars(FrontEnd).items()
        if inspect.isfunction(method) and TEXTS & inspect.signature(method).parameters.keys()
    }
    assert called == with_texts


@pytest.mark.parametrize(("make_front_end", "home"), FEW_FRONT_ENDS, indirect=["home"])
async def test_errors_name_the_value(make_front_end, home, text):
    async with make_front_end(home, prefix=text("shop:")) as front_end:
        await front_end.schedule("x", "invoices", timer_id="42", activate_in=HOUR)

        with pytest.raises(TimerExistsError) as caught:
            await front_end.schedule("x", text("invoices"), timer_id=text("42"), if_exists="error")

        named = (caught.value.topic, caught.value.timer_id)
        assert (named, {*map(type, named)}) == (("shop:invoices", "42"), {str})
        await front_end.cancel_all("invoices")


def test_what_lost_replies_name_is_the_value(text):
    operations = Operations(KeySpace())
    several = next(operations.cancel_many("invoices", [text("42")]))

    for operation in (
        operations.cancel("invoices", text("42")),
        operations.reschedule("invoices", text("42"), activate_in=HOUR, activate_at=None),
        several,
    ):
        (named,) = operation.timer_ids
        assert (type(named), named) == (str, "42")


def test_the_names_of_keys_too(text):
    arguments = ("timeline_key", "payloads_key", "attempts_key", "series_key")
    names = {name: text(name) for name in arguments}

    assert KeySpace(**names) == KeySpace(**{name: name for name in names})
    assert KeySpace(**names).of(text("x")) == (
        b"timeline_key:x",
        b"payloads_key:x",
        b"attempts_key:x",
    )
    assert KeySpace(**names).series_of(text("shop")) == b"series_key:shop"


def test_what_is_due_is_popped_by_its_value(text):
    timers = FakeTimersClient(prefix=text("shop:"))
    timers.schedule("x", "invoices", timer_id="42")

    assert [timer.topic for timer in timers.pop_due(text("invoices"))] == ["shop:invoices"]


# --- subscribers and publishers ----------------------------------------------------------


@pytest.fixture
def shop(text, key_names):
    """A function that makes a broker where all names are texts of the user's own."""

    def make(client=None):
        broker = TimersBroker(client, **key_names, prefix=text("shop:"), logger=None)
        router = TimersRouter(text("eu:"), dead_letter_topic=text("dead"))
        got = []

        async def note(body: str, message: TimerMessage) -> str:
            got.append((message.topic, type(message.topic), body))
            return body

        broker.subscriber(text("plain"))(note)
        broker.subscriber(TimerSub(topic=text("sub"), lease_ttl=60))(note)
        router.subscriber(text("routed"), dead_letter_topic=text("{topic}:dead"))(note)
        route = TimersRoute(note, text("route"), publishers=[TimersRoutePublisher(text("onwards"))])
        inner = TimersRouter(handlers=[route])
        router.include_router(inner, prefix=text("inner:"))
        broker.include_router(router)
        broker.subscriber(text("onwards"))(note)
        router.subscriber("inner:onwards")(note)
        return broker, router, got

    return make


TOPICS = {"shop:plain", "shop:sub", "shop:eu:routed", "shop:eu:inner:route", "shop:onwards"}


def test_subscribers_and_publishers_are_called_by_their_value(shop, text):
    broker, router, _ = shop()
    publisher = router.publisher(text("out"), reply_to=text("back"))

    topics = {subscriber.topic for subscriber in broker.subscribers}
    assert topics == {*TOPICS, "shop:eu:inner:onwards"}
    assert {type(topic) for topic in topics} == {str}
    document = AsyncAPI(broker).to_specification().to_jsonable()
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {*topics, "shop:eu:out", "shop:eu:inner:onwards"}
    assert publisher.topic == "shop:eu:out"
    assert publisher._full_reply_to("") == "shop:eu:back"
    by_topic = {subscriber.topic: subscriber for subscriber in broker.subscribers}
    assert by_topic["shop:eu:routed"]._config.dead_topic == "shop:eu:routed:dead"
    assert by_topic["shop:eu:inner:route"]._config.dead_topic == "shop:eu:inner:dead"


@pytest.mark.parametrize("runs", ["real", "at once", "virtual time"])
async def test_what_is_published_is_delivered(shop, text, server_url, runs):
    broker, router, got = shop(server_url if runs == "real" else None)
    to_route = router.publisher(text("inner:route"))

    @broker.subscriber(text("asking"))
    @broker.publisher(text("plain"))
    async def ask(body: str) -> TimerResponse:
        return TimerResponse(f"{body} again", timer_id=text("42"), correlation_id=text("order-7"))

    async def publish():
        await broker.publish("a", text("plain"))
        await broker.publish("b", text("asking"), reply_to=text("sub"))
        await broker.publish_batch("c", topic=text("eu:routed"))
        await to_route.publish("d", reply_to=text("plain"))
        await to_route.publish("e", text("routed"), timer_id=text("43"))

    wanted = {
        ("shop:plain", str, "a"),
        ("shop:plain", str, "b again"),
        ("shop:sub", str, "b again"),
        ("shop:eu:routed", str, "c"),
        ("shop:eu:inner:route", str, "d"),
        ("shop:eu:inner:onwards", str, "d"),
        ("shop:eu:plain", str, "d"),
        ("shop:eu:routed", str, "e"),
    }
    # Nobody listens there; it is looked for below.
    wanted -= {("shop:eu:plain", str, "d")}
    if runs == "real":
        async with broker:
            await publish()
            await wait_until_async(lambda: set(got) == wanted)
            assert await broker.cancel_all("eu:plain") == 1
    elif runs == "at once":
        async with TestTimersBroker(broker):
            await publish()
    else:
        async with (test := TestTimersBroker(broker, hold=True)):
            await publish()
            await test.advance(HOUR)
    assert set(got) == wanted
