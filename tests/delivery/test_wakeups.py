"""Wake-ups: a waiting worker learns at once of a timer that comes before all others."""

import asyncio
import logging
from datetime import timedelta

import pytest
import redis.asyncio
from bench import (
    HOUR,
    NO_POLLS,
    delivering,
    until_idle,
    until_listening,
    until_nothing_is_sent,
)
from inside import channels_wanted, is_listening, is_polling, loop_of, loops_of
from redis.connection import parse_url
from waiting import wait_until_async

from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.calls import listener
from faststream_redis_timers.delivery.duty import Post
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.manage.topics import count_workers, listening_topics

PASSWORD = "opens nothing"  # noqa: S105


def listening(bench, calls, client=None, **options):
    """Make a broker whose worker notes its calls and does not poll."""
    broker = bench.broker(client, **options)

    @broker.subscriber(bench.topic, **NO_POLLS)
    async def handle(message: TimerMessage):
        calls.note(message)

    return broker


async def test_a_timer_scheduled_at_short_notice_is_found_without_polling(bench, relay, open_calls):
    async with delivering(listening(bench, open_calls, relay.url)):
        await until_idle(bench, relay)
        before = relay.count("EVALSHA")
        bench.schedule("1", activate_in=timedelta(seconds=1))
        await bench.until_gone("1")

    # A claim when it is due (a second one if that was a bit early), and the commit.
    assert relay.count("EVALSHA") - before <= 3
    assert open_calls.ids == ["1"]


async def test_a_timer_moved_to_the_front_is_found_without_polling(bench, relay, open_calls):
    bench.schedule("1", activate_in=HOUR)
    async with delivering(listening(bench, open_calls, relay.url)):
        await until_idle(bench, relay)
        bench.client.reschedule_timer(bench.topic, "1", activate_in=timedelta(seconds=0.1))
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]


async def test_what_is_scheduled_behind_the_head_wakes_nobody(bench, relay, open_calls):
    bench.schedule("head", activate_in=HOUR)
    async with delivering(listening(bench, open_calls, relay.url)):
        await until_idle(bench, relay)
        before = len(relay.commands)
        for n in range(20):
            bench.schedule(f"{n}", activate_in=2 * HOUR)
        await asyncio.sleep(0.2)
        assert len(relay.commands) == before
    bench.client.cancel_all(bench.topic)


async def test_a_due_time_that_a_claim_has_returned_needs_no_wake_up(bench, relay, open_calls):
    # Scheduled before the worker is there.
    bench.schedule("1", activate_in=timedelta(seconds=0.5))
    bench.schedule("2", activate_in=timedelta(seconds=0.8))
    async with delivering(listening(bench, open_calls, relay.url)):
        await bench.until_gone("1", "2")

    # Looks at the start and when it listens, then two for each timer, or three.
    assert relay.count("EVALSHA", "EVAL") <= 2 + 2 * 3 + 1
    assert open_calls.ids == ["1", "2"]


async def test_stale_wakeups_are_ignored(bench, relay, open_calls):
    broker = listening(bench, open_calls, relay.url)
    async with delivering(broker):
        long_ago = bench.home.now().timestamp() - 3600
        await until_idle(bench, relay)
        before = relay.count("EVALSHA")
        for _ in range(5):
            bench.redis.publish(bench.channel, f"{long_ago:.6f} {long_ago:.6f}")
        await asyncio.sleep(0.2)
        assert relay.count("EVALSHA") == before


@pytest.mark.parametrize("nonsense", [b"", b"x", b"1 2 3", b"\xff \xff", b"nan nan"])
async def test_nonsense_on_the_channel_harms_nobody(bench, relay, open_calls, nonsense):
    async with delivering(listening(bench, open_calls, relay.url)):
        await until_idle(bench, relay)
        bench.redis.publish(bench.channel, nonsense)
        bench.schedule("1")
        await bench.until_gone("1")

    assert bench.log.complaints == []


async def test_a_wakeup_that_overtakes_the_reply_to_a_claim_is_not_forgotten(
    own_bench, own_relay, open_calls
):
    bench, relay = own_bench, own_relay
    broker = listening(bench, open_calls, relay.url)

    def claims():
        return bench.redis.info("commandstats")["cmdstat_evalsha"]["calls"]

    async with delivering(broker):
        await until_idle(bench, relay)
        (subscriber,) = broker.subscribers
        before = claims()
        relay.hold_replies()
        loop_of(subscriber).poll_now()
        await wait_until_async(lambda: claims() > before)
        # The claim has found nothing, and its answer is on the way. Planted, so that the
        # server sends no wake-up itself.
        now = bench.home.now().timestamp()
        bench.home.plant(bench.topic, "1", now, b"payload")
        loop_of(subscriber).wake(now, now)
        relay.resume()
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]


# --- many workers, many subscribers ------------------------------------------------------


async def test_a_subscriber_that_starts_while_the_others_subscribe_is_listened_for(bench, relay):
    async def handle(message: TimerMessage): ...

    for _ in range(10):
        broker = bench.broker(relay.url)
        broker.subscriber(bench.topic)(handle)
        seen = relay.count("SUBSCRIBE")
        await broker.start()
        late = broker.subscriber("late")
        late(handle)
        # At this moment the channels have been named, and the answer is on its way.
        while relay.count("SUBSCRIBE") == seen:  # noqa: ASYNC110  a longer sleep misses it
            await asyncio.sleep(0)
        await late.start()
        await until_listening(bench, topic="late")
        await late.stop()
        await until_listening(bench, 0, topic="late")
        await until_listening(bench)
        await broker.stop()


async def test_one_that_is_added_polls_again_once_it_is_listened_for(bench, relay):
    async def handle(message: TimerMessage): ...

    broker = bench.broker(relay.url)
    broker.subscriber(bench.topic, **NO_POLLS)(handle)
    async with delivering(broker):
        await until_listening(bench)
        (first,) = loops_of(broker)
        # Its own second look is over, and the server knows the script.
        await wait_until_async(lambda: is_listening(broker) and not is_polling(first))
        late = broker.subscriber("late", **NO_POLLS)
        late(handle)
        keys = bench.home.operations.keys
        named = {keys.of("late").timeline, keys.channel_of("late")}

        def sent():
            return [words[0] for words in relay.commands if not named.isdisjoint(words)]

        await late.start()
        # What was scheduled between the first look and the subscription woke nobody.
        await wait_until_async(lambda: sent() == [b"EVALSHA", b"SUBSCRIBE", b"EVALSHA"])


# --- databases: pub/sub knows none -------------------------------------------------------


@pytest.mark.parametrize(("own", "foreign"), [(0, 1), (1, 0), (1, 2)])
async def test_a_worker_is_woken_by_timers_of_its_own_database_alone(
    own_bench, own_relay, open_calls, own, foreign
):
    bench, relay = own_bench, own_relay
    url = bench.home.server_url
    with (
        TimersClient(url, options={"db": own}, **bench.home.key_names) as here,
        TimersClient(url, options={"db": foreign}, **bench.home.key_names) as elsewhere,
    ):
        async with delivering(
            listening(bench, open_calls, f"redis://127.0.0.1:{relay.port}/{own}")
        ):
            await wait_until_async(lambda: count_workers(here, [bench.topic]) == {bench.topic: 1})
            assert count_workers(elsewhere, [bench.topic]) == {bench.topic: 0}
            assert listening_topics(here) == {bench.topic: 1}
            assert listening_topics(elsewhere) == {}
            await until_nothing_is_sent(relay)
            before = relay.count("EVALSHA")
            elsewhere.schedule("x", bench.topic)
            await asyncio.sleep(0.2)
            assert relay.count("EVALSHA") == before
            here.schedule("x", bench.topic, timer_id="1")
            await wait_until_async(lambda: not here.has_pending(bench.topic, "1"))
        elsewhere.cancel_all(bench.topic)

    assert open_calls.ids == ["1"]


# --- failures ----------------------------------------------------------------------------


@pytest.fixture
def user_without_channels(own_bench):
    name = own_bench.timeline.decode()
    own_bench.redis.acl_setuser(
        name, enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], commands=["+@all"], reset=True
    )
    own_bench.redis.execute_command("ACL", "SETUSER", name, "resetchannels")
    own_bench.redis.acl_log_reset()
    yield name
    own_bench.redis.acl_deluser(name)


async def test_where_wake_ups_are_refused_polling_goes_on_and_one_line_says_so(
    own_bench, open_calls, user_without_channels
):
    bench = own_bench
    path = parse_url(bench.home.server_url)["path"]
    client = redis.asyncio.Redis(
        unix_socket_path=path, username=user_without_channels, password=PASSWORD
    )
    broker = bench.broker(client)

    @broker.subscriber(bench.topic, max_polling_interval=0.05)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    def refusals():
        return sum(
            entry["count"] for entry in bench.redis.acl_log() if entry["reason"] == "channel"
        )

    async with delivering(broker):
        await wait_until_async(lambda: refusals() >= 1)
        # Publishing the wake-up is refused too, and scheduling does not mind.
        await broker.publish("x", bench.topic, timer_id="1")
        await bench.until_gone("1")
    await client.aclose()

    assert open_calls.ids == ["1"]
    (line,) = bench.log.complaints
    assert bench.log.at(logging.WARNING) == [line]
    assert "wake-ups are refused" in line
    assert repr(bench.timeline.decode()) in line


async def test_a_topic_whose_wake_ups_are_refused_does_not_take_those_of_others(
    own_bench, open_calls, user_without_channels
):
    bench = own_bench
    bench.redis.execute_command("ACL", "SETUSER", user_without_channels, b"&" + bench.timeline)
    path = parse_url(bench.home.server_url)["path"]
    client = redis.asyncio.Redis(
        unix_socket_path=path, username=user_without_channels, password=PASSWORD
    )
    broker = bench.broker(client)

    @broker.subscriber("another")
    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with delivering(broker):
        await wait_until_async(lambda: bench.log.at(logging.WARNING))
        await until_listening(bench)
    await client.aclose()


async def test_a_killed_wake_up_connection_is_replaced_and_nothing_is_missed(
    own_bench, own_relay, open_calls
):
    bench = own_bench
    async with delivering(listening(bench, open_calls, own_relay.url)):
        await until_idle(bench, own_relay)
        bench.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        # As if its wake-up had been sent just now: nobody hears this one.
        bench.home.plant(bench.topic, "missed", bench.home.now().timestamp(), b"payload")
        await bench.until_gone("missed")
        await until_idle(bench, own_relay)
        bench.schedule("heard")
        await bench.until_gone("heard")

    assert open_calls.ids == ["missed", "heard"]
    assert bench.log.complaints == []


async def test_a_silent_wake_up_connection_is_pinged_and_replaced_if_it_stays_silent(
    bench, relay, open_calls, monkeypatch
):
    monkeypatch.setattr(listener, "PING_INTERVAL", 0.1)
    monkeypatch.setattr(listener, "ANSWER_TIMEOUT", 0.3)
    async with delivering(listening(bench, open_calls, relay.url)):
        await until_listening(bench)
        connected = relay.connected
        pings = relay.count("PING")
        await wait_until_async(lambda: relay.count("PING") >= pings + 3)
        # As long as it answers it is kept.
        assert relay.connected == connected
        relay.stall()
        await wait_until_async(lambda: relay.connected > connected)
        relay.resume()
        # The stalled ones are gone when the relay has told the server.
        await until_listening(bench)
        bench.schedule("1")
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]


async def test_whatever_the_wake_up_connection_raises_another_is_made(bench, relay, open_calls):
    odd = [AttributeError("no writer"), RuntimeError("no loop")]

    class OddConnection(redis.asyncio.Connection):
        def pack_command(self, *args):
            if args[0] == "SUBSCRIBE" and odd:
                raise odd.pop()
            return super().pack_command(*args)

    pool = redis.asyncio.ConnectionPool.from_url(relay.url, connection_class=OddConnection)
    client = redis.asyncio.Redis(connection_pool=pool)
    async with delivering(listening(bench, open_calls, client)):
        await until_idle(bench, relay)
        bench.schedule("1")
        await bench.until_gone("1")
    await pool.disconnect()

    assert odd == []
    assert open_calls.ids == ["1"]


async def test_a_subscriber_that_stops_while_it_subscribes_listens_no_more(
    bench, relay, open_calls
):
    class SlowConnection(redis.asyncio.Connection):
        def pack_command(self, *args):
            if args[0] == "SUBSCRIBE":
                relay.hold_replies()
            return super().pack_command(*args)

    pool = redis.asyncio.ConnectionPool(
        host="127.0.0.1", port=relay.port, connection_class=SlowConnection
    )
    client = redis.asyncio.Redis(connection_pool=pool)
    broker = listening(bench, open_calls, client, duty=None)
    stopped = broker.subscriber("stopped", **NO_POLLS)

    @stopped
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with delivering(broker):
        await wait_until_async(lambda: relay.count("SUBSCRIBE") == 2)
        stop = asyncio.create_task(stopped.stop())
        await wait_until_async(lambda: channels_wanted(broker) == 1)
        relay.resume()
        await stop

        await until_listening(bench)
        await until_listening(bench, 0, topic="stopped")
    await pool.disconnect()


async def test_channels_that_leave_and_come_back_before_they_are_confirmed(
    bench, relay, open_calls
):
    class HeldConnection(redis.asyncio.Connection):
        def pack_command(self, *args):
            if args[0] == "SUBSCRIBE":
                relay.hold_replies()
            return super().pack_command(*args)

    pool = redis.asyncio.ConnectionPool(
        host="127.0.0.1", port=relay.port, connection_class=HeldConnection
    )
    client = redis.asyncio.Redis(connection_pool=pool)
    broker = listening(bench, open_calls, client, duty=None)
    for topic in ("a", "b"):

        @broker.subscriber(topic, **NO_POLLS)
        async def handle(message: TimerMessage): ...

    async with delivering(broker):
        await wait_until_async(lambda: relay.count("SUBSCRIBE") == 3)
        # What the broker does when subscribers stop, and one of them starts again.
        wake_ups = broker.config.connection.wake_ups
        loops = {one.topic: loop_of(one) for one in broker.subscribers}
        wake_ups.leave(loops["a"])
        wake_ups.leave(loops["b"])
        wake_ups.follow_post(loops["b"], Post.ON_DUTY)
        await wait_until_async(lambda: relay.count("SUBSCRIBE") == 4)
        relay.resume()

        await until_listening(bench)
        await until_listening(bench, 1, topic="b")
        await until_listening(bench, 0, topic="a")
        await wait_until_async(lambda: is_listening(broker))
    await pool.disconnect()
