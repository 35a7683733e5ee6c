"""What a broker, a subscriber and a publisher are made of: clients, key names and knobs."""

import math
from datetime import timedelta
from decimal import Decimal

import pytest
import redis
import redis.asyncio
from faststream.exceptions import IncorrectState
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster

from faststream_redis_timers import (
    TimersBroker,
    TimersRoute,
    TimersRoutePublisher,
    TimersRouter,
    TimerSub,
)


async def handle(body: str) -> None:
    """Do nothing."""


# --- clients -----------------------------------------------------------------------------


async def test_a_given_client_is_the_one_that_is_used(client, make_broker):
    broker = make_broker()

    assert await broker.connect() is client


async def test_a_url_is_enough(server_url, make_broker):
    broker = make_broker(server_url)
    await broker.connect()

    timer_id = await broker.publish("x", "invoices")

    assert await broker.has_pending("invoices", timer_id)


async def test_without_a_client_a_broker_can_be_described(key_names):
    broker = TimersBroker(**key_names)

    subscriber = broker.subscriber("invoices")
    subscriber(handle)

    assert subscriber.topic == "invoices"


@pytest.mark.parametrize("call", ["start", "connect"])
async def test_without_a_client_nothing_can_be_reached(call):
    with pytest.raises(
        IncorrectState, match=r"has no client: give it a redis\.asyncio\.Redis or a"
    ):
        await getattr(TimersBroker(), call)()


async def test_before_it_is_connected_a_broker_says_what_to_call(client):
    with pytest.raises(IncorrectState, match=r"call `await broker\.connect\(\)` first"):
        await TimersBroker(client).publish("x", "invoices")


def test_a_blocking_client_is_refused_with_the_classes_to_use():
    with pytest.raises(TypeError) as caught:
        TimersBroker(redis.Redis())

    assert "blocking redis.Redis" in str(caught.value)
    assert "redis.asyncio.Redis" in str(caught.value)
    assert "faststream_redis_timers_sync.TimersClient" in str(caught.value)


@pytest.mark.parametrize("cluster_class", [redis.RedisCluster, AsyncRedisCluster])
def test_a_cluster_client_is_refused_with_the_reason_and_what_is_supported(cluster_class):
    class Unconnected(cluster_class):
        """Skips the constructor, which wants a cluster to talk to."""

        def __init__(self):
            pass

        def __del__(self):
            pass

    with pytest.raises(TypeError) as caught:
        TimersBroker(Unconnected())

    assert "the keys of a topic must be on one node" in str(caught.value)
    assert "single primary" in str(caught.value)
    assert "Sentinel" in str(caught.value)


@pytest.mark.parametrize("junk", [b"redis://localhost", 6379, object(), redis.asyncio.Redis])
def test_what_is_no_client_is_refused(junk):
    with pytest.raises(TypeError, match=r"client must be a redis\.asyncio\.Redis or a URL, got "):
        TimersBroker(junk)


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://localhost", "redis://localhost:port", ""]
)
def test_a_url_that_redis_py_does_not_know_is_refused_at_once(url):
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        TimersBroker(url)


# --- keys, prefix, start_timeout ---------------------------------------------------------


async def test_key_names_are_those_of_the_arguments(key_names, make_broker, redis_client):
    broker = make_broker()
    await broker.connect()

    await broker.publish("x", "invoices", timer_id="42")

    assert redis_client.zrange(f"{key_names['timeline_key']}:invoices", 0, -1) == [b"42"]
    assert redis_client.hkeys(f"{key_names['payloads_key']}:invoices") == [b"42"]


async def test_key_names_default_to_the_documented_ones(client):
    keys = TimersBroker(client).config.operations.keys.of("invoices")

    assert keys == (
        b"timers_timeline:invoices",
        b"timers_payloads:invoices",
        b"timers_attempts:invoices",
    )


@pytest.mark.parametrize(
    ("names", "error", "text"),
    [
        ({"timeline_key": ""}, ValueError, "timeline_key must not be empty"),
        ({"payloads_key": ""}, ValueError, "payloads_key must not be empty"),
        ({"attempts_key": 5}, TypeError, "attempts_key must be a str, got 5"),
        ({"timeline_key": "x", "payloads_key": "x"}, ValueError, "must differ"),
    ],
)
def test_key_names_that_cannot_work_are_refused(names, error, text):
    with pytest.raises(error, match=text):
        TimersBroker(**names)


async def test_the_prefix_stands_before_topics_and_reply_to(key_names, make_broker, redis_client):
    broker = make_broker(prefix="my-service:")
    subscriber = broker.subscriber("invoices")
    publisher = broker.publisher("invoices")
    await broker.connect()

    await broker.publish("x", "invoices", timer_id="42", reply_to="replies")

    assert subscriber.topic == publisher.topic == "my-service:invoices"
    assert redis_client.exists(f"{key_names['timeline_key']}:my-service:invoices")
    timer = await broker.get_timer("invoices", "42")
    assert timer.topic == "my-service:invoices"
    assert timer.headers["reply_to"] == "my-service:replies"


@pytest.mark.parametrize("start_timeout", [0, -1, math.nan])
def test_a_start_timeout_that_cannot_work_is_refused(start_timeout):
    with pytest.raises(ValueError, match=f"start_timeout must be more than 0.*{start_timeout}"):
        TimersBroker(start_timeout=start_timeout)


# --- knobs -------------------------------------------------------------------------------

DECORATORS = {
    "broker": lambda **knobs: TimersBroker().subscriber("invoices", **knobs),
    "router": lambda **knobs: TimersRouter().subscriber("invoices", **knobs),
    "route": lambda **knobs: TimersRouter(handlers=[TimersRoute(handle, "invoices", **knobs)]),
    "TimerSub": lambda **knobs: TimerSub(topic="invoices", **knobs),
}

SECONDS = ["lease_ttl", "polling_interval", "max_polling_interval"]


@pytest.fixture(params=DECORATORS)
def decorate(request):
    return DECORATORS[request.param]


@pytest.mark.parametrize("knob", SECONDS)
@pytest.mark.parametrize("value", [0, -1, -0.001, 1e-7, math.nan, math.inf, -math.inf, 1e12])
def test_seconds_that_cannot_work_are_refused(decorate, knob, value):
    with pytest.raises(ValueError) as caught:
        decorate(**{knob: value})

    assert str(caught.value).startswith(f"{knob} must be from 0.001 s")
    assert str(caught.value).endswith(f"got {value!r}")


@pytest.mark.parametrize("knob", SECONDS)
@pytest.mark.parametrize("value", [True, "30", None, timedelta(seconds=30), Decimal(1)], ids=repr)
def test_seconds_of_another_type_are_refused(decorate, knob, value):
    with pytest.raises(TypeError) as caught:
        decorate(**{knob: value})

    assert str(caught.value) == f"{knob} must be a number of seconds, got {value!r}"


def test_a_base_above_its_ceiling_is_refused(decorate):
    with pytest.raises(ValueError) as caught:
        decorate(polling_interval=2.0, max_polling_interval=1.0)

    assert str(caught.value) == (
        "polling_interval must be at most max_polling_interval (1.0), got 2.0"
    )


def test_a_base_equal_to_its_ceiling_is_welcome(decorate):
    decorate(polling_interval=2, max_polling_interval=2)


@pytest.mark.parametrize("value", [0, -1])
def test_a_number_of_handlers_that_cannot_work_is_refused(decorate, value):
    with pytest.raises(ValueError, match=f"max_concurrent must be at least 1, got {value}"):
        decorate(max_concurrent=value)


@pytest.mark.parametrize("value", [True, 1.5, "5", None, math.nan, math.inf])
def test_a_number_of_handlers_of_another_type_is_refused(decorate, value):
    with pytest.raises(TypeError, match=f"max_concurrent must be an int, got {value!r}"):
        decorate(max_concurrent=value)


@pytest.mark.parametrize(("topic", "error"), [("", ValueError), (None, TypeError), (5, TypeError)])
def test_a_topic_that_is_none_is_refused_at_the_decorator(topic, error):
    for decorate in (
        TimersBroker().subscriber,
        TimersBroker().publisher,
        TimersRouter().subscriber,
        TimersRouter().publisher,
        lambda topic: TimerSub(topic=topic),
    ):
        with pytest.raises(error, match="topic must"):
            decorate(topic)


@pytest.mark.parametrize("registrator_class", [TimersBroker, TimersRouter])
def test_a_timer_sub_stands_in_place_of_the_topic(registrator_class):
    sub = TimerSub(
        topic="invoices",
        lease_ttl=60,
        polling_interval=0.5,
        max_polling_interval=1,
        max_concurrent=2,
    )

    assert registrator_class().subscriber(sub).sub is sub


def test_a_timer_sub_stands_in_place_of_the_topic_of_a_route():
    broker = TimersBroker()
    sub = TimerSub(topic="invoices", max_concurrent=2)
    broker.include_router(TimersRouter("my-", handlers=[TimersRoute(handle, sub)]))

    (subscriber,) = broker.subscribers
    assert subscriber.sub is sub
    assert subscriber.topic == "my-invoices"


def test_the_knobs_default_to_the_documented_ones():
    sub = TimersBroker().subscriber("invoices").sub

    assert sub == TimerSub(topic="invoices")
    assert (sub.lease_ttl, sub.polling_interval, sub.max_polling_interval, sub.max_concurrent) == (
        30,
        0.05,
        5.0,
        5,
    )


@pytest.mark.parametrize(
    "knobs",
    [
        {"lease_ttl": 60},
        {"polling_interval": 0.1},
        {"max_polling_interval": 1},
        {"max_concurrent": 1},
    ],
    ids=repr,
)
def test_knobs_beside_a_timer_sub_are_refused(knobs):
    with pytest.raises(ValueError, match="give the knobs in the TimerSub of topic 'invoices'"):
        TimersBroker().subscriber(TimerSub(topic="invoices"), **knobs)


def test_a_delay_that_is_no_timedelta_is_refused_at_the_publishers_decorator():
    with pytest.raises(TypeError, match=r"activate_in=timedelta\(seconds=30\)"):
        TimersBroker().publisher("invoices", activate_in=30)
    with pytest.raises(TypeError, match=r"activate_in=timedelta\(seconds=30\)"):
        TimersRouter(
            handlers=[
                TimersRoute(
                    handle, "a", publishers=[TimersRoutePublisher("invoices", activate_in=30)]
                )
            ]
        )


# --- the names of version 0.5 ------------------------------------------------------------


@pytest.mark.parametrize("registrator_class", [TimersBroker, TimersRouter])
def test_old_names_of_arguments_warn_and_work(registrator_class):
    registrator = registrator_class()

    def decorate():
        return (
            registrator.subscriber("a", title_="Title", description_="Text"),
            registrator.publisher("b", title_="Other", description_="More", schema_=int),
        )

    with pytest.warns(DeprecationWarning, match="is deprecated, use ") as warned:
        subscriber, publisher = decorate()

    assert {str(warning.message) for warning in warned} == {
        "argument title_ is deprecated, use title",
        "argument description_ is deprecated, use description",
        "argument schema_ is deprecated, use schema",
    }
    assert {warning.filename for warning in warned} == {__file__}
    assert subscriber.specification.config.title_ == "Title"
    assert subscriber.specification.config.description_ == "Text"
    assert publisher.specification.config.title_ == "Other"
    assert publisher.specification.config.description_ == "More"
    assert publisher.specification.config.schema_ is int


def test_old_names_of_arguments_warn_and_work_in_routes():
    with pytest.warns(DeprecationWarning, match="argument title_ is deprecated, use title"):
        route = TimersRoute(handle, "a", title_="Title")
    with pytest.warns(DeprecationWarning, match="argument schema_ is deprecated, use schema"):
        publisher = TimersRoutePublisher("a", schema_=int)

    assert route.kwargs["title"] == "Title"
    assert publisher.kwargs["schema"] is int
