"""Outages: a server that is away, comes back, hangs, or forgets; the loop resumes by itself."""

import asyncio
import logging
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis
import redis.asyncio
from bench import RESUMED, Bench, delivering
from front_ends import Home
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from relay import Relay
from waiting import wait_until_async

from examples import embedded_server
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.calls import listener
from faststream_redis_timers.subscriber import loop
from faststream_redis_timers_sync import TimerPublishMessage


def tasks():
    this = asyncio.current_task()
    return [repr(task) for task in asyncio.all_tasks() if task is not this]


def handling(bench, calls, client=None, **options):
    """Make a broker whose handler waits at the gate."""
    broker = bench.broker(client)

    @broker.subscriber(bench.topic, **options)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    return broker


# --- at the start ------------------------------------------------------------------------


@pytest.mark.parametrize("failure", ["refuse", "stall"])
async def test_a_server_that_does_not_answer_fails_the_start_in_time(bench, relay, calls, failure):
    broker = bench.broker(relay.url, start_timeout=0.5)

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage): ...

    getattr(relay, failure)()
    started_at = time.monotonic()
    with pytest.raises(TimeoutError, match=r"start_timeout=0\.5"):
        await broker.start()

    assert time.monotonic() - started_at < 0.5 + 3
    assert tasks() == []
    relay.resume()


async def test_a_start_that_failed_can_be_repeated(bench, relay, open_calls):
    broker = handling(bench, open_calls, relay.url)
    broker._start_timeout = 0.2
    relay.refuse()
    with pytest.raises(TimeoutError):
        await broker.start()
    relay.accept()
    bench.schedule("1")
    broker._start_timeout = 10
    async with delivering(broker):
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]


async def test_a_server_that_comes_up_in_time_is_waited_for(bench, relay, open_calls):
    broker = handling(bench, open_calls, relay.url)
    broker._start_timeout = 20
    relay.refuse()
    starting = asyncio.create_task(broker.start())
    await asyncio.sleep(0.1)
    assert not starting.done()
    relay.accept()
    await starting
    bench.schedule("1")
    await bench.until_gone("1")


# --- it goes away and comes back ---------------------------------------------------------


@pytest.fixture
def durable_server():
    """A server that can be killed and started again with all it had; gives its starter."""
    with TemporaryDirectory(prefix="timers-", dir="/tmp") as name:
        folder = Path(name)
        socket = folder / "server.sock"
        config = {"appendonly": "yes", "appendfsync": "always"}
        yield f"unix://{socket}", lambda: embedded_server._running(None, folder, socket, config)


async def test_a_server_that_restarts_is_found_again_without_help(
    durable_server, key_names, open_calls
):
    url, running_server = durable_server
    bench = Bench(Home(key_names, url))
    broker = handling(bench, open_calls)
    with running_server():
        bench.schedule("before")
        bench.schedule("later", activate_in=timedelta(seconds=0.3))
        await broker.start()
        await open_calls.until(1)
    # It is down now.
    await wait_until_async(lambda: bench.log.at(logging.ERROR))
    with running_server():
        await wait_until_async(lambda: bench.log.at(logging.INFO)[-1:] and is_back(bench))
        bench.redis.connection_pool.disconnect()
        bench.schedule("after")
        await bench.until_gone("before", "later", "after")
        await broker.stop()
        bench.redis.close()

    assert set(open_calls.counts) == {"before", "later", "after"}
    assert open_calls.counts["later"] == open_calls.counts["after"] == 1
    assert len(bench.log.at(logging.ERROR)) == 1
    assert len(recoveries(bench)) == 1


def recoveries(bench):
    return [line for line in bench.log.at(logging.INFO) if RESUMED in line]


def is_back(bench):
    return bool(recoveries(bench))


async def test_each_outage_is_one_line_and_each_recovery_another(bench, relay, open_calls):
    async with delivering(handling(bench, open_calls, relay.url, max_polling_interval=0.05)):
        for n in range(1, 4):
            relay.refuse()
            await wait_until_async(lambda n=n: len(bench.log.at(logging.ERROR)) == n)
            # Several tries more.
            await asyncio.sleep(0.3)
            relay.accept()
            await wait_until_async(lambda n=n: len(recoveries(bench)) == n)
            bench.schedule(f"{n}")
            await bench.until_gone(f"{n}")
        assert len(bench.log.complaints) == 3

    assert open_calls.ids == ["1", "2", "3"]
    assert all(bench.topic in line for line in bench.log.complaints + recoveries(bench))


async def test_tries_are_few_while_the_server_answers_nothing_of_use(bench, relay, open_calls):
    async with delivering(handling(bench, open_calls, relay.url, lease_ttl=0.5)):
        await wait_until_async(lambda: relay.count("SUBSCRIBE"))
        relay.lose_reply("EVALSHA", "EVAL", "PING", "SUBSCRIBE", times=10_000)
        before = len(relay.commands)
        bench.schedule("1")
        await asyncio.sleep(2)
        assert len(relay.commands) - before <= 400
        relay._to_lose.clear()
        await bench.until_gone("1")


async def test_timers_that_a_lost_claim_leased_are_redelivered_when_their_leases_end(
    bench, relay, open_calls
):
    broker = handling(bench, open_calls, relay.url, lease_ttl=0.5, max_polling_interval=0.05)
    async with delivering(broker):
        await wait_until_async(lambda: relay.count("EVALSHA"))
        relay.lose_reply()
        ids = [f"{n}" for n in range(5)]
        bench.client.schedule_batch(
            [TimerPublishMessage("x", timer_id=timer_id) for timer_id in ids], bench.topic
        )
        await bench.until_gone(*ids)

    assert open_calls.counts == dict.fromkeys(ids, 1)


async def test_no_further_claim_is_sent_before_the_server_has_answered_again(
    bench, relay, open_calls
):
    broker = handling(bench, open_calls, relay.url, max_polling_interval=0.05)
    async with delivering(broker):
        await wait_until_async(lambda: relay.count("EVALSHA"))
        before = len(relay.commands)
        relay.lose_reply(times=3)
        await wait_until_async(lambda: recoveries(bench))
    limits = [c[6] for c in relay.commands[before:] if c[0] in {b"EVALSHA", b"EVAL"}]

    # One claim was lost; what asked whether the server is back claimed nothing.
    assert limits[:3] == [b"5", b"0", b"0"]


# --- it forgets, cuts, hangs -------------------------------------------------------------


async def test_scripts_that_the_server_forgets_are_sent_again(own_bench, open_calls):
    bench = own_bench
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        if len(open_calls.ids) % 10 == 0:
            bench.redis.script_flush()

    ids = [f"{n}" for n in range(200)]
    bench.client.schedule_batch(
        [TimerPublishMessage("x", timer_id=timer_id) for timer_id in ids], bench.topic
    )
    async with delivering(broker):
        await bench.until_gone(*ids)

    assert open_calls.counts == dict.fromkeys(ids, 1)
    assert bench.log.complaints == []


async def test_when_all_connections_are_killed_delivery_goes_on(own_bench, open_calls):
    bench = own_bench
    async with delivering(handling(bench, open_calls)):
        for n in range(5):
            bench.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            bench.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            bench.schedule(f"{n}")
            await bench.until_gone(f"{n}")

    assert open_calls.ids == [f"{n}" for n in range(5)]


async def test_connections_killed_again_and_again_lose_no_timer(own_bench, open_calls):
    bench = own_bench
    broker = handling(bench, open_calls, lease_ttl=0.5)
    ids = [f"{n}" for n in range(300)]
    bench.client.schedule_batch(
        [TimerPublishMessage("x", timer_id=timer_id) for timer_id in ids], bench.topic
    )
    async with delivering(broker):
        while bench.client.count_pending(bench.topic):
            bench.redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.01)

    # Each was handled; a claim whose reply was lost costs a lease, no second handling.
    assert open_calls.counts == dict.fromkeys(ids, 1)


@pytest.fixture
def short_deadlines(monkeypatch):
    monkeypatch.setattr(loop, "CALL_TIMEOUT", 0.3)
    monkeypatch.setattr(listener, "ANSWER_TIMEOUT", 0.3)


async def test_calls_to_a_hung_server_have_deadlines_of_their_own(
    bench, relay, calls, short_deadlines
):
    # redis-py's defaults: it would wait forever.
    client = redis.asyncio.Redis(host="127.0.0.1", port=relay.port, retry=Retry(NoBackoff(), 0))
    broker = handling(bench, calls, client)
    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        relay.stall()
        calls.gate.set()
        await wait_until_async(lambda: bench.log.at(logging.ERROR))
        assert "TimeoutError" in bench.log.at(logging.ERROR)[0]
        relay.resume()
        await bench.until_gone("1")
        bench.schedule("2")
        await bench.until_gone("2")
    await client.aclose()

    assert calls.ids == ["1", "2"]
    assert len(bench.log.complaints) == 1


async def test_a_caller_s_client_that_is_closed_meanwhile_does_not_end_the_delivery(
    bench, open_calls
):
    client = redis.asyncio.Redis.from_url(bench.home.server_url)
    # A claim whose reply is lost costs a lease.
    async with delivering(handling(bench, open_calls, client, lease_ttl=0.5)) as broker:
        for n in range(20):
            bench.schedule(f"{n}")
            await asyncio.sleep(0)
            await client.connection_pool.disconnect()
        await bench.until_gone(*(f"{n}" for n in range(20)))
        assert await broker.ping()
    await client.aclose()

    assert open_calls.counts == dict.fromkeys((f"{n}" for n in range(20)), 1)


async def test_whatever_a_call_raises_the_delivery_goes_on(bench, relay, open_calls):
    odd = []

    class OddConnection(redis.asyncio.Connection):
        async def send_packed_command(self, *args, **kwargs):
            if odd:
                # As redis-py does when its connection is closed under its feet.
                raise odd.pop()
            await super().send_packed_command(*args, **kwargs)

    pool = redis.asyncio.ConnectionPool(
        host="127.0.0.1", port=relay.port, connection_class=OddConnection
    )
    client = redis.asyncio.Redis(connection_pool=pool)
    # The wake-ups' connections meet such errors too.
    options = {"max_polling_interval": 0.05, "lease_ttl": 0.5}
    async with delivering(handling(bench, open_calls, client, **options)):
        for n in range(1, 6):
            odd.extend((AttributeError("no writer"), RuntimeError("no loop")))
            await wait_until_async(lambda: not odd)
            relay.cut()
            odd.append(AttributeError("no writer"))
            bench.schedule(f"{n}")
            await bench.until_gone(f"{n}")
    await pool.disconnect()

    assert open_calls.ids == ["1", "2", "3", "4", "5"]
    assert bench.log.at(logging.CRITICAL) == []


async def test_an_error_of_the_server_s_is_an_outage_too(bench, open_calls):
    bench.redis.set(bench.timeline, "no sorted set")
    async with delivering(handling(bench, open_calls)):
        await wait_until_async(lambda: bench.log.at(logging.ERROR))
        assert "WRONGTYPE" in bench.log.at(logging.ERROR)[0]
        bench.redis.delete(bench.timeline)
        bench.schedule("1")
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]
    assert len(bench.log.complaints) == 1


async def test_a_server_turned_replica_is_left_and_ping_says_that_nothing_is_delivered(
    bench, open_calls
):
    with embedded_server.embedded_server(config={}) as url, Relay(url) as relay:
        primary = Bench(Home(bench.home.key_names, url))
        broker = primary.broker(relay.url)

        @broker.subscriber(primary.topic, max_polling_interval=0.05)
        async def handle(message: TimerMessage):
            open_calls.note(message)

        primary.schedule("1")
        primary.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        async with delivering(broker):
            await wait_until_async(lambda: primary.log.at(logging.ERROR))
            assert not await broker.ping()
            connections = relay.connected
            # Each try asks again where the primary is.
            await wait_until_async(lambda: relay.connected > connections + 2)
            primary.redis.execute_command("REPLICAOF", "NO", "ONE")
            await open_calls.until(1)
            assert await broker.ping()
        primary.redis.close()


async def test_publishers_that_use_all_connections_do_not_starve_the_delivery(bench, open_calls):
    client = redis.asyncio.Redis.from_url(bench.home.server_url, max_connections=2)
    broker = bench.broker(client)
    publishing = True

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async def publish_without_end():
        while publishing:
            await broker.publish("x", "other", timer_id="same", activate_in=timedelta(hours=1))

    async with delivering(broker):
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(publish_without_end())
            for number in range(20):
                await broker.publish("x", bench.topic, timer_id=str(number))
            await open_calls.until(20)
            publishing = False
        await broker.cancel_all("other")
    await client.aclose()


@pytest.mark.parametrize("waits_itself", [False, True])
async def test_a_pool_whose_connections_are_all_kept_is_told_once_and_is_no_outage(
    bench, open_calls, monkeypatch, waits_itself
):
    monkeypatch.setattr("faststream_redis_timers_sync.protocol.clients._LONGEST_WAIT_FOR_POOL", 0.1)
    kind = redis.asyncio.BlockingConnectionPool if waits_itself else redis.asyncio.ConnectionPool
    options = {"timeout": 0.1} if waits_itself else {}
    pool = kind.from_url(bench.home.server_url, max_connections=1, **options)
    client = redis.asyncio.Redis(connection_pool=pool)
    broker = bench.broker(client)

    @broker.subscriber(bench.topic, max_polling_interval=0.05)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with delivering(broker):
        async with client.pipeline() as pipeline:
            # A pipeline that watches keeps its connection.
            await pipeline.watch("some-key")
            bench.schedule("1")
            await wait_until_async(lambda: bench.log.at(logging.WARNING))
        await open_calls.until(1)
    await client.aclose()
    await pool.disconnect()

    (line,) = bench.log.complaints
    assert "max_connections" in line


async def test_a_logger_that_raises_does_not_end_the_delivery(bench, relay, open_calls):
    class Broken(logging.Logger):
        def log(self, level, *args, **kwargs):
            if level >= logging.ERROR:
                raise RuntimeError

    broker = bench.broker(relay.url)

    @broker.subscriber(bench.topic, max_polling_interval=0.05, lease_ttl=1)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with delivering(broker):
        await wait_until_async(lambda: relay.count("EVALSHA", "EVAL"))
        broker.config.logger.logger.logger = Broken("broken")
        relay.lose_reply(times=3)
        bench.schedule("1")
        await bench.until_gone("1")
        assert await broker.ping()
