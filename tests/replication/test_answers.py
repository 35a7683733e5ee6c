"""`confirm_replicas` where WAIT is refused, lost or late; workers, which never wait."""

import asyncio
import threading
import time
from contextlib import suppress
from datetime import timedelta

import pytest
import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from front_ends import AsyncFrontEnd, BlockingFrontEnd
from waiting import wait_until, wait_until_async

from faststream_redis_timers import TimerNotReplicatedError, TimersBroker
from faststream_redis_timers_sync import TimersClient

TOPIC = "invoices"
HOUR = timedelta(hours=1)

LATE = 20.0
"""Seconds within which a server that hangs is given up: some 3 are promised, on a quiet machine."""


def in_thread(front_end, call):
    """Make a call beside the test's event loop, which a blocking one would hold up."""
    if isinstance(front_end, BlockingFrontEnd):
        return asyncio.create_task(asyncio.to_thread(asyncio.run, call()))
    return asyncio.create_task(call())


@pytest.mark.parametrize("replicas_work", [True, False])
async def test_a_lost_reply_is_told_as_what_it_is(
    group, before_primary, open_front_end, replicas_work
):
    before_primary.lose_reply("WAIT")
    with group.pause_replicas(0 if replicas_work else 2):
        async with open_front_end(
            before_primary.url, confirm_replicas=1, confirm_timeout=0.2
        ) as front_end:
            with pytest.raises(TimerNotReplicatedError) as caught:
                await front_end.schedule("x", TOPIC, timer_id="1", activate_in=HOUR)

            # The connection was not kept: its next reply would be the late one.
            assert await front_end.count_pending(TOPIC) == 1
    assert caught.value.confirmed is None
    assert "whether 1 of its replicas have it is unknown (ConnectionError:" in str(caught.value)
    assert "was carried out on the primary, but" in str(caught.value)


async def test_a_lost_reply_to_the_write_is_unknown_as_ever(group, before_primary, open_front_end):
    before_primary.lose_reply()
    async with open_front_end(before_primary.url, confirm_replicas=1) as front_end:
        with pytest.raises(Exception, match="was lost") as caught:
            await front_end.schedule("x", TOPIC, timer_id="1", activate_in=HOUR)

    assert type(caught.value).__name__ == "TimerOutcomeUnknownError"
    assert before_primary.count("WAIT") == 0


async def test_an_answer_that_never_comes_is_given_up(group, before_primary, open_front_end):
    with group.pause_replicas(2):
        async with open_front_end(
            before_primary.url, confirm_replicas=1, confirm_timeout=1
        ) as front_end:
            call = in_thread(
                front_end, lambda: front_end.schedule("x", TOPIC, timer_id="1", activate_in=HOUR)
            )
            await wait_until_async(lambda: before_primary.count("WAIT") == 1)
            before_primary.hold_replies()
            started_at = time.monotonic()
            with pytest.raises(TimerNotReplicatedError) as caught:
                await asyncio.wait_for(call, LATE)

            assert time.monotonic() - started_at < LATE
            before_primary.resume()
            assert await front_end.count_pending(TOPIC) == 1
    assert caught.value.confirmed is None
    assert "no reply within 3 s" in str(caught.value)


async def test_the_timeout_of_the_client_does_not_end_the_wait(
    group, before_primary, open_front_end
):
    url = f"{before_primary.url}?socket_timeout=0.2"
    async with open_front_end(url, confirm_replicas=2, confirm_timeout=30) as front_end:
        with group.pause_replicas(1):
            call = in_thread(front_end, lambda: front_end.schedule("x", TOPIC, activate_in=HOUR))
            await wait_until_async(lambda: before_primary.count("WAIT") == 1)
            end = time.monotonic() + 0.6
            await wait_until_async(lambda: time.monotonic() > end)
            assert not call.done()
        await asyncio.wait_for(call, LATE)

        # And it is in force again for what comes then.
        before_primary.stall()
        with pytest.raises(redis.TimeoutError):
            await asyncio.wait_for(
                in_thread(front_end, lambda: front_end.count_pending(TOPIC)), LATE
            )
        before_primary.resume()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_it_is_so_with_clients_of_a_callers(group, protocol):
    options = {"port": group.primary.port, "protocol": protocol, "decode_responses": True}
    with redis.Redis(**options) as client:
        TimersClient(client, confirm_replicas=2, confirm_timeout=20).schedule("x", TOPIC)
    async with redis.asyncio.Redis(**options) as client:
        broker = TimersBroker(client, confirm_replicas=2, confirm_timeout=20)
        await broker.connect()
        await broker.publish("x", TOPIC)
        with group.pause_replicas(1):
            broker = TimersBroker(client, confirm_replicas=2, confirm_timeout=0.1)
            await broker.connect()
            with pytest.raises(TimerNotReplicatedError):
                await broker.publish("x", TOPIC)


async def test_a_user_who_may_not_wait_is_told(group, open_front_end):
    group.primary.redis.acl_setuser(
        "alice",
        enabled=True,
        passwords=["+secret"],
        keys="*",
        channels="*",
        commands=["+@all", "-wait"],
    )
    url = group.primary.url.replace("redis://", "redis://alice:secret@")
    async with open_front_end(url, confirm_replicas=1) as front_end:
        with pytest.raises(TimerNotReplicatedError) as caught:
            await front_end.schedule("x", TOPIC, timer_id="1", activate_in=HOUR)

        assert await front_end.has_pending(TOPIC, "1")
    assert caught.value.confirmed is None
    assert "NoPermissionError" in str(caught.value)
    assert "'wait'" in str(caught.value)
    assert isinstance(caught.value.__cause__, redis.exceptions.NoPermissionError)


async def test_a_replica_refuses_the_write_as_ever(group, open_front_end):
    async with open_front_end(group.replicas[0].url, confirm_replicas=1) as front_end:
        with pytest.raises(redis.exceptions.ReadOnlyError):
            await front_end.schedule("x", TOPIC, activate_in=HOUR)


class Outdated(redis.sentinel.Sentinel):
    """Sentinels that still name a replica as the primary."""

    def __init__(self, replica):
        super().__init__([])
        self._replica = replica

    def discover_master(self, service_name):
        return "127.0.0.1", self._replica.port


class AsyncOutdated(redis.asyncio.sentinel.Sentinel):
    def __init__(self, replica):
        super().__init__([])
        self._replica = replica

    async def discover_master(self, service_name):
        return "127.0.0.1", self._replica.port


@pytest.mark.parametrize("options", [{}, {"confirm_replicas": 1}], ids=["alone", "confirmed"])
async def test_a_replica_that_sentinels_name_has_refused_the_write_for_certain(group, options):
    # redis-py closes the connection, as if the reply were lost.
    refused = (redis.ReadOnlyError, redis.ConnectionError)
    with Outdated(group.replicas[0]).master_for("mymaster") as client, pytest.raises(refused):
        TimersClient(client, **options).schedule("x", TOPIC, activate_in=HOUR)
    async with AsyncOutdated(group.replicas[0]).master_for("mymaster") as client:
        broker = TimersBroker(client, **options)
        await broker.connect()
        with pytest.raises(refused):
            await broker.publish("x", TOPIC, activate_in=HOUR)


async def test_a_replica_that_can_be_written_confirms_nothing(group, open_front_end):
    replica = group.replicas[0]
    replica.redis.config_set("replica-read-only", "no")
    async with open_front_end(replica.url, confirm_replicas=1) as front_end:
        with pytest.raises(TimerNotReplicatedError) as caught:
            await front_end.schedule("x", TOPIC, activate_in=HOUR)

    assert caught.value.confirmed is None
    assert "WAIT cannot be used with replica" in str(caught.value)
    replica.redis.flushall()


async def test_a_primary_that_is_demoted_meanwhile_confirms_nothing(
    group, before_primary, open_front_end
):
    with group.pause_replicas(2):
        async with open_front_end(
            before_primary.url, confirm_replicas=1, confirm_timeout=30
        ) as front_end:
            call = in_thread(front_end, lambda: front_end.schedule("x", TOPIC, activate_in=HOUR))
            await wait_until_async(lambda: before_primary.count("WAIT") == 1)
            group.primary.redis.replicaof("127.0.0.1", str(group.replicas[0].port))
            with pytest.raises(TimerNotReplicatedError) as caught:
                await asyncio.wait_for(call, LATE)
    assert caught.value.confirmed is None
    assert "UNBLOCKED" in str(caught.value)


class ClosesBeforeWait(redis.Connection):
    """A connection that another thread closes between a write and its WAIT."""

    def send_packed_command(self, command, check_health=True):  # noqa: FBT002  as redis-py
        if b"WAIT" in b"".join(command):
            self.disconnect()
        return super().send_packed_command(command, check_health)


class AsyncClosesBeforeWait(redis.asyncio.Connection):
    """The same for asyncio."""

    async def send_packed_command(self, command, check_health=True):  # noqa: FBT002  as redis-py
        if b"WAIT" in b"".join(command):
            await self.disconnect()
        return await super().send_packed_command(command, check_health)


async def test_a_wait_on_another_connection_counts_for_nothing(group):
    where = {"port": group.primary.port}
    pool = redis.ConnectionPool(connection_class=ClosesBeforeWait, **where)
    async_pool = redis.asyncio.ConnectionPool(connection_class=AsyncClosesBeforeWait, **where)
    client = TimersClient(redis.Redis(connection_pool=pool), confirm_replicas=1)
    broker = TimersBroker(redis.asyncio.Redis(connection_pool=async_pool), confirm_replicas=1)
    await broker.connect()
    for front_end in (BlockingFrontEnd(client), AsyncFrontEnd(broker)):
        with pytest.raises(TimerNotReplicatedError) as caught:
            await front_end.schedule("x", TOPIC, activate_in=HOUR)

        assert caught.value.confirmed is None
        assert "the connection was closed meanwhile" in str(caught.value)
    await broker.stop()
    pool.disconnect()
    await async_pool.disconnect()


async def test_a_call_that_is_cancelled_while_it_waits_leaves_a_clean_connection(
    group, before_primary
):
    url = f"{before_primary.url}?max_connections=1"
    broker = TimersBroker(url, confirm_replicas=1, confirm_timeout=30)
    await broker.connect()
    with group.pause_replicas(2):
        call = asyncio.create_task(broker.publish("x", TOPIC, activate_in=HOUR))
        await wait_until_async(lambda: before_primary.count("WAIT") == 1)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        assert await broker.count_pending(TOPIC) == 1
    await broker.stop()


# --- workers


async def test_a_worker_never_waits_and_what_its_handlers_publish_does(group, before_primary):
    broker = TimersBroker(before_primary.url, confirm_replicas=2, confirm_timeout=20)
    publisher = broker.publisher("again")
    done = asyncio.Event()

    @broker.subscriber(TOPIC)
    @broker.publisher("results")
    async def handle(message: int) -> int:
        await publisher.publish(message, activate_in=HOUR)
        done.set()
        return message

    async with broker:
        await broker.publish(1, TOPIC, reply_to="replies")
        await wait_until_async(done.is_set)

        async def is_settled():
            return await broker.count_pending(TOPIC) == 0

        await wait_until_async(is_settled)
        for topic in ("again", "results", "replies"):
            assert await broker.count_pending(topic) == 1

    # The one above, what the handler publishes, and its result on two topics.
    assert before_primary.count("WAIT") == 4


async def test_a_handler_whose_result_is_not_confirmed_has_failed(group):
    broker = TimersBroker(group.primary.url, confirm_replicas=1, confirm_timeout=0.1, logger=None)
    runs = []

    @broker.subscriber(TOPIC, lease_ttl=1.0)
    @broker.publisher("results", activate_in=HOUR)
    async def handle(message: int) -> int:
        runs.append(message)
        return message

    with group.pause_replicas(2):
        async with broker:
            with suppress(TimerNotReplicatedError):
                await broker.publish(1, TOPIC)
            await wait_until_async(lambda: len(runs) == 2, timeout=30)
            assert await broker.count_pending(TOPIC) == 1


def test_threads_wait_each_for_its_own(group):
    client = TimersClient(group.primary.url, confirm_replicas=2, confirm_timeout=20)
    errors = []

    def work(number):
        try:
            for n in range(20):
                client.schedule(n, TOPIC, timer_id=f"{number}-{n}", activate_in=HOUR)
                for replica in group.replicas:
                    assert replica.redis.hexists(f"timers_payloads:{TOPIC}", f"{number}-{n}")
        except BaseException as error:  # noqa: BLE001  shown below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: not any(thread.is_alive() for thread in threads), timeout=60)
    client.close()
    assert errors == []
