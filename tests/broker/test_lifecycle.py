"""Connecting, starting, stopping and starting again, and what a sick server does to it."""

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest
import redis
import redis.asyncio
from bench import fail_in_a_task_group
from faststream import FastStream, TestApp
from faststream.exceptions import IncorrectState, StopConsume
from inside import is_delivering, kill_loop
from redis.exceptions import ConnectionError as RedisConnectionError
from waiting import wait_until_async

from faststream_redis_timers import TimerOutcomeUnknownError, TimersBroker
from faststream_redis_timers._faststream import DefaultCodec
from faststream_redis_timers.calls.runner import Runner
from faststream_redis_timers.subscriber.loop import DeliveryLoop
from faststream_redis_timers_sync.protocol.clients import get_connection_args

COMMAND = get_connection_args(redis.__version__)


@pytest.fixture
async def no_task_is_left():
    """Check that the test ends with the tasks that it began with."""
    yield
    # A task that has been cancelled may need a turn of the loop to end.
    await wait_until_async(lambda: asyncio.all_tasks() == {asyncio.current_task()})


def deliver_to(broker, inbox, topic="invoices"):
    @broker.subscriber(topic)
    async def handle(body: str) -> None:
        inbox.put(body)

    return handle


async def passes_a_timer(broker, inbox, body):
    """Schedule a timer that is due now and wait until it has been handled and committed."""
    await broker.publish(body, "invoices")
    assert await inbox.get() == body
    await wait_until_async(lambda: nothing_pending(broker))


async def nothing_pending(broker):
    return await broker.count_pending("invoices") == 0


# --- whose client it is ------------------------------------------------------------------


async def test_a_given_client_is_not_closed(client, make_broker, inbox):
    broker = make_broker()
    deliver_to(broker, inbox)
    async with broker:
        await passes_a_timer(broker, inbox, "x")
        connections = client.connection_pool._available_connections[:]

    assert any(connection.is_connected for connection in connections)
    assert await client.ping()


async def test_brokers_share_a_client(client, make_broker, inbox):
    first, second = make_broker(prefix="1:"), make_broker(prefix="2:")
    deliver_to(first, inbox)
    deliver_to(second, inbox)
    async with second:
        async with first:
            await passes_a_timer(first, inbox, "to the first")
        # The end of one is not the end of the other.
        await passes_a_timer(second, inbox, "to the second")


async def test_a_client_made_from_a_url_is_closed(server_url, make_broker, inbox):
    broker = make_broker(server_url)
    deliver_to(broker, inbox)
    async with broker:
        await passes_a_timer(broker, inbox, "x")
        client = await broker.connect()
        connections = client.connection_pool._available_connections[:]
        assert any(connection.is_connected for connection in connections)

    assert not any(connection.is_connected for connection in connections)


async def test_a_client_made_from_a_url_waits_two_seconds_and_never_repeats(make_broker, relay):
    broker = make_broker(relay.url)
    client = await broker.connect()

    connection = client.connection_pool.make_connection()

    assert connection.socket_timeout == 2.0
    assert connection.socket_connect_timeout == 2.0
    assert connection.retry._retries == 0
    relay.lose_reply("PING", times=2)
    with pytest.raises(redis.ConnectionError):
        await client.ping()
    assert relay.count("PING") == 1


async def test_options_in_the_url_win(relay, make_broker):
    broker = make_broker(
        f"{relay.url}?socket_timeout=7.5&socket_connect_timeout=9&max_connections=3"
        "&client_name=worker&health_check_interval=11"
    )
    client = await broker.connect()

    connection = client.connection_pool.make_connection()

    assert connection.socket_timeout == 7.5
    assert connection.socket_connect_timeout == 9
    assert connection.client_name == "worker"
    assert connection.health_check_interval == 11
    assert client.connection_pool.max_connections == 3


# --- starting and stopping ---------------------------------------------------------------


async def test_async_with_starts_and_stops(make_broker, inbox, no_task_is_left):
    broker = make_broker()
    deliver_to(broker, inbox)

    async with broker as entered:
        assert entered is broker
        assert broker.running
        await passes_a_timer(broker, inbox, "x")

    assert not broker.running


@pytest.mark.parametrize("together", [False, True])
async def test_a_second_start_changes_nothing(make_broker, inbox, no_task_is_left, together):
    broker = make_broker()
    deliver_to(broker, inbox)
    if together:
        await asyncio.gather(broker.start(), broker.start())
    else:
        await broker.start()
        tasks = asyncio.all_tasks()
        await broker.start()
        assert asyncio.all_tasks() == tasks

    await passes_a_timer(broker, inbox, "x")

    assert inbox.rest() == []
    await broker.stop()


@pytest.mark.parametrize("by_url", [False, True])
async def test_it_can_be_stopped_and_started_again(
    server_url, client, make_broker, inbox, no_task_is_left, by_url
):
    broker = make_broker(server_url if by_url else client)
    deliver_to(broker, inbox)
    for number in range(3):
        await broker.start()
        await passes_a_timer(broker, inbox, f"round {number}")
        await broker.stop()


async def test_a_second_stop_changes_nothing(make_broker, inbox):
    broker = make_broker()
    deliver_to(broker, inbox)
    await broker.start()

    await broker.stop()
    await broker.stop()

    assert not broker.running


async def test_many_subscribers_stop_together(make_broker, inbox, no_task_is_left):
    # The last one closes the connection on which the others say that they leave.
    broker = make_broker(logger=None)
    for number in range(20):
        deliver_to(broker, inbox, topic=f"topic {number}")
    for number in range(20):
        async with broker:
            await broker.publish(str(number), "topic 0")
            assert await inbox.get() == str(number)


async def test_a_stopped_broker_delivers_nothing(make_broker, inbox):
    broker, other = make_broker(), make_broker()
    deliver_to(broker, inbox)
    await broker.start()
    await broker.stop()
    await other.connect()

    await other.publish("x", "invoices", timer_id="42")

    # A timer that nobody has claimed waits; one that was claimed runs.
    assert await other.cancel_timer("invoices", "42") is True
    assert inbox.rest() == []


async def test_connecting_alone_is_enough_to_publish(make_broker, inbox):
    broker = make_broker()
    deliver_to(broker, inbox)
    await broker.connect()

    timer_id = await broker.publish("x", "invoices", timer_id="42")

    # Connected is not started: it was published, and it waits.
    assert not broker.running
    assert await broker.cancel_timer("invoices", timer_id) is True
    assert inbox.rest() == []


async def test_it_lives_in_a_faststream_app(make_broker, inbox):
    broker = make_broker()
    deliver_to(broker, inbox)

    async with TestApp(FastStream(broker)):
        await passes_a_timer(broker, inbox, "x")

    assert not broker.running


async def test_a_listing_ends_with_its_broker(make_broker, server_url):
    broker = make_broker(server_url)
    await broker.connect()
    await broker.publish_batch("a", "b", topic="invoices")
    async with aclosing(broker.iter_timers("invoices")) as timers:
        await anext(timers)
    await broker.stop()

    with pytest.raises(IncorrectState):
        broker.iter_timers("invoices")


# --- a server that does not answer -------------------------------------------------------


@pytest.mark.parametrize("by_url", [True, False])
@pytest.mark.parametrize("sickness", ["silent", "refusing"])
async def test_a_server_that_does_not_answer_fails_the_start_and_leaves_no_task(
    relay, make_broker, inbox, no_task_is_left, sickness, by_url
):
    relay.stall() if sickness == "silent" else relay.refuse()
    # A client of the caller's may have no timeout at all.
    given = redis.asyncio.Redis.from_url(relay.url, socket_timeout=None)
    broker = make_broker(relay.url if by_url else given, start_timeout=0.2)
    deliver_to(broker, inbox)

    with pytest.raises(TimeoutError) as caught:
        await broker.start()

    assert str(caught.value).startswith("the server did not reply within start_timeout=0.2 s")
    if sickness == "refusing":
        # The sentence says why.
        assert isinstance(caught.value.__cause__, redis.ConnectionError)
        assert str(caught.value.__cause__) in str(caught.value)
    assert not broker.running
    if by_url:
        with pytest.raises(IncorrectState, match="is stopped"):
            await broker.publish("x", "invoices")
    await given.aclose()


async def test_a_start_timeout_of_0_starts_where_the_server_answers_at_once(
    make_broker, inbox, server_url
):
    broker = make_broker(server_url, start_timeout=0)
    deliver_to(broker, inbox)
    async with broker:
        await passes_a_timer(broker, inbox, "x")


@pytest.mark.parametrize("sickness", ["silent", "refusing"])
async def test_a_start_timeout_of_0_is_one_try(
    relay, make_broker, no_task_is_left, monkeypatch, sickness
):
    tries = []
    ping = Runner.ping

    async def count(runner):
        tries.append(runner)
        await ping(runner)

    monkeypatch.setattr(Runner, "ping", count)
    relay.stall() if sickness == "silent" else relay.refuse()
    given = redis.asyncio.Redis.from_url(relay.url, socket_timeout=None)
    broker = make_broker(given, start_timeout=0)

    with pytest.raises(TimeoutError, match="did not reply within start_timeout=0 s"):
        await broker.start()

    assert len(tries) == 1
    assert not broker.running
    await given.aclose()


async def test_a_body_that_the_server_does_not_take_is_an_error_by_the_clients_timeout(
    relay, make_broker
):
    client = redis.asyncio.Redis.from_url(relay.url, socket_timeout=0.2)
    async with client, make_broker(client) as broker:
        await broker.publish("x", "invoices", timer_id="1", activate_in=timedelta(hours=1))
        connection = await client.connection_pool.get_connection(*COMMAND)
        transport = connection._writer.transport
        await client.connection_pool.release(connection)
        relay.stall()
        # More than all the buffers on the way hold.
        with pytest.raises(TimerOutcomeUnknownError):
            await broker.publish(b"x" * 16 * 1024 * 1024, "invoices", timer_id="large")

        # What was not sent is not sent later, when nobody expects it any longer.
        assert transport.is_closing()
        assert transport.get_write_buffer_size() == 0
        relay.resume()
        assert await broker.cancel_timer("invoices", "1")


async def test_a_read_from_a_silent_server_is_waited_for_once(relay, make_broker):
    client = redis.asyncio.Redis.from_url(relay.url, socket_timeout=0.2)
    async with client, make_broker(client) as broker:
        await broker.publish("x", "invoices", timer_id="1", activate_in=timedelta(hours=1))
        await broker.get_timer("invoices", "1")
        relay.stall()
        connected = relay.connected

        with pytest.raises((redis.TimeoutError, TimeoutError)):
            await broker.get_timer("invoices", "1")

        # A second try would have needed another connection.
        assert relay.connected == connected
        relay.resume()
        assert await broker.cancel_timer("invoices", "1")


async def test_a_subscriber_that_cannot_start_stops_the_others(make_broker, inbox, no_task_is_left):
    broker = make_broker(logger=None)
    for number in range(5):
        deliver_to(broker, inbox, topic=f"topic {number}")

    @broker.subscriber("bad", codec=DefaultCodec(), decoder=lambda message: message)
    async def handle(body: str) -> None:
        pass

    with pytest.raises(ValueError, match="codec"):
        await broker.start()

    assert not broker.running
    assert await broker.ping() is False


async def test_a_wrong_password_is_told(server_url, make_broker, no_task_is_left):
    broker = make_broker(
        redis.asyncio.Redis.from_url(server_url, username="nobody", password="x"),  # noqa: S106
        start_timeout=0.2,
    )

    with pytest.raises(TimeoutError, match=r"WRONGPASS|invalid username"):
        await broker.start()


async def test_a_start_ends_in_time_though_its_cancellation_is_swallowed(
    server_url, make_broker, monkeypatch
):
    """As redis-py does while it connects: an error of the connection comes in its place."""

    async def swallow(_runner):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RedisConnectionError from None

    monkeypatch.setattr(Runner, "ping", swallow)
    broker = make_broker(server_url, start_timeout=0.2)

    # Were it not in time, the test would hang.
    with pytest.raises(TimeoutError, match=r"start_timeout=0\.2 s"):
        await broker.start()


async def test_after_a_failed_start_it_can_be_started(relay, make_broker, inbox):
    broker = make_broker(relay.url, start_timeout=0.2)
    deliver_to(broker, inbox)
    relay.refuse()
    with pytest.raises(TimeoutError):
        await broker.start()

    relay.accept()
    broker._start_timeout = 10
    await broker.start()

    await passes_a_timer(broker, inbox, "x")


async def test_a_server_that_comes_within_the_timeout_is_waited_for(relay, make_broker, inbox):
    broker = make_broker(relay.url, start_timeout=10)
    deliver_to(broker, inbox)
    relay.refuse()

    start = asyncio.create_task(broker.start())
    # The first try has been made once the client has asked for a connection.
    await asyncio.wait({start}, timeout=0.05)
    assert not start.done()
    relay.accept()
    await start

    await passes_a_timer(broker, inbox, "x")


async def test_a_server_is_waited_for_also_after_a_task_group_that_failed(relay, make_broker):
    """Up to Python 3.12, such a group leaves its task counted as cancelled."""
    broker = make_broker(relay.url, start_timeout=0.2)
    relay.refuse()
    await fail_in_a_task_group()

    with pytest.raises(TimeoutError, match=r"start_timeout=0\.2 s"):
        await broker.start()


async def test_a_start_that_is_cancelled_leaves_no_task(relay, make_broker, inbox, no_task_is_left):
    relay.stall()
    broker = make_broker(relay.url, start_timeout=60)
    deliver_to(broker, inbox)
    start = asyncio.create_task(broker.start())
    await wait_until_async(lambda: relay.connected)

    start.cancel()

    with pytest.raises(asyncio.CancelledError):
        await start
    assert not broker.running


# --- ping --------------------------------------------------------------------------------


async def test_ping_returns_true_while_all_is_well(make_broker, inbox):
    broker = make_broker()
    deliver_to(broker, inbox)
    async with broker:
        assert await broker.ping() is True
        assert await broker.ping(timeout=10) is True


async def test_ping_notices_that_the_broker_is_stopped(make_broker):
    broker = make_broker()
    # As in version 0.5: a service that only publishes has nothing to start.
    assert await broker.ping() is True
    await broker.connect()
    assert await broker.ping() is True
    await broker.stop()
    assert await broker.ping() is False


async def test_ping_notices_that_the_server_is_away_and_back(relay, make_broker, inbox):
    broker = make_broker(relay.url)
    deliver_to(broker, inbox)
    async with broker:
        relay.refuse()
        assert await broker.ping() is False
        relay.accept()
        # It counts again when the delivery has found the server, too.
        await wait_until_async(broker.ping)


async def test_ping_waits_for_a_silent_server_no_longer_than_asked(relay, make_broker):
    # The client has no timeout, so that only ping's own can end this.
    given = redis.asyncio.Redis.from_url(relay.url, socket_timeout=None)
    broker = make_broker(given)
    await broker.start()

    relay.stall()
    async with asyncio.timeout(10):
        assert await broker.ping(timeout=0.05) is False

    relay.resume()
    assert await broker.ping() is True
    await broker.stop()
    await given.aclose()


async def test_ping_notices_that_a_delivery_loop_has_died(make_broker, inbox):
    broker = make_broker()
    deliver_to(broker, inbox)
    deliver_to(broker, inbox, topic="other")
    async with broker:
        (one, _) = broker.subscribers
        # A single cancel can be swallowed on its way, by Python 3.11.
        await kill_loop(one)

        assert await broker.ping() is False

    async with broker:
        assert await broker.ping() is True


async def test_a_death_of_the_delivery_loop_is_told_by_ping_whatever_its_reason(
    make_broker, inbox, monkeypatch
):
    async def die(self, call, receiver):
        raise ZeroDivisionError

    monkeypatch.setattr(DeliveryLoop, "_send", die)
    broker = make_broker(logger=None)
    deliver_to(broker, inbox)
    async with broker:
        await wait_until_async(lambda: not broker.subscribers[0].alive)

        assert await broker.ping() is False


async def test_a_subscriber_without_handlers_is_not_dead(make_broker):
    broker = make_broker()
    broker.subscriber("invoices")
    async with broker:
        assert await broker.ping() is True


async def test_a_subscriber_that_its_handler_stopped_is_not_dead(make_broker, inbox):
    broker = make_broker(logger=None)

    @broker.subscriber("last")
    async def handle(body: str) -> None:
        inbox.put(asyncio.current_task())
        raise StopConsume

    deliver_to(broker, inbox)
    (stopping,) = [one for one in broker.subscribers if one.topic == "last"]
    async with broker:
        await broker.publish("x", "last")
        await asyncio.wait({await inbox.get()}, timeout=10)
        await wait_until_async(lambda: not is_delivering(stopping))

        assert await broker.ping() is True
        await passes_a_timer(broker, inbox, "x")


async def test_a_subscriber_can_be_added_to_a_running_broker(make_broker, inbox):
    broker = make_broker()
    async with broker:
        deliver_to(broker, inbox)
        (subscriber,) = broker.subscribers
        await subscriber.start()

        await passes_a_timer(broker, inbox, "x")
        assert await broker.ping() is True


async def test_a_broker_can_be_made_before_there_is_a_loop(server_url, key_names):
    """As at the top of a module, which is imported outside of any loop."""
    broker = await asyncio.to_thread(TimersBroker, server_url, **key_names)
    async with broker:
        await broker.publish("x", "invoices", timer_id="42")
        assert await broker.has_pending("invoices", "42")
