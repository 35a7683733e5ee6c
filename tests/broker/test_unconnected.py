"""A broker that nobody has connected: its first use does, in whichever event loop that is."""

import asyncio
import gc
from datetime import timedelta
from uuid import uuid4

import pytest
import redis.asyncio
from faststream.exceptions import IncorrectState
from waiting import wait_until, wait_until_async

from faststream_redis_timers import TestTimersBroker, TimerExistsError, TimersBroker

TOPIC = "invoices"
HOUR = timedelta(hours=1)


class Named:
    """Connections of one name to the server."""

    def __init__(self, server_url, redis_client):
        self.name = f"test-{uuid4().hex}"
        self.url = f"{server_url}?client_name={self.name}"
        self._redis = redis_client

    def count(self):
        return sum(one["name"] == self.name for one in self._redis.client_list())


@pytest.fixture
def named(server_url, redis_client):
    return Named(server_url, redis_client)


@pytest.fixture(params=["a client", "a URL"])
def given(request, client, server_url):
    """What a broker is made with."""
    return client if request.param == "a client" else server_url


async def ids_of(broker):
    return [timer.timer_id async for timer in broker.iter_timers(TOPIC)]


async def publish_if_free(broker):
    with pytest.raises(TimerExistsError, match="'1'"):
        await broker.publish("y", TOPIC, timer_id="1", if_exists="error")


async def queue(broker, client, method, *args, **kwargs):
    async with client.pipeline() as pipeline:
        told = await getattr(broker, method)(*args, **kwargs, pipeline=pipeline)
        await pipeline.execute()
    return told


USES = {
    "publish": (lambda b, _: b.publish("x", TOPIC, timer_id="2"), "2", ["1", "2"]),
    "keep": (lambda b, _: b.publish("y", TOPIC, timer_id="1", if_exists="keep"), "1", ["1"]),
    "error": (lambda b, _: publish_if_free(b), None, ["1"]),
    "publish_batch": (
        lambda b, _: b.publish_batch(*"ab", topic=TOPIC, correlation_id="c", activate_in=HOUR),
        None,
        None,
    ),
    "publisher": (lambda b, _: b.publisher(TOPIC).publish("x", timer_id="2"), "2", ["1", "2"]),
    "publisher cancels": (lambda b, _: b.publisher(TOPIC).cancel_timer("1"), True, []),
    "publisher moves": (
        lambda b, _: b.publisher(TOPIC).reschedule_timer("1", activate_in=HOUR),
        True,
        ["1"],
    ),
    "reschedule_timer": (lambda b, _: b.reschedule_timer(TOPIC, "1", activate_in=HOUR), True, None),
    "cancel_timer": (lambda b, _: b.cancel_timer(TOPIC, "1"), True, []),
    "cancel_timers": (lambda b, _: b.cancel_timers(TOPIC, ["1", "2"]), 1, []),
    "cancel_all": (lambda b, _: b.cancel_all(TOPIC), 1, []),
    "redrive": (lambda b, _: b.redrive(TOPIC), 0, ["1"]),
    "has_pending": (lambda b, _: b.has_pending(TOPIC, "1"), True, ["1"]),
    "get_timer": (lambda b, _: b.get_timer(TOPIC, "2"), None, ["1"]),
    "get_pending_timers": (lambda b, _: b.get_pending_timers(TOPIC), ["1"], ["1"]),
    "iter_timers": (lambda b, _: ids_of(b), ["1"], ["1"]),
    "count_pending": (lambda b, _: b.count_pending(TOPIC), 1, ["1"]),
    "ping": (lambda b, _: b.ping(), True, ["1"]),
    "pipeline": (
        lambda b, client: queue(b, client, "publish", "x", TOPIC, timer_id="2"),
        "2",
        ["1", "2"],
    ),
    "pipeline cancels": (lambda b, client: queue(b, client, "cancel_timer", TOPIC, "1"), None, []),
    "pipeline moves": (
        lambda b, client: queue(b, client, "reschedule_timer", TOPIC, "1", activate_in=HOUR),
        None,
        ["1"],
    ),
}


@pytest.mark.parametrize("use", USES)
async def test_the_first_use_connects(make_broker, client, given, use):
    call, answer, left = USES[use]
    await make_broker().publish("x", TOPIC, timer_id="1", activate_in=HOUR)
    broker = make_broker(given)

    told = await call(broker, client)

    assert answer is None or told == answer
    if left is not None:
        assert sorted(await ids_of(broker)) == left
    assert not broker.running


async def test_a_body_is_that_of_a_connected_broker(make_broker, given):
    class Shouting:
        @staticmethod
        def encode(message):
            return f'"{message.name}!"'.encode()

    class Order:
        name = "first"

    broker = make_broker(given, serializer=Shouting)

    timer_id = await broker.publish(Order(), TOPIC, activate_in=HOUR)

    assert (await broker.get_timer(TOPIC, timer_id)).decode() == "first!"


async def not_pending(broker):
    return await broker.count_pending(TOPIC) == 0


async def test_first_uses_at_once_make_one_client(make_broker, named):
    broker = make_broker(named.url)

    await asyncio.gather(*(broker.publish("x", TOPIC, activate_in=HOUR) for _ in range(20)))

    client = await broker.connect()
    assert named.count() == len(client.connection_pool._available_connections) > 0
    await broker.stop()
    # All are closed, so there was no other client.
    await wait_until_async(lambda: named.count() == 0)


async def test_connecting_after_the_first_use_gives_its_client(make_broker, given):
    broker = make_broker(given)
    await broker.publish("x", TOPIC, activate_in=HOUR)
    runner = broker.config.connection.runner

    assert await broker.connect() is runner.client
    assert await broker.connect() is runner.client
    assert broker.config.connection.runner is runner


async def test_starting_after_the_first_use_delivers(make_broker, given, inbox):
    broker = make_broker(given)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        inbox.put(body)

    await broker.publish("before", TOPIC)
    async with broker:
        assert await inbox.get() == "before"
        await wait_until_async(lambda: not_pending(broker))


# --- after the end -----------------------------------------------------------------------


@pytest.mark.parametrize("before", ["nothing", "a use", "connect", "start"])
async def test_a_client_of_the_callers_goes_on_after_stop(make_broker, before):
    broker = make_broker()
    await bring(broker, before)
    await broker.stop()

    await broker.publish("x", TOPIC, timer_id="42", activate_in=HOUR)

    assert await broker.cancel_timer(TOPIC, "42") is True
    # One that is stopped on purpose is not well, whatever its client is good for.
    assert await broker.ping() is False
    await broker.connect()
    assert await broker.ping() is True


@pytest.mark.parametrize("before", ["nothing", "a use", "connect", "start"])
async def test_a_client_made_from_a_url_is_closed_by_stop_and_not_made_again_unasked(
    make_broker, named, before
):
    broker = make_broker(named.url)
    await bring(broker, before)
    await broker.stop()

    for use in (
        lambda: broker.publish("x", TOPIC),
        lambda: broker.publish_batch("x", topic=TOPIC),
        lambda: broker.publisher(TOPIC).publish("x"),
        lambda: broker.cancel_timer(TOPIC, "1"),
        lambda: ids_of(broker),
    ):
        with pytest.raises(IncorrectState, match=r"is stopped.*call `await broker\.connect\(\)`"):
            await use()
    assert await broker.ping() is False
    await wait_until_async(lambda: named.count() == 0)

    await broker.connect()
    await broker.publish("x", TOPIC, activate_in=HOUR)
    assert await broker.ping() is True


async def bring(broker, before):
    if before == "a use":
        await broker.count_pending(TOPIC)
    elif before != "nothing":
        await getattr(broker, before)()


# --- event loops -------------------------------------------------------------------------


def collect():
    """Let what event loops have left go now, and not in another test."""
    for _ in range(3):
        gc.collect()


# asyncio warns of what a loop leaves open, which is what users do here.
left_open = pytest.mark.filterwarnings("ignore::ResourceWarning")


@left_open
@pytest.mark.parametrize("first", ["a use", "connect", "start"])
def test_each_event_loop_connects_itself(named, key_names, first):
    broker = TimersBroker(named.url, **key_names)
    asyncio.run(bring(broker, first))

    async def use():
        await broker.publish("x", TOPIC, timer_id="42", activate_in=HOUR)
        assert await broker.cancel_timer(TOPIC, "42") is True
        # What handlers and FastStream get is of this loop too.
        assert await (await broker.connect()).ping()
        # The connections of the loop before are closed.
        await wait_until_async(lambda: named.count() == 1)

    asyncio.run(use())
    asyncio.run(use())
    asyncio.run(broker.stop())

    wait_until(lambda: named.count() == 0)
    collect()


@left_open
def test_it_delivers_in_the_second_event_loop(server_url, key_names):
    broker = TimersBroker(server_url, **key_names)
    bodies = []

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        bodies.append(body)

    async def work():
        async with broker:
            await wait_until_async(lambda: not_pending(broker))

    asyncio.run(broker.publish("x", TOPIC))
    asyncio.run(work())

    assert bodies == ["x"]
    collect()


async def test_another_event_loop_beside_it_is_refused(make_broker, server_url):
    broker = make_broker(server_url)
    await broker.publish("x", TOPIC, timer_id="42", activate_in=HOUR)

    def use():
        with pytest.raises(IncorrectState, match="in use in another event loop"):
            asyncio.run(broker.publish("y", TOPIC))
        with pytest.raises(IncorrectState, match="in use in another event loop"):
            asyncio.run(broker.stop())

    await asyncio.to_thread(use)

    # It has harmed nothing.
    assert await broker.get_pending_timers(TOPIC) == ["42"]


@left_open
def test_two_event_loops_may_take_turns(named, key_names):
    broker = TimersBroker(named.url, **key_names)

    async def use():
        await broker.publish("x", TOPIC, timer_id="42", activate_in=HOUR)
        assert await broker.cancel_timer(TOPIC, "42") is True
        await wait_until_async(lambda: named.count() == 1)

    with asyncio.Runner() as one, asyncio.Runner() as other:
        for runner in (one, other) * 2:
            runner.run(use())
        one.run(broker.stop())
    wait_until(lambda: named.count() == 0)
    collect()


async def test_after_stop_another_event_loop_may_have_it(make_broker, server_url):
    broker = make_broker(server_url)
    await broker.publish("x", TOPIC, timer_id="42", activate_in=HOUR)
    await broker.stop()

    async def use():
        async with broker:
            return await broker.get_pending_timers(TOPIC)

    assert await asyncio.to_thread(lambda: asyncio.run(use())) == ["42"]


@left_open
def test_a_test_broker_asks_no_server_whatever_the_loops_before_did(relay, key_names):
    broker = TimersBroker(relay.url, **key_names)
    asyncio.run(broker.count_pending(TOPIC))
    asked = relay.connected

    async def use():
        async with TestTimersBroker(broker, hold=True):
            await broker.publish("x", TOPIC)
            return await broker.count_pending(TOPIC)

    assert asyncio.run(use()) == 1
    assert relay.connected == asked
    assert asyncio.run(broker.count_pending(TOPIC)) == 0
    asyncio.run(broker.stop())
    collect()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://localhost?socket_timout=5", "socket_timout"),
        ("unix:///nowhere?socket_timout=5", "socket_timout"),
        ("rediss://localhost?ssl_cert_reqs=perhaps", "perhaps"),
        ("redis://localhost?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("redis://localhost?max_connections=-1", "max_connections"),
    ],
)
def test_an_option_that_redis_py_does_not_know_is_refused_at_once(url, name):
    with pytest.raises(ValueError, match=rf"after the \? in the URL can't be used: .*{name}"):
        TimersBroker(url)


async def test_without_a_client_each_use_says_what_to_give():
    broker = TimersBroker()

    for use in (broker.publish("x", TOPIC), broker.count_pending(TOPIC), broker.connect()):
        with pytest.raises(IncorrectState, match=r"has no client: pass a redis\.asyncio\.Redis"):
            await use
    assert await broker.ping() is False


async def test_a_given_client_may_be_of_any_kind(server_url, key_names):
    async with redis.asyncio.Redis.from_url(server_url, decode_responses=True) as client:
        broker = TimersBroker(client, **key_names)

        await broker.publish("x", TOPIC, timer_id="42", activate_in=HOUR)

        assert (await broker.get_timer(TOPIC, "42")).body == b"x"
