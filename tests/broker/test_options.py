"""What brokers, routers, subscribers and publishers are made of: clients, key names and options."""

import inspect
import itertools
import logging
import math
from datetime import timedelta
from decimal import Decimal

import pytest
import redis
import redis.asyncio
from bench import LogLines
from fast_depends import Provider
from faststream import Context, ContextRepo, Depends
from faststream.exceptions import IncorrectState, SetupError
from faststream.redis import RedisRouter
from faststream.redis.schemas.types import NON_CONNECTION_PARAMS
from leaks import keys_under
from redis.asyncio.client import Pipeline
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from waiting import wait_until_async

from faststream_redis_timers import (
    TestTimersBroker,
    TimerBatchMessage,
    TimerMessage,
    TimerPublishMessage,
    TimersBroker,
    TimersRoute,
    TimersRoutePublisher,
    TimersRouter,
    TimerSub,
)
from faststream_redis_timers._faststream import UnderlyingDriverAnnotation
from faststream_redis_timers.annotations import TimerMessage as Message


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
    with pytest.raises(IncorrectState, match=r"has no client: pass a redis\.asyncio\.Redis or a"):
        await getattr(TimersBroker(), call)()


def test_a_blocking_client_is_refused_with_the_classes_to_use():
    with pytest.raises(TypeError) as caught:
        TimersBroker(redis.Redis())

    assert "blocking redis.Redis" in str(caught.value)
    assert "redis.asyncio.Redis" in str(caught.value)
    assert "faststream_redis_timers_sync.TimersClient" in str(caught.value)


@pytest.mark.parametrize("cluster_class", [redis.RedisCluster, AsyncRedisCluster])
def test_a_cluster_client_is_refused_without_hash_tags(cluster_class):
    class Unconnected(cluster_class):
        """Skips the constructor, which wants a cluster to talk to."""

        def __init__(self):
            pass

        def __del__(self):
            pass

    with pytest.raises(TypeError, match=r"client is a .*Cluster, .*pass hash_tags=True"):
        TimersBroker(Unconnected())


@pytest.mark.parametrize("junk", [b"redis://localhost", 6379, object(), redis.asyncio.Redis])
def test_what_is_no_client_is_refused(junk):
    with pytest.raises(TypeError, match=r"redis\.asyncio\.RedisCluster or a URL, got "):
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
        ({"series_key": 5}, TypeError, "series_key must be a str, got 5"),
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


@pytest.mark.parametrize("start_timeout", [-1, -0.001, math.nan])
def test_a_start_timeout_that_cannot_work_is_refused(start_timeout):
    with pytest.raises(
        ValueError, match=f"start_timeout must be at least 0 seconds.*{start_timeout}"
    ):
        TimersBroker(start_timeout=start_timeout)


# --- FastStream's options ----------------------------------------------------------------


def parameters_of(call):
    """Give names and defaults of what can be given by name; no argument may be left unnamed."""
    parameters = inspect.signature(call).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    return {p.name: p.default for p in parameters if p.name != "self"}


def test_a_broker_has_the_options_of_faststreams_redis_broker():
    theirs = NON_CONNECTION_PARAMS | {"security"}

    assert theirs - parameters_of(TimersBroker.__init__).keys() == {"message_format"}


def test_a_router_has_the_options_of_faststreams_redis_router():
    theirs = parameters_of(RedisRouter.__init__)

    ours = parameters_of(TimersRouter.__init__)

    assert {name: ours[name] for name in theirs} == theirs
    our_own = {"underlying_driver_annotations", "retry_policy", "dead_letter_topic", "duty"}
    assert ours.keys() - theirs.keys() <= our_own


def test_broker_router_and_routes_have_the_same_options():
    subscriber = parameters_of(TimersBroker.subscriber)
    publisher = parameters_of(TimersBroker.publisher)

    assert parameters_of(TimersRouter.subscriber) == subscriber
    assert parameters_of(TimersRouter.publisher) == publisher
    assert parameters_of(TimersRoutePublisher.__init__) == publisher
    route = parameters_of(TimersRoute.__init__)
    assert (route.pop("call"), route.pop("publishers")) == (inspect.Parameter.empty, ())
    assert route == subscriber


@pytest.fixture
def counting():
    """Make ids: n1, n2, ..."""
    numbers = itertools.count(1)
    return lambda: f"n{next(numbers)}"


async def test_an_id_generator_makes_the_ids_and_correlation_ids_follow(make_broker, counting):
    broker = make_broker(id_generator=counting)
    publisher = broker.publisher("out")
    await broker.connect()

    assert await broker.publish("x", "in") == "n1"
    assert await broker.publish("x", "in", timer_id="own") == "own"
    assert await broker.publish_batch(
        "x", TimerPublishMessage("y"), TimerPublishMessage("z", timer_id="its own"), topic="in"
    ) == ["n2", "n3", "its own"]
    assert await publisher.publish("x") == "n4"
    assert await publisher.publish("x", correlation_id="c") == "n5"

    timers = [timer for topic in ("in", "out") async for timer in broker.iter_timers(topic)]
    assert {timer.timer_id: timer.correlation_id for timer in timers} == {
        "n1": "n1",
        "own": "own",
        "n2": "n2",
        "n3": "n3",
        "its own": "its own",
        "n4": "n4",
        "n5": "c",
    }


async def test_an_id_generator_makes_the_ids_of_results_and_replies(make_broker, inbox, counting):
    broker = make_broker(id_generator=counting)

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> str:
        return body

    @broker.subscriber("out")
    @broker.subscriber("replies")
    async def collect(body: str, message: Message) -> None:
        inbox.put((message.timer_id, message.correlation_id))

    async with broker:
        await broker.publish("x", "in", timer_id="42", reply_to="replies")

        assert {await inbox.get(), await inbox.get()} == {("n1", "42"), ("n2", "42")}


async def test_an_id_generator_is_used_under_test_too(counting):
    broker = TimersBroker(id_generator=counting)
    async with TestTimersBroker(broker):
        assert await broker.publish("x", "in") == "n1"


@pytest.mark.parametrize(
    ("made", "error", "text"),
    [(5, TypeError, "timer_id must be a str, got 5"), ("", ValueError, "timer_id must not be emp")],
)
async def test_an_id_that_cannot_be_is_refused_and_nothing_written(
    make_broker, redis_client, key_names, made, error, text
):
    broker = make_broker(id_generator=lambda: made)
    await broker.connect()

    with pytest.raises(error, match=text):
        await broker.publish("x", "in")
    with pytest.raises(error, match=text):
        await broker.publish_batch("x", topic="in")

    assert keys_under(redis_client, key_names) == []


async def test_ids_are_random_by_default(make_broker):
    broker = make_broker()
    await broker.connect()

    ids = {await broker.publish("x", "in") for _ in range(3)}

    assert {len(timer_id) for timer_id in ids} == {22}
    assert len(ids) == 3


def original():
    """Stand for a dependency that tests replace."""
    return "original"


async def test_a_provider_replaces_dependencies(make_broker, inbox):
    provider = Provider()
    provider.override(original, lambda: "replaced")
    broker = make_broker(provider=provider)

    @broker.subscriber("in")
    async def handle(body: str, value: str = Depends(original)) -> None:
        inbox.put(value)

    async with broker:
        await broker.publish("x", "in")
        assert await inbox.get() == "replaced"

    assert broker.provider is provider


async def test_a_context_is_what_handlers_look_into(make_broker, inbox):
    context = ContextRepo({"shop": "corner"})
    broker = make_broker(context=context)

    @broker.subscriber("in")
    async def handle(body: str, shop: str = Context()) -> None:
        inbox.put(shop)

    async with broker:
        await broker.publish("x", "in")
        assert await inbox.get() == "corner"

    assert broker.context is context


@pytest.mark.parametrize(
    ("options", "got"), [({}, 5), ({"serializer": None}, "5"), ({"apply_types": False}, "5")]
)
async def test_the_serializer_converts_arguments_where_there_is_one(
    make_broker, inbox, options, got
):
    broker = make_broker(**options)

    @broker.subscriber("in")
    async def handle(body: int) -> None:
        inbox.put(body)

    async with broker:
        await broker.publish("5", "in")
        assert await inbox.get() == got


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING])
async def test_log_level_is_that_of_the_lines_of_each_message(make_broker, level):
    log = LogLines()
    log.logger.setLevel(logging.DEBUG)
    broker = make_broker(logger=log.logger, log_level=level)

    @broker.subscriber("in")
    async def handle(body: str) -> None:
        pass

    async with broker:
        await broker.publish("x", "in")
        await wait_until_async(lambda: "Processed" in log.at(level))

    assert "Received" in log.at(level)


REGISTRATIONS = {
    "broker": lambda broker, **options: broker.subscriber("in", **options),
    "router": lambda broker, **options: included(broker, TimersRouter(), **options),
}


def included(broker, router, **options):
    broker.include_router(router)
    return router.subscriber("in", **options)


@pytest.fixture(params=["broker", "router", "route"])
def subscribe(request):
    """Subscribe a handler to the topic "in" of a broker, at one of the places where one can."""

    def subscribe(broker, call, **options):
        if request.param == "route":
            broker.include_router(TimersRouter(handlers=[TimersRoute(call, "in", **options)]))
        else:
            REGISTRATIONS[request.param](broker, **options)(call)

    return subscribe


@pytest.mark.parametrize("no_reply", [False, True])
async def test_no_reply_is_known_everywhere(make_broker, subscribe, no_reply):
    broker = make_broker()

    async def answer(body: str) -> str:
        return body

    subscribe(broker, answer, no_reply=no_reply)
    async with broker:
        await broker.publish("x", "in", reply_to="replies")

        async def is_handled():
            return await broker.count_pending("in") == 0

        await wait_until_async(is_handled)
        assert await broker.count_pending("replies") == (0 if no_reply else 1)


def test_descriptions_are_known_everywhere(subscribe):
    broker = TimersBroker()

    subscribe(broker, handle, title="Title", description="Text", include_in_schema=False)

    (subscriber,) = broker.subscribers
    specification = subscriber.specification
    assert (specification.name, specification.description) == ("Title", "Text")
    assert specification.include_in_schema is False


class Driver:
    """A class that its user has an annotation for."""


needs_0_7_8 = pytest.mark.skipif(
    UnderlyingDriverAnnotation is None, reason="this FastStream does not look for them"
)


@needs_0_7_8
@pytest.mark.parametrize(
    ("driver", "name"),
    [
        (TimersBroker, "TimersBroker"),
        (TimerBatchMessage, "TimerBatchMessage"),
        (TimerMessage, "TimerMessage"),
        (redis.asyncio.Redis, "Redis"),
        (Pipeline, "Pipeline"),
    ],
)
async def test_an_argument_of_a_class_that_is_not_injected_says_what_to_import(
    make_broker, driver, name
):
    broker = make_broker()

    @broker.subscriber("in")
    async def handle(argument: driver) -> None:
        pass

    with pytest.raises(SetupError, match=f"from faststream_redis_timers.annotations import {name}"):
        await broker.start()


@needs_0_7_8
@pytest.mark.parametrize("level", ["broker", "router"])
async def test_a_class_of_the_user_s_own_may_be_named_too(make_broker, level):
    options = {"underlying_driver_annotations": {Driver: "OurDriver"}}
    broker = make_broker(**options if level == "broker" else {})
    router = TimersRouter(**options if level == "router" else {})
    broker.include_router(router)

    @router.subscriber("in")
    async def handle(argument: Driver) -> None:
        pass

    with pytest.raises(SetupError, match="OurDriver"):
        await broker.start()


def test_named_classes_are_taken_by_every_faststream():
    options = {"underlying_driver_annotations": {Driver: "OurDriver"}}

    assert TimersBroker(**options).config.underlying_driver_annotations[Driver] == "OurDriver"
    assert TimersRouter(**options).config.underlying_driver_annotations[Driver] == "OurDriver"


# --- subscribers' options ----------------------------------------------------------------

DECORATORS = {
    "broker": lambda **options: TimersBroker().subscriber("invoices", **options),
    "router": lambda **options: TimersRouter().subscriber("invoices", **options),
    "route": lambda **options: TimersRouter(handlers=[TimersRoute(handle, "invoices", **options)]),
    "TimerSub": lambda **options: TimerSub(topic="invoices", **options),
}

SECONDS = ["lease_ttl", "polling_interval", "max_polling_interval"]


@pytest.fixture(params=DECORATORS)
def decorate(request):
    return DECORATORS[request.param]


@pytest.mark.parametrize("option", SECONDS)
@pytest.mark.parametrize("value", [0, -1, -0.001, 1e-7, math.nan, math.inf, -math.inf, 1e12])
def test_seconds_that_cannot_work_are_refused(decorate, option, value):
    with pytest.raises(ValueError) as caught:
        decorate(**{option: value})

    assert str(caught.value).startswith(f"{option} must be from 0.001 s")
    assert str(caught.value).endswith(f"got {value!r}")


@pytest.mark.parametrize("option", SECONDS)
@pytest.mark.parametrize("value", [True, "30", None, timedelta(seconds=30), Decimal(1)], ids=repr)
def test_seconds_of_another_type_are_refused(decorate, option, value):
    with pytest.raises(TypeError) as caught:
        decorate(**{option: value})

    assert str(caught.value) == f"{option} must be a number of seconds, got {value!r}"


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


@pytest.mark.parametrize("value", [True, 1.5, "5", math.nan, math.inf])
def test_a_number_of_handlers_of_another_type_is_refused(decorate, value):
    with pytest.raises(TypeError, match=f"max_concurrent must be an int, got {value!r}"):
        decorate(max_concurrent=value)


# --- batches -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 101, 1_000])
def test_a_length_of_batches_that_cannot_work_is_refused(value):
    with pytest.raises(ValueError, match=f"max_records must be .*, got {value}"):
        TimerSub(topic="invoices", batch=True, max_records=value)


@pytest.mark.parametrize("value", [True, 1.5, "5", None])
def test_a_length_of_batches_of_another_type_is_refused(value):
    with pytest.raises(TypeError, match=f"max_records must be an int, got {value!r}"):
        TimerSub(topic="invoices", batch=True, max_records=value)


@pytest.mark.parametrize("value", [-0.001, -1, math.nan, math.inf, -math.inf])
def test_a_pause_between_claims_that_cannot_work_is_refused(value):
    with pytest.raises(ValueError, match="max_wait must be a finite number of seconds from 0, got"):
        TimerSub(topic="invoices", batch=True, max_wait=value)


@pytest.mark.parametrize(("option", "value"), [("max_records", 10), ("max_wait", 0.5)])
def test_an_option_of_batches_is_refused_without_them(decorate, option, value):
    with pytest.raises(ValueError, match=f"{option} works only with batch=True"):
        decorate(**{option: value})


@pytest.mark.parametrize(
    ("options", "slots"),
    [
        ({}, 5),
        ({"batch": True}, 1),
        ({"max_concurrent": 3}, 3),
        ({"batch": True, "max_concurrent": 3}, 3),
        ({"batch": True, "max_records": 1, "max_wait": 0}, 1),
        ({"batch": True, "max_records": 100, "max_wait": 3_600}, 1),
    ],
)
def test_batches_run_one_at_a_time_unless_more_are_asked_for(options, slots):
    sub = TimerSub(topic="invoices", **options)

    assert (sub.max_concurrent, sub.slots) == (slots, slots)


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


def test_the_options_default_to_the_documented_ones():
    sub = TimersBroker().subscriber("invoices").sub

    assert sub == TimerSub(topic="invoices")
    assert (sub.lease_ttl, sub.polling_interval, sub.max_polling_interval, sub.max_concurrent) == (
        30,
        0.05,
        5.0,
        5,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"lease_ttl": 60},
        {"polling_interval": 0.1},
        {"max_polling_interval": 1},
        {"max_concurrent": 1},
        {"batch": True},
    ],
    ids=repr,
)
def test_options_beside_a_timer_sub_are_refused(options):
    with pytest.raises(ValueError, match="give the options in the TimerSub of topic 'invoices'"):
        TimersBroker().subscriber(TimerSub(topic="invoices"), **options)


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
