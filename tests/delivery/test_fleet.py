"""Fleets of more than eight workers, of which a few are on duty: all in one process."""

import asyncio
import logging
import re
import time
from contextlib import asynccontextmanager

import pytest
import redis
import redis.asyncio
from bench import until_nothing_is_sent
from fleets import WORKERS, Fleet, fleet_of
from inside import kill_loop, loop_of, loops_of, most_unread, post_of
from redis.connection import parse_url
from waiting import wait_until_async

from faststream_redis_timers.annotations import TimerBatchMessage, TimerMessage
from faststream_redis_timers.calls.listener import MOST_UNREAD
from faststream_redis_timers.calls.runner import Runner
from faststream_redis_timers.calls.wakeups import WakeUps
from faststream_redis_timers.delivery.attendance import Channels
from faststream_redis_timers.delivery.duty import Duty, Post
from faststream_redis_timers_sync import TimerPublishMessage
from faststream_redis_timers_sync.protocol.keys import RESERVE_GROUPS

PASSWORD = "opens nothing"  # noqa: S105


@pytest.fixture(autouse=True)
def event_loop_is_trusted(monkeypatch):
    """A busy machine stops the event loop, which all workers share, as a handler would."""
    monkeypatch.setattr(Duty, "STALL", 3600.0)
    monkeypatch.setattr(Duty, "LEFT", 3600.0)


async def test_three_of_twelve_stay_on_duty(bench, open_calls):
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with fleet_of(bench, handle) as fleet:
        await fleet.thin_out()
        assert len(fleet.at(Post.ON_DUTY)) == 3
        assert len(fleet.at(Post.IN_RESERVE)) == WORKERS - 3
    assert fleet.counted() == (0, 0, 0)
    assert bench.log.complaints == []


async def test_the_last_on_duty_do_not_leave_where_the_server_cannot_count_them(bench, open_calls):
    """Valkey 9.1 cannot, where more than fifteen were on duty before."""

    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with fleet_of(bench, handle, (None,) * 24) as fleet:
        fewest = 24
        for _ in range(200):
            await fleet.deliver_one()
            fewest = min(fewest, len(fleet.at(Post.ON_DUTY)))
        assert 2 <= fewest <= 8


async def test_the_rule_knows_what_a_batch_is(bench):
    async def handle(bodies: list[str]):
        """Take them."""

    options = {"batch": True, "max_records": 20, "max_concurrent": 2, "max_wait": 0.5}
    async with fleet_of(bench, handle, (None,), **options) as fleet:
        (duty,) = [loop.core.attendance._duty for loop in fleet.loops]
        assert (duty._slots, duty._left) == (40, Duty.LEFT + 0.5)


async def test_up_to_eight_all_are_on_duty(bench, open_calls):
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with fleet_of(bench, handle, (None,) * 7) as fleet:
        for _ in range(20):
            await fleet.deliver_one()
        assert fleet.counted() == (7, 0, 7)
    assert len(open_calls.ids) == 20


async def test_a_burst_reaches_the_reserve(bench, calls):
    async def handle(message: TimerMessage):
        await calls.hold(message)

    calls.gate.set()
    async with fleet_of(bench, handle) as fleet:
        await fleet.thin_out()
        calls.gate.clear()
        # Who claims some of them is on duty, or was called: nobody polls.
        slots = WORKERS * 5
        bench.client.schedule_batch([f"{n}" for n in range(slots)], bench.topic)
        await wait_until_async(lambda: calls.running == slots)
        await fleet.until_counted(0, 0, WORKERS)
        calls.gate.set()
        await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0)
        # They come back, and one at least is on duty again: the next timer is not late.
        await fleet.deliver_one()


async def test_a_burst_reaches_the_reserve_in_batches(bench, calls):
    handled = []

    async def handle(bodies: list[str]):
        handled.extend(bodies)
        await calls.gate.wait()

    calls.gate.set()
    options = {"batch": True, "max_records": 5, "max_concurrent": 1}
    async with fleet_of(bench, handle, **options) as fleet:
        await fleet.thin_out()
        calls.gate.clear()
        handled.clear()
        bench.client.schedule_batch([f"{n}" for n in range(WORKERS * 5)], bench.topic)
        await wait_until_async(lambda: len(handled) == WORKERS * 5)
        calls.gate.set()
        await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0)
        await fleet.deliver_one()
    assert len(set(handled)) == WORKERS * 5 + 1


async def test_who_loses_its_connection_is_replaced_or_comes_back(own_bench, open_calls):
    bench = own_bench
    url = bench.home.server_url

    async def handle(message: TimerMessage):
        open_calls.note(message)

    clients = [f"{url}?client_name=w{n}" for n in range(WORKERS)]
    async with fleet_of(bench, handle, clients) as fleet:
        await fleet.thin_out()
        names = [
            f"w{n}"
            for n, broker in enumerate(fleet.brokers)
            if post_of(loops_of(broker)[0]) is Post.ON_DUTY
        ]
        for client in bench.redis.client_list(_type="pubsub"):
            if client["name"] in names:
                bench.redis.client_kill_filter(_id=client["id"])
        for _ in range(5):
            await fleet.deliver_one()
        # Two of four may leave at the same time. Who finds the next timer calls for a third.
        await fleet.thin_out()


async def test_a_wake_up_that_nobody_hears_calls_one_of_the_reserve(bench, open_calls):
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with fleet_of(bench, handle) as fleet:
        await fleet.thin_out()
        on_duty = fleet.brokers_on_duty()
        # A loop that has died is no longer counted, and has called nobody.
        await asyncio.gather(*(kill_loop(broker.subscribers[0]) for broker in on_duty))
        await fleet.until_counted(0, WORKERS - 3, WORKERS - 3)
        # Who comes calls others, as it finds that it is alone.
        for _ in range(3):
            await fleet.deliver_one()
        assert fleet.counted()[0] > 0


async def test_who_always_has_something_to_claim_reads_the_answers_to_what_it_asks(bench):
    """It leaves its channels and comes back with each claim, and waits for no message."""
    unread, done = [], 0

    async def handle(message: TimerMessage):
        nonlocal done
        unread.append(max(map(most_unread, fleet.brokers)))
        done += 1

    async with fleet_of(bench, handle, max_concurrent=1) as fleet:
        ids = [f"{number}" for number in range(1500)]
        timers = [TimerPublishMessage("x", timer_id=one) for one in ids]
        bench.client.schedule_batch(timers, bench.topic)
        for loop in fleet.loops:
            loop.poll_now()
        await wait_until_async(lambda: done == len(ids), 60.0)

    assert max(unread) <= 2 * MOST_UNREAD


async def test_those_on_duty_who_stop_call_others(bench, open_calls):
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with fleet_of(bench, handle) as fleet:
        await fleet.thin_out()
        on_duty = fleet.brokers_on_duty()
        await asyncio.gather(*(broker.stop() for broker in on_duty))
        # Two may call the same one.
        await wait_until_async(lambda: fleet.counted()[0] > 0)
        await fleet.deliver_one()


@pytest.mark.parametrize("batch", [True, False])
async def test_what_is_scheduled_while_all_are_away_is_claimed_when_one_has_ended(
    bench, calls, batch
):
    """Nobody listens then, and none of them polls."""
    handled = set()

    async def handle_all(message: TimerBatchMessage):
        handled.update(timer.timer_id for timer in message.timers)
        await calls.gate.wait()

    async def handle(message: TimerMessage):
        handled.add(message.timer_id)
        await calls.gate.wait()

    options = {"batch": True} if batch else {"max_concurrent": 1}
    async with fleet_of(bench, handle_all if batch else handle, **options) as fleet:
        for number in range(WORKERS):
            busy = f"busy-{number}"
            bench.schedule(busy)
            await wait_until_async(lambda busy=busy: is_handled(fleet, handled, busy))
        await wait_until_async(lambda: len(fleet.at(Post.AWAY)) == WORKERS)
        bench.schedule("late")
        calls.gate.set()
        await bench.until_gone("late")


def is_handled(fleet, handled, timer_id):
    """Let one that can claim until a timer is handled: nobody may be on duty."""
    if timer_id not in handled:
        for loop in [one for one in fleet.loops if post_of(one) is not Post.AWAY][:1]:
            loop.poll_now()
    return timer_id in handled


async def test_who_comes_back_to_the_reserve_does_not_poll(own_bench, own_relay, open_calls):
    bench = own_bench

    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with fleet_of(bench, handle, (None,) * (WORKERS - 1)) as fleet:
        await fleet.thin_out()
        # It is in reserve from the start: those on duty may leave and call others as they thin out.
        (loop,) = await fleet.add(own_relay.url)
        await fleet.until_counted(3, WORKERS - 3, WORKERS)
        assert post_of(loop) is Post.IN_RESERVE
        await until_nothing_is_sent(own_relay)
        claims, channel = own_relay.count("EVALSHA"), loop.channels.help_calls
        own_relay.cut()
        await wait_until_async(lambda: bench.redis.pubsub_numsub(channel)[0][1] >= 1)
        await fleet.until_counted(3, WORKERS - 3, WORKERS)
        await until_nothing_is_sent(own_relay)
        assert own_relay.count("EVALSHA") == claims


async def test_a_worker_leaves_its_duty_before_its_handler_begins(own_bench):
    bench = own_bench
    echo = redis.Redis.from_url(bench.home.server_url)

    async def handle(message: TimerMessage):
        # It keeps the event loop: nothing else is written from here on.
        echo.echo("handler begins")
        time.sleep(0.05)  # noqa: ASYNC251

    async with fleet_of(bench, handle) as fleet:
        with bench.redis.monitor() as monitor:
            bench.schedule("1")
            await bench.until_gone("1")
            seen = []
            while not seen or seen[-1] != "ECHO handler begins":
                seen.append(monitor.next_command()["command"])
        claims = [n for n, command in enumerate(seen) if command.startswith("EVALSHA")]
        left = [n for n, command in enumerate(seen) if command.startswith("UNSUBSCRIBE")]
        assert left
        assert claims[0] < left[0] < len(seen) - 1
        # It hears something again.
        await wait_until_async(lambda: not fleet.at(Post.AWAY))
    echo.close()


# --- what is refused ----------------------------------------------------------------------


@asynccontextmanager
async def user_with(bench, *rights):
    """Make a user with rights to all but what is taken away, and a client for each worker."""
    name = bench.timeline.decode()
    bench.redis.acl_setuser(
        name, enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], commands=["+@all"], reset=True
    )
    bench.redis.execute_command("ACL", "SETUSER", name, "resetchannels", *rights)
    path = parse_url(bench.home.server_url)["path"]
    clients = [
        redis.asyncio.Redis(unix_socket_path=path, username=name, password=PASSWORD)
        for _ in range(WORKERS)
    ]
    try:
        yield clients
    finally:
        for client in clients:
            await client.aclose()
        bench.redis.acl_deluser(name)


@pytest.mark.parametrize("refused", ["wake-ups", "calls for help", "workers"])
async def test_where_a_channel_is_refused_workers_are_on_duty_for_good(
    own_bench, open_calls, refused
):
    bench = own_bench
    keys, topic = bench.home.operations.keys, bench.topic
    channels = {
        "wake-ups": [keys.channel_of(topic)],
        "calls for help": [keys.reserve_channel_of(topic, n) for n in range(RESERVE_GROUPS)],
        "workers": [keys.workers_channel_of(topic)],
    }
    allowed = [
        # Names of groups have characters that mean something in a pattern.
        b"&" + re.sub(rb"([\\?\[\]^])", rb"\\\1", channel)
        for name, some in channels.items()
        if name != refused
        for channel in some
    ]

    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with user_with(bench, *allowed) as clients:
        # Their channel for all workers may be refused, so these are not waited for.
        fleet = Fleet(bench, handle, clients)
        await asyncio.gather(*(broker.start() for broker in fleet.brokers))
        try:
            if refused == "calls for help":
                # Those who would go to the reserve come back.
                while len(bench.log.complaints) < WORKERS - 3:
                    await fleet.deliver_one()
            else:
                await wait_until_async(lambda: len(bench.log.complaints) == WORKERS)
                if refused == "workers":
                    await wait_until_async(lambda: fleet.counted() == (WORKERS, 0, 0))
                for n in range(5):
                    bench.schedule(f"{n}")
                    loop_of(fleet.brokers[n].subscribers[0]).poll_now()
                    await bench.until_gone(f"{n}")
            await wait_until_async(lambda: len(fleet.at(Post.ON_DUTY)) == WORKERS)
        finally:
            await asyncio.gather(*(broker.stop() for broker in fleet.brokers))
    assert {line.split(":")[0] for line in bench.log.at(logging.WARNING)} == {
        "wake-ups are refused"
    }
    assert all(repr(bench.timeline.decode()) in line for line in bench.log.complaints)


async def test_where_counting_is_refused_all_are_on_duty_and_each_says_so_once(
    own_bench, open_calls
):
    bench = own_bench

    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with (
        user_with(bench, "allchannels", "-pubsub|numsub") as clients,
        fleet_of(bench, handle, clients) as fleet,
    ):
        await fleet.until_counted(WORKERS, 0, WORKERS)
        for _ in range(20):
            await fleet.deliver_one()
        assert fleet.counted() == (WORKERS, 0, WORKERS)
    lines = bench.log.complaints
    assert len(lines) == WORKERS
    assert {line.split(",")[0] for line in lines} == {
        f"workers of topic {bench.topic!r} can't be counted"
    }


# --- who waits in a call --------------------------------------------------------------------


async def test_callers_are_always_on_duty_and_not_counted(bench, open_calls):
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with fleet_of(bench, handle) as fleet:
        await fleet.thin_out()
        broker = bench.broker()
        subscriber = broker.subscriber(bench.topic)
        await broker.start()
        assert await subscriber.get_one(timeout=0.1) is None
        await fleet.until_counted(4, WORKERS - 3, WORKERS)


# --- channels -------------------------------------------------------------------------------


class Ear:
    """What stands for a delivery loop: it counts what it is told."""

    polling_interval = 0.05

    def __init__(self, name):
        self.channels = Channels(*(f"{name}/{kind}".encode() for kind in ("duty", "help", "all")))
        self.polls = 0
        self.heard = []

    def wake(self, *times):
        self.heard.append(times)

    def call_for_help(self, *call):
        self.heard.append(call)

    def poll_now(self):
        self.polls += 1

    def be_always_on_duty(self):
        self.heard.append("refused")


@pytest.fixture
async def wake_ups(relay):
    client = redis.asyncio.Redis.from_url(relay.url)
    wake_ups = WakeUps(Runner(client).primaries, lambda *_: None, are_sharded=False)
    ears = [Ear(f"topic-{n}") for n in range(2)]
    yield wake_ups, ears
    for ear in ears:
        await wake_ups.remove(ear)
    await client.aclose()


async def test_only_the_last_confirmation_of_the_channel_for_wake_ups_polls(wake_ups, relay):
    wake_ups, (ear, _) = wake_ups
    wake_ups.set_waiting(ear, waits=True)
    wake_ups.follow_post(ear, Post.AWAY)
    await wait_until_async(lambda: wake_ups.are_heard)
    assert ear.polls == 0

    relay.hold_replies()
    for post in (Post.ON_DUTY, Post.AWAY, Post.IN_RESERVE, Post.ON_DUTY, Post.IN_RESERVE):
        wake_ups.follow_post(ear, post)
        await asyncio.sleep(0.01)
    wake_ups.follow_post(ear, Post.ON_DUTY)
    await wait_until_async(lambda: relay.count("SUBSCRIBE") == 6)
    assert not wake_ups.are_heard
    relay.resume()
    await wait_until_async(lambda: wake_ups.are_heard)
    assert ear.polls == 1
    wake_ups.follow_post(ear, Post.IN_RESERVE)
    await wait_until_async(lambda: wake_ups.are_heard)
    assert ear.polls == 1


async def test_a_second_one_at_a_channel_that_is_listened_to_polls_at_once(wake_ups, relay):
    wake_ups, (ear, other) = wake_ups
    other.channels = ear.channels
    for each in (ear, other):
        wake_ups.set_waiting(each, waits=True)
    wake_ups.follow_post(ear, Post.ON_DUTY)
    wake_ups.follow_post(other, Post.IN_RESERVE)
    await wait_until_async(lambda: wake_ups.are_heard)
    wake_ups.follow_post(other, Post.ON_DUTY)
    assert (ear.polls, other.polls) == (1, 1)
    # The server is told nothing while one is left.
    wake_ups.follow_post(ear, Post.AWAY)
    wake_ups.follow_post(ear, Post.IN_RESERVE)
    await wait_until_async(lambda: relay.count("SUBSCRIBE") == 4)
    assert relay.count("UNSUBSCRIBE") == 1


async def test_channels_that_are_refused_one_after_the_other_make_one_line(own_bench):
    name = own_bench.timeline.decode()
    ears = [Ear(f"{name}-{n}") for n in range(3)]
    allowed = [b"&" + channel for ear in ears for channel in ear.channels if b"help" not in channel]
    lines = []
    async with user_with(own_bench, *allowed) as (client, *_):
        wake_ups = WakeUps(
            Runner(client).primaries, lambda _, line: lines.append(line), are_sharded=False
        )
        for ear in ears:
            wake_ups.set_waiting(ear, waits=True)
            wake_ups.follow_post(ear, Post.IN_RESERVE)
            await wait_until_async(lambda ear=ear: ear.heard == ["refused"])
            wake_ups.follow_post(ear, Post.ON_DUTY)
        await wait_until_async(lambda: wake_ups.are_heard)
        for ear in ears:
            await wake_ups.remove(ear)
    assert len(lines) == 1
    assert lines[0].startswith("wake-ups are refused: ")


@pytest.mark.parametrize(
    ("message", "heard"),
    [
        (b"0.500000 2 298.5", [(0.5, (2, 298.5))]),
        (b"1.000000 0 0.0 more words", [(1.0, (0, 0.0))]),
        (b"1.000000 0", []),
        (b"x", []),
        (b"", []),
        (b"1 1.5 0", []),
        (b"\xff \xff \xff", []),
    ],
)
async def test_calls_for_help_are_read_and_nonsense_is_ignored(
    wake_ups, redis_client, message, heard
):
    wake_ups, (ear, other) = wake_ups
    for each in (ear, other):
        wake_ups.set_waiting(each, waits=True)
    wake_ups.follow_post(ear, Post.IN_RESERVE)
    wake_ups.follow_post(other, Post.ON_DUTY)
    await wait_until_async(lambda: wake_ups.are_heard)
    redis_client.publish(ear.channels.help_calls, message)
    redis_client.publish(other.channels.wake_ups, "1 2")
    await wait_until_async(lambda: other.heard == [(1.0, 2.0)])
    assert ear.heard == heard
